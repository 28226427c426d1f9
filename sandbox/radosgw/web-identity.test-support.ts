/**
 * The whole way on a real store without any AWS key: the broker listens, radosgw fetches its keys from there
 * and trusts its tokens, for minting and for revoking.
 */
import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  CreateOpenIDConnectProviderCommand,
  CreateRoleCommand,
  IAMClient,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { AssumeRoleWithWebIdentityCommand, STSClient, type STSServiceException } from '@aws-sdk/client-sts';
import { generateKeyPair, type JWK, SignJWT } from 'jose';
import type { JsonObject } from '../../broker/core/vocabulary.ts';
import { type Ground, prepareGround } from '../../broker/running.test-support.ts';
import { providerModules } from '../../providers/registry.ts';
import { account, admin, clientOptions, endpoint, objects, openStore, read } from './store.test-support.ts';

const manifest = (role: string) => `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Reads orders.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  read-orders:
    description: Read the orders of customer 42.
    provider: aws
    tasks: [work]
    tier: 1
    max_ttl: 15m
    params: { role: '${role}', service: s3, access: read, bucket: orders, prefix: customers/42/ }
`;

const document = (statement: object) => JSON.stringify({ Version: '2012-10-17', Statement: [statement] });

/** A role that these subjects of the broker's issuer may assume, and what it may do. */
async function trustedRole(iam: IAMClient, name: string, issuer: string, subjects: string[], allow: object) {
  const host = issuer.replace('http://', '');
  const trust = {
    Effect: 'Allow',
    Principal: { Federated: [`arn:aws:iam::${account}:oidc-provider/${host}`] },
    Action: ['sts:AssumeRoleWithWebIdentity', 'sts:TagSession'],
    Condition: { StringEquals: { [`${host}:aud`]: 'sts.amazonaws.com', [`${host}:sub`]: subjects } },
  };
  await iam.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: document(trust) }));
  const policy = { RoleName: name, PolicyName: 'allow', PolicyDocument: document({ Effect: 'Allow', ...allow }) };
  await iam.send(new PutRolePolicyCommand(policy));
  return `arn:aws:iam::${account}:role/${name}`;
}

test('roles are assumed with the broker’s own tokens, before and after a rotation, and the credentials end', async (t) => {
  const store = await openStore();
  const ground = await prepareGround();
  const iam = new IAMClient({ ...clientOptions, credentials: admin });
  const unique = randomBytes(4).toString('hex');
  const role = await trustedRole(iam, `orders-${unique}`, ground.url, ['agent:scripted-agent', 'agent:writ-limits'], {
    Action: ['s3:*'],
    Resource: ['arn:aws:s3:::*'],
  });
  const revoker = await trustedRole(iam, `revoker-${unique}`, ground.url, ['writ:revoker'], {
    Action: ['iam:GetRolePolicy', 'iam:PutRolePolicy', 'iam:DeleteRolePolicy', 'iam:ListRolePolicies'],
    Resource: ['arn:aws:iam:::role/*'],
  });
  await writeFile(join(ground.manifests, 'agent.yaml'), manifest(role));
  const environment = {
    WRIT_AWS_ROLES: role,
    WRIT_AWS_REVOKE_ROLE: revoker,
    WRIT_AWS_REVOKE_KEY: 'userid',
    WRIT_AWS_REVOKE_LAG_SECONDS: '0',
    WRIT_KEY_LEAD_SECONDS: '0',
    WRIT_DATA_DIR: join(ground.folder, 'data'),
    AWS_ENDPOINT_URL: `http://${endpoint.host}:${endpoint.port}`,
  };
  const broker = await ground.start(environment, { modules: providerModules });
  t.after(async () => {
    await broker.stop();
    await ground.close();
    iam.destroy();
    store.close();
  });
  const certificates = async () => {
    const { keys } = (await (await fetch(`${ground.url}/.well-known/jwks.json`)).json()) as { keys: JWK[] };
    const own = keys.filter(({ alg }) => alg === 'ES256');
    return own.map(({ x5c }) => new X509Certificate(Buffer.from(x5c?.[0] ?? '', 'base64')));
  };
  const [first] = await certificates();
  await iam.send(
    new CreateOpenIDConnectProviderCommand({
      Url: ground.url,
      ClientIDList: ['sts.amazonaws.com'],
      ThumbprintList: [first?.fingerprint.replaceAll(':', '') ?? ''],
    }),
  );
  await oneLease(ground);
  const refused = (error: STSServiceException) => error.$metadata.httpStatusCode === 403;
  await assert.rejects(assume(role, await forged(ground.url)), refused, 'its signature is looked at');

  const rotated = await fetch(`${ground.url}/v1/admin/keys/rotate`, {
    method: 'POST',
    headers: { authorization: `Bearer ${broker.bootstrapToken}` },
  });
  assert.equal(rotated.status, 200);
  assert.equal((await certificates()).length, 2);
  await oneLease(ground);
});

/** What the broker would sign, by a key of somebody else's. */
async function forged(issuer: string): Promise<string> {
  const { privateKey } = await generateKeyPair('ES256');
  return new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', typ: 'JWT' })
    .setIssuer(issuer)
    .setSubject('agent:scripted-agent')
    .setAudience('sts.amazonaws.com')
    .setIssuedAt()
    .setExpirationTime('2 minutes')
    .sign(privateKey);
}

async function assume(role: string, token: string): Promise<void> {
  const sts = new STSClient(clientOptions);
  const request = { RoleArn: role, RoleSessionName: 'forged', WebIdentityToken: token };
  await sts.send(new AssumeRoleWithWebIdentityCommand(request)).finally(() => sts.destroy());
}

/** Asks for the capability, reads with what came, ends the session, and finds the credential refused. */
async function oneLease(ground: Ground) {
  const post = await ground.session();
  const answer = await post('/v1/grants', { capability: 'read-orders', params: {}, ttl_seconds: 900 });
  const grant = (await answer.json()) as { credential: JsonObject; lease: { id: string } };
  assert.equal(answer.status, 201, JSON.stringify(grant));
  assert.equal(await read(grant.credential, objects.inside), 'accepted');
  assert.equal(await read(grant.credential, objects.outside), 'refused');
  const ended = (await (await post('/v1/session/end?wait=20')).json()) as {
    leases: { id: string; status: string }[];
  };
  assert.deepEqual(
    ended.leases.map(({ status }) => status),
    ['revoked'],
    JSON.stringify(ended),
  );
  assert.equal(await read(grant.credential, objects.inside), 'refused');
}
