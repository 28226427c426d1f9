/**
 * The AWS provider passes the suite: both ways of assuming a role, both ways of denying a session, and
 * without any way to revoke.
 */
import { type ConformanceHarness, conformance } from '../conformance.ts';
import type { JsonObject, Provider } from '../contract.ts';
import {
  type AwsBenchOptions,
  agentRole,
  awsBench,
  callJson,
  queueArn,
  readObject,
  readsCustomer,
  roles,
  sealKey,
  secretArn,
  settled,
} from './harness.test-support.ts';

const s3 = { role: agentRole, service: 's3', access: 'read', bucket: 'orders', prefix: 'customers/42/' };
const table = {
  role: agentRole,
  service: 'dynamodb',
  region: 'eu-west-1',
  access: 'read',
  table: 'invoices',
  leading_key: '42',
};
const statement = { actions: ['s3:Get*'], resource_prefixes: ['arn:aws:s3:::orders/customers/42/'] };
const custom = { role: agentRole, service: 'custom', statements: [statement] };

const oddAnswers = [
  'ends-in-the-past',
  'ends-too-late',
  'another-role',
  'another-name',
  'another-account',
  'another-userid',
  'broken-token',
] as const;

async function harness(options: AwsBenchOptions): Promise<ConformanceHarness> {
  const made = await awsBench(options);
  const { provider, clock, sandbox } = made;
  const printed = recordOutput();
  const minting = options.auth === 'ambient' ? 'AssumeRole' : 'AssumeRoleWithWebIdentity';
  const read = (key: string) => (credential: JsonObject) => readObject(made, credential, key);
  const json = (service: string, target: string, input: JsonObject) => (credential: JsonObject) =>
    settled(callJson(made, credential, service, target, input));
  let changes = 0;
  const everything = ['s3:*', 'dynamodb:*', 'sqs:*', 'secretsmanager:*'];
  const wide = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow' as const, Action: everything, Resource: ['*'] }],
  };
  /** Parameters with one use inside and one outside their scope. */
  const scopes: {
    params: unknown;
    inside: (c: JsonObject) => Promise<'accepted' | 'refused'>;
    outside: (c: JsonObject) => Promise<'accepted' | 'refused'>;
  }[] = [
    { params: s3, inside: read('customers/42/a.txt'), outside: read('customers/421/b.txt') },
    {
      params: table,
      inside: json('dynamodb', 'DynamoDB_20120810.GetItem', { TableName: 'invoices', Key: { customer: { S: '42' } } }),
      outside: json('dynamodb', 'DynamoDB_20120810.GetItem', { TableName: 'invoices', Key: { customer: { S: '7' } } }),
    },
    {
      params: { role: agentRole, service: 'sqs', access: 'send', queue: queueArn },
      inside: json('sqs', 'AmazonSQS.SendMessage', { QueueUrl: 'http://q/111122223333/orders', MessageBody: 'x' }),
      outside: json('sqs', 'AmazonSQS.ReceiveMessage', { QueueUrl: 'http://q/111122223333/orders' }),
    },
    {
      params: { role: agentRole, service: 'secretsmanager', secret: secretArn },
      inside: json('secretsmanager', 'secretsmanager.GetSecretValue', { SecretId: secretArn }),
      outside: json('secretsmanager', 'secretsmanager.GetSecretValue', {
        SecretId: secretArn.replace('billing', 'payroll'),
      }),
    },
    { params: custom, inside: read('customers/42/a.txt'), outside: read('customers/7/c.txt') },
    {
      params: { ...s3, session_tags: { customer: '42', 'cost-centre': 'Köln 7' } },
      inside: read('customers/42/a.txt'),
      outside: read('customers/421/b.txt'),
    },
    {
      params: { role: agentRole, service: 'managed', policies: [readsCustomer] },
      inside: read('customers/42/a.txt'),
      outside: read('customers/7/c.txt'),
    },
    {
      params: { ...s3, bucket: 'sealed', kms_key: sealKey },
      inside: (c) => readObject(made, c, 'customers/42/a.txt', 'sealed'),
      outside: (c) => readObject(made, c, 'customers/7/c.txt', 'sealed'),
    },
  ];
  return {
    provider: provider as Provider,
    clock,
    goodParams: scopes.map((scope) => scope.params),
    statefulParams: [
      s3,
      { ...s3, prefix: undefined, access: 'get', key: 'customers/42/a.txt' },
      { ...s3, prefix: undefined },
      ...('WRIT_AWS_REVOKE_ROLE' in (options.env ?? {}) ? [] : [table, custom]),
    ],
    changeState: async (params) => {
      const { service } = params as { service: string };
      changes += 1;
      if (service === 's3') sandbox.setObject('orders', 'customers/42/a.txt', `changed ${changes}`);
      else sandbox.setManagedPolicy(agentRole, 0, wide);
    },
    badParams: [
      { params: { ...s3, role: 'arn:aws:iam::111122223333:role/admin' }, path: 'role' },
      { params: { ...s3, bucket: '*' }, path: 'bucket' },
      { params: { ...s3, bucket: 'orders/../other' }, path: 'bucket' },
      { params: { ...s3, prefix: 'customers/42' }, path: 'prefix' },
      { params: { ...s3, prefix: 'customers/../' }, path: 'prefix' },
      { params: { ...s3, prefix: 'customers/42\u202e/' }, path: 'prefix' },
      { params: { ...s3, access: 'admin' }, path: 'access' },
      { params: { ...s3, policy: {} }, path: 'policy' },
      { params: { ...s3, service: 'iam' }, path: 'service' },
      { params: { ...s3, session_tags: { customer: '*' } }, path: 'session_tags.customer' },
      { params: { ...s3, session_tags: { 'writ-lease': 'x' } }, path: 'session_tags.writ-lease' },
      ...(options.auth === 'ambient' ? [] : [{ params: { ...s3, external_id: 'tenant-7' }, path: 'external_id' }]),
      { params: { ...s3, kms_key: '*' }, path: 'kms_key' },
      { params: { role: agentRole, service: 'managed', policies: ['*'] }, path: 'policies.0' },
      { params: { ...table, table: 'invoices/index/*' }, path: 'table' },
      { params: { role: agentRole, service: 'sqs', access: 'send', queue: '*' }, path: 'queue' },
      { params: { role: agentRole, service: 'secretsmanager', secret: `${secretArn}*` }, path: 'secret' },
      ...['*', 's3:*', 'iam:*', 'sts:*', 'iam:PassRole', 'iam:Put*', 'sts:AssumeRole', 'S3:GetObject', 'Iam:*'].map(
        (action) => ({
          params: { ...custom, statements: [{ ...statement, actions: [action] }] },
          path: 'statements.0.actions.0',
        }),
      ),
      {
        params: { ...custom, statements: [{ actions: ['s3:GetObject'], resources: ['arn:aws:s3:::*'] }] },
        path: 'statements.0.resources.0',
      },
      {
        params: { ...custom, statements: [{ actions: ['s3:GetObject'], resources: ['*'] }] },
        path: 'statements.0.resources.0',
      },
      { params: { ...custom, statements: [{ actions: ['s3:GetObject'] }] }, path: 'statements.0.resources' },
      {
        params: {
          ...custom,
          statements: [
            {
              actions: ['s3:GetObject'],
              resources: Array.from({ length: 40 }, (_, n) => `arn:aws:s3:::orders/some/longer/name/${n}/object`),
            },
          ],
        },
        path: 'statements',
      },
      { params: null, path: '' },
    ],
    use: (credential, inside, index = 0) => {
      const scope = scopes[index];
      if (scope === undefined) throw new Error('no such scope');
      return inside ? scope.inside(credential) : scope.outside(credential);
    },
    upstream: {
      requests: sandbox.requests,
      fail: (kind) => {
        const status = kind === 'refused' ? 403 : 503;
        const code = kind === 'refused' ? 'AccessDenied' : 'ServiceUnavailable';
        const throttled = { code: 'Throttling', status: 400, message: 'Rate exceeded', retryAfterSeconds: 7 };
        if (kind === 'throttled') sandbox.fault(minting, throttled);
        else sandbox.fault(minting, kind === null || kind === 'hang' ? kind : { code, status });
      },
      throttledSeconds: 7,
      odd: Object.fromEntries(oddAnswers.map((saying) => [saying, () => sandbox.fault(minting, { saying }, 1)])),
      expectedRefusalCode: 'AccessDenied',
    },
    breaks: {
      'a role that trusts somebody else': () =>
        sandbox.setRole(agentRole, {
          trust: {
            Version: '2012-10-17',
            Statement: {
              Effect: 'Allow',
              Principal: { AWS: 'arn:aws:iam::999999999999:user/else' },
              Action: 'sts:AssumeRole',
            },
          },
        }),
      ...('WRIT_AWS_REVOKE_ROLE' in (options.env ?? {})
        ? {}
        : {
            'denials that cannot be read': () =>
              sandbox.fault('GetRolePolicy', { code: 'AccessDenied', status: 403, message: 'no' }),
          }),
      'a trust policy that allows nothing besides': () => {
        const [role] = roles(made.issuer.url, []);
        sandbox.setRole(agentRole, { trust: role!.trust });
      },
    },
    output: printed.text,
    otherSecrets: made.secrets,
    advance: async (ms) => clock.advance(ms),
    close: async () => {
      printed.restore();
      await made.close();
    },
  };
}

