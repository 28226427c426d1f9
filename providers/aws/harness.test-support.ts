/**
 * A harness for tests: the AWS counterpart, an OIDC issuer with real keys, the provider, and real clients on
 * the agent's side.
 */

import { createHash, createHmac, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { SignatureV4 } from '@smithy/signature-v4';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { manualClock } from '../../broker/core/clock.ts';
import type { PolicyDocument } from '../../sandbox/aws/policy.ts';
import { type AwsSandboxOptions, startAwsSandbox } from '../../sandbox/aws/start.ts';
import type { JsonObject, ProviderDeps, RevocationTarget } from '../contract.ts';
import { createAwsProvider } from './index.ts';
import { awsSettings } from './settings.ts';

export const account = '111122223333';
export const agentRole = `arn:aws:iam::${account}:role/writ-orders`;
export const revokeRole = `arn:aws:iam::${account}:role/writ-revoker`;
export const queueArn = `arn:aws:sqs:eu-west-1:${account}:orders`;
export const secretArn = `arn:aws:secretsmanager:eu-west-1:${account}:secret:billing-AbCdEf`;
export const sealKey = `arn:aws:kms:eu-west-1:${account}:key/11111111-2222-3333-4444-555555555555`;
/** A managed policy that reads one customer's objects. */
export const readsCustomer = `arn:aws:iam::${account}:policy/reads-customer`;
const ambient = { accessKeyId: 'AKIAWRITBROKER000000', secretAccessKey: 'the-brokers-own-long-lived-secret' };

export interface AwsBenchOptions {
  auth?: 'web_identity' | 'ambient';
  /** Environment variables besides those of the harness; undefined removes one. */
  env?: Record<string, string | undefined>;
  sandbox?: Partial<AwsSandboxOptions>;
  /** The role's trust policy allows these besides assuming. */
  trusted?: ('sts:TagSession' | 'sts:SetSourceIdentity')[];
}

export async function awsBench(options: AwsBenchOptions = {}) {
  // Whole seconds, near the present: the SDK signs with the machine's clock.
  const clock = manualClock(new Date(Math.floor(Date.now() / 1000) * 1000));
  const issuer = await startIssuer();
  const tokens: string[] = [];
  const deps: ProviderDeps = {
    clock,
    signIdentityToken: async (claims, ttlSeconds) => {
      const token = await issuer.sign(claims, clock.now(), ttlSeconds);
      tokens.push(token);
      return token;
    },
  };
  const lagSeconds = 10;
  const sandbox = await startAwsSandbox({
    clock,
    issuers: { [issuer.url]: `${issuer.url}/jwks` },
    roles: roles(issuer.url, options.trusted ?? ['sts:TagSession', 'sts:SetSourceIdentity']),
    users: [{ arn: `arn:aws:iam::${account}:user/writ`, ...ambient, policies: [allow(['sts:*', 'iam:*'], ['*'])] }],
    buckets: {
      orders: { 'customers/42/a.txt': 'inside', 'customers/421/b.txt': 'outside', 'customers/7/c.txt': 'outside' },
      'orders-archive': { 'customers/42/a.txt': 'outside' },
      sealed: { 'customers/42/a.txt': 'inside', 'customers/7/c.txt': 'outside' },
    },
    encrypted: { sealed: sealKey },
    managedPolicies: { [readsCustomer]: allow(['s3:GetObject'], ['arn:aws:s3:::orders/customers/42/*']) },
    tables: { invoices: { partitionKey: 'customer', items: { '42': item('42'), '7': item('7') } } },
    queues: [queueArn, `${queueArn}-other`],
    secrets: { [secretArn]: 'a', [`${secretArn.replace('billing', 'payroll')}`]: 'b' },
    denyLagMs: lagSeconds * 1000,
    ...options.sandbox,
  });
  const settings = awsSettings.parse({
    WRIT_AWS_ROLES: agentRole,
    WRIT_AWS_AUTH: options.auth ?? 'web_identity',
    ...(options.auth === 'ambient' ? {} : { WRIT_AWS_REVOKE_ROLE: revokeRole }),
    WRIT_AWS_REVOKE_LAG_SECONDS: String(lagSeconds),
    AWS_ENDPOINT_URL: sandbox.url,
    ...options.env,
  });
  const provider = createAwsProvider(settings, deps, options.auth === 'ambient' ? ambient : undefined);
  return {
    clock,
    deps,
    sandbox,
    settings,
    provider,
    issuer,
    tokens,
    secrets: () => [...tokens, ambient.secretAccessKey],
    close: async () => {
      await sandbox.close();
      await issuer.close();
    },
  };
}

export type AwsHarness = Awaited<ReturnType<typeof awsBench>>;

/** A bench for one test. */
export async function withBench(body: (harness: AwsHarness) => Promise<void>, options: AwsBenchOptions = {}) {
  const harness = await awsBench(options);
  try {
    await body(harness);
  } finally {
    await harness.close();
  }
}

/** The agent's own S3 client, its clock set to the harness's. */
export function s3ClientFor(harness: Pick<AwsHarness, 'clock' | 'sandbox'>, credential: JsonObject): S3Client {
  return new S3Client({
    region: 'eu-west-1',
    endpoint: harness.sandbox.url,
    forcePathStyle: true,
    maxAttempts: 1,
    systemClockOffset: harness.clock.now().getTime() - Date.now(),
    credentials: {
      accessKeyId: String(credential.access_key_id),
      secretAccessKey: String(credential.secret_access_key),
      sessionToken: String(credential.session_token),
    },
  });
}

/** Reads an object; an answer other than AWS's own refusal of this credential fails the test. */
export async function readObject(
  harness: Pick<AwsHarness, 'clock' | 'sandbox'>,
  credential: JsonObject,
  key: string,
  bucket = 'orders',
): Promise<'accepted' | 'refused'> {
  const client = s3ClientFor(harness, credential);
  return settled(client.send(new GetObjectCommand({ Bucket: bucket, Key: key }))).finally(() => client.destroy());
}

/** A lease on the orders bucket, what revocation needs of it, and a use of its credential. */
export async function lease(harness: AwsHarness, leaseId: string, ttl = 900) {
  const params = harness.provider.params.parse({ role: agentRole, service: 's3', access: 'read', bucket: 'orders' });
  const plan = harness.provider.plan(params, ttl);
  const intentAt = harness.clock.now();
  const who = { leaseId, sessionId: 'ses_x', agent: 'invoice-bot' };
  const issued = await harness.provider.issue({ plan, ...who, signal: new AbortController().signal });
  const target: RevocationTarget = {
    leaseId,
    plan,
    handle: issued.handle,
    secret: null,
    reserved: null,
    intentAt,
    providerExpiresAt: issued.providerExpiresAt,
    settlingSince: null,
  };
  return { issued, target, use: () => readObject(harness, issued.credential, 'customers/42/a.txt') };
}

export async function settled(call: Promise<unknown>): Promise<'accepted' | 'refused'> {
  try {
    await call;
    return 'accepted';
  } catch (error) {
    if (error instanceof Error && /^(AccessDenied(Exception)?|ExpiredToken(Exception)?)$/.test(error.name))
      return 'refused';
    throw error;
  }
}

/** Calls a JSON service as the agent would; signed by Smithy's signer. */
export async function callJson(
  harness: Pick<AwsHarness, 'clock' | 'sandbox'>,
  credential: JsonObject,
  service: string,
  target: string,
  input: JsonObject,
): Promise<void> {
  const url = new URL(harness.sandbox.url);
  const signer = new SignatureV4({
    service,
    region: 'eu-west-1',
    sha256: Sha256,
    credentials: {
      accessKeyId: String(credential.access_key_id),
      secretAccessKey: String(credential.secret_access_key),
      sessionToken: String(credential.session_token),
    },
  });
  const request = {
    method: 'POST',
    protocol: 'http:',
    hostname: url.hostname,
    port: Number(url.port),
    path: '/',
    query: {},
    headers: { host: url.host, 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': target },
    body: JSON.stringify(input),
  };
  const signed = await signer.sign(request, { signingDate: harness.clock.now() });
  const response = await fetch(url, { method: 'POST', headers: signed.headers, body: request.body });
  const answer = (await response.json()) as { __type?: string };
  if (!response.ok) throw Object.assign(new Error('refused'), { name: answer.__type ?? String(response.status) });
}

class Sha256 {
  readonly #hash;
  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret as string | Uint8Array);
  }
  update(data: Uint8Array | string) {
    this.#hash.update(data);
  }
  async digest() {
    return new Uint8Array(this.#hash.digest());
  }
  reset() {}
}

const item = (customer: string) => ({ customer: { S: customer }, total: { N: '1' } });

const allow = (actions: string[], resources: string[]): PolicyDocument => ({
  Version: '2012-10-17',
  Statement: { Effect: 'Allow', Action: actions, Resource: resources },
});

/** The roles as `infra/` would make them: agents may assume the first, only the broker itself the second. */
export function roles(issuerUrl: string, trusted: string[]): NonNullable<AwsSandboxOptions['roles']> {
  const name = issuerUrl.replace('http://', '');
  const trust = (subject: string | string[], actions: string[]): PolicyDocument => ({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Federated: `arn:aws:iam::${account}:oidc-provider/${name}` },
        Action: ['sts:AssumeRoleWithWebIdentity', ...actions],
        Condition: {
          StringEquals: { [`${name}:aud`]: 'sts.amazonaws.com' },
          StringLike: { [`${name}:sub`]: subject },
        },
      },
      {
        Effect: 'Allow',
        Principal: { AWS: `arn:aws:iam::${account}:user/writ` },
        Action: ['sts:AssumeRole', ...actions],
      },
    ],
  });
  const everything = ['s3:*', 'dynamodb:*', 'sqs:*', 'secretsmanager:*', 'kms:*', 'ecr:*', 'iam:*', 'sts:AssumeRole'];
  const denials = ['iam:PutRolePolicy', 'iam:GetRolePolicy', 'iam:DeleteRolePolicy', 'iam:ListRolePolicies'];
  const reading = ['iam:ListAttachedRolePolicies', 'iam:GetPolicy'];
  return [
    { arn: agentRole, trust: trust(['agent:*', 'writ:state'], trusted), policies: [allow(everything, ['*'])] },
    {
      arn: revokeRole,
      trust: trust('writ:revoker', []),
      policies: [allow(denials, [agentRole]), allow(reading, ['*'])],
    },
  ];
}

/** An issuer that publishes its keys over HTTP, as the broker does. */
async function startIssuer() {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }] };
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(jwks));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    sign: (claims: JsonObject, now: Date, ttlSeconds: number) => {
      const issued = Math.floor(now.getTime() / 1000);
      return new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setIssuer(url)
        .setIssuedAt(issued)
        .setExpirationTime(issued + ttlSeconds)
        .setJti(randomUUID())
        .sign(privateKey);
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