/** Everything written to stdout and stderr while a harness lives. */
function recordOutput() {
  const written: string[] = [];
  const originals = [process.stdout.write, process.stderr.write] as const;
  const record =
    (write: typeof process.stdout.write, stream: NodeJS.WriteStream) =>
    (...args: unknown[]): boolean => {
      written.push(String(args[0]));
      return write.apply(stream, args as Parameters<typeof write>);
    };
  process.stdout.write = record(originals[0], process.stdout) as typeof process.stdout.write;
  process.stderr.write = record(originals[1], process.stderr) as typeof process.stderr.write;
  return {
    text: () => written.join(''),
    restore: () => {
      [process.stdout.write, process.stderr.write] = originals;
    },
  };
}

conformance('aws (web identity, SourceIdentity)', () => harness({}));
conformance('aws (web identity, userid; SourceIdentity not honoured)', () =>
  harness({
    env: { WRIT_AWS_REVOKE_KEY: 'userid' },
    trusted: ['sts:TagSession'],
    sandbox: { sourceIdentityHonoured: false },
  }),
);
conformance('aws (ambient credentials, SourceIdentity)', () => harness({ auth: 'ambient' }));
conformance('aws (ambient credentials, userid, no lag)', () =>
  harness({
    auth: 'ambient',
    env: { WRIT_AWS_REVOKE_KEY: 'userid', WRIT_AWS_REVOKE_LAG_SECONDS: '0' },
    sandbox: { denyLagMs: 0 },
  }),
);
conformance('aws (no revoke role)', () => harness({ env: { WRIT_AWS_REVOKE_ROLE: undefined } }));
