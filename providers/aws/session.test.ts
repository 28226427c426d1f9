// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are IAM's variables, not JavaScript's
/**
 * What is said to STS beside the session policy (tags, an external id, managed policies), and what somebody
 * who chooses its values can make of it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PolicyDocument } from '../../sandbox/aws/policy.ts';
import { type JsonObject, ProviderError } from '../contract.ts';
import { describe } from './describe.ts';
import {
  type AwsHarness,
  account,
  agentRole,
  callJson,
  readObject,
  settled,
  withBench,
} from './harness.test-support.ts';
import { narrower } from './narrower.ts';
import { awsParams } from './params.ts';
import { reach } from './reach.ts';
import { planFor } from './session-policy.ts';
import { awsSettings } from './settings.ts';

const s3 = { role: agentRole, service: 's3', bucket: 'orders', access: 'read' };
const settings = (env: Record<string, string> = {}) => awsSettings.parse({ WRIT_AWS_ROLES: agentRole, ...env });
const plan = (params: JsonObject, env = {}) =>
  planFor(awsParams.parse({ role: agentRole, ...params }), 900, settings(env));
const at = (path: string, said: RegExp) => (error: unknown) =>
  error instanceof ProviderError && error.code === 'bad_params' && error.path === path && said.test(error.message);

async function mint({ provider }: AwsHarness, params: JsonObject, leaseId = 'lse_session') {
  const made = provider.plan(provider.params.parse({ role: agentRole, ...params }), 900);
  const context = { leaseId, sessionId: 'ses_1', agent: 'invoice-bot', signal: new AbortController().signal };
  return (await provider.issue({ ...context, plan: made })).credential;
}

/** A role whose own policy is by the session's tag, as roles for many customers are. */
const byTag: PolicyDocument = {
  Version: '2012-10-17',
  Statement: [
    {
      Effect: 'Allow',
      Action: 's3:GetObject',
      Resource: 'arn:aws:s3:::orders/customers/${aws:PrincipalTag/customer}/*',
    },
  ],
};

for (const auth of ['web_identity', 'ambient'] as const)
  test(`a session’s tag is what the role’s policies see (${auth})`, async () => {
    await withBench(
      async (harness) => {
        harness.sandbox.setManagedPolicy(agentRole, 0, byTag);
        const credential = await mint(harness, { ...s3, session_tags: { customer: '42' } });
        assert.equal(await readObject(harness, credential, 'customers/42/a.txt'), 'accepted');
        assert.equal(await readObject(harness, credential, 'customers/7/c.txt'), 'refused');
        assert.deepEqual(harness.sandbox.sessions().at(-1)?.tags, {
          customer: '42',
          'writ-agent': 'invoice-bot',
          'writ-session': 'ses_1',
          'writ-lease': 'lse_session',
        });
      },
      { auth },
    );
  });

test('no value of a tag is a pattern, a variable or empty, and none names what Writ or AWS names', async () => {
  for (const value of ['*', '4?', '${aws:userid}', '${*}', '$', '', '42\n', '42\u202e', '4\u200b2', 'x'.repeat(257)]) {
    const read = awsParams.safeParse({ ...s3, session_tags: { customer: value } });
    assert.deepEqual(read.error?.issues[0]?.path, ['session_tags', 'customer'], JSON.stringify(value));
  }
  for (const key of ['writ-lease', 'Writ-Agent', 'aws:userid', 'AWS:x', '*', ''])
    assert.equal(awsParams.safeParse({ ...s3, session_tags: { [key]: '1' } }).success, false, key);
  assert.equal(awsParams.safeParse({ ...s3, session_tags: { a: '1', A: '2' } }).success, false);
  assert.equal(awsParams.safeParse({ ...s3, session_tags: {} }).success, false);
  // What STS itself would take is not a pattern in the role's policy either.
  await withBench(
    async (harness) => {
      harness.sandbox.setManagedPolicy(agentRole, 0, byTag);
      const neighbour = await mint(harness, { ...s3, session_tags: { customer: '4' } });
      assert.equal(await readObject(harness, neighbour, 'customers/42/a.txt'), 'refused');
    },
    { auth: 'ambient' },
  );
});

test('tags need a setting and count; who has other tags has no narrower plan', () => {
  assert.throws(
    () => plan({ ...s3, session_tags: { customer: '42' } }, { WRIT_AWS_SESSION_TAGS: 'off' }),
    at('session_tags', /WRIT_AWS_SESSION_TAGS=on/),
  );
  const many = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`tag-${index}`, 'v'.repeat(200)]));
  assert.throws(() => plan({ ...s3, session_tags: many }), at('service', /2048/));
  const tagged = (customer: string) => plan({ ...s3, session_tags: { customer } });
  assert.equal(narrower(tagged('42'), tagged('42')), true);
  for (const [one, other] of [
    [tagged('42'), tagged('7')],
    [tagged('42'), plan(s3)],
    [plan(s3), tagged('42')],
  ] as const)
    assert.equal(narrower(one, other), false);
  assert.match(
    describe(tagged('42'), settings(), []).summary.join('\n'),
    /With the session tag customer = 42: whatever the role’s policies give to aws:PrincipalTag\/customer of that value/,
  );
});

test('an external id opens the role whose trust policy asks for it, and only there', async () => {
  const trust: PolicyDocument = {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { AWS: `arn:aws:iam::${account}:user/writ` },
        Action: ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'],
        Condition: { StringEquals: { 'sts:ExternalId': 'tenant-7' } },
      },
    ],
  };
  const policies = [
    { Version: '2012-10-17', Statement: [{ Effect: 'Allow' as const, Action: 's3:*', Resource: '*' }] },
  ];
  await withBench(
    async (harness) => {
      const credential = await mint(harness, { ...s3, external_id: 'tenant-7' });
      assert.equal(await readObject(harness, credential, 'customers/42/a.txt'), 'accepted');
      for (const wrong of [s3, { ...s3, external_id: 'tenant-70' }])
        await assert.rejects(mint(harness, wrong), { code: 'upstream_refused' });
    },
    { auth: 'ambient', sandbox: { roles: [{ arn: agentRole, trust, policies }] } },
  );
  assert.throws(() => plan({ ...s3, external_id: 'tenant-7' }), at('external_id', /WRIT_AWS_AUTH=ambient/));
  for (const id of ['x', '*', 'a b', '${x}', 'a\n'])
    assert.equal(awsParams.safeParse({ ...s3, external_id: id }).success, false, id);
  const ambient = (external_id: string) => plan({ ...s3, external_id }, { WRIT_AWS_AUTH: 'ambient' });
  assert.equal(narrower(ambient('tenant-7'), ambient('tenant-8')), false);
  assert.match(describe(ambient('tenant-7'), settings(), []).summary.join('\n'), /external id tenant-7/);
});

const readOrders = `arn:aws:iam::${account}:policy/read-orders`;
const everything = `arn:aws:iam::${account}:policy/everything`;
const managedPolicies: Record<string, PolicyDocument> = {
  [readOrders]: {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 's3:GetObject', Resource: 'arn:aws:s3:::orders/customers/42/*' }],
  },
  [everything]: { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] },
};

test('managed policies cut the role down to what they allow, and never to what undoes a revocation', async () => {
  await withBench(
    async (harness) => {
      const narrow = await mint(harness, { service: 'managed', policies: [readOrders] });
      assert.equal(await readObject(harness, narrow, 'customers/42/a.txt'), 'accepted');
      assert.equal(await readObject(harness, narrow, 'customers/7/c.txt'), 'refused');
      const get = { TableName: 'invoices', Key: { customer: { S: '42' } } };
      const read = (credential: JsonObject) =>
        settled(callJson(harness, credential, 'dynamodb', 'DynamoDB_20120810.GetItem', get));
      assert.equal(await read(narrow), 'refused');
      const wide = await mint(harness, { service: 'managed', policies: [readOrders, everything] }, 'lse_wide');
      assert.equal(await read(wide), 'accepted');
      const { arn = '', policyArns } = harness.sandbox.sessions().at(-1) ?? {};
      assert.deepEqual(policyArns, [readOrders, everything]);
      assert.ok(harness.sandbox.allows(arn, 's3:GetObject', 'arn:aws:s3:::orders/x'));
      // The role may do it, the policy says everything, and yet.
      for (const action of ['iam:DeleteRolePolicy', 'iam:PutRolePolicy', 'sts:AssumeRole'])
        assert.equal(harness.sandbox.allows(arn, action, agentRole), false, action);
      harness.clock.advance(900_000);
      assert.equal(await readObject(harness, wide, 'customers/42/a.txt'), 'refused', 'it ends with the plan');
    },
    { sandbox: { managedPolicies } },
  );
});

test('a managed plan reads as wide as it is, and fewer policies are narrower', () => {
  const managed = (...policies: string[]) => plan({ service: 'managed', policies });
  const { summary } = describe(managed(everything), settings(), []);
  assert.match(
    summary[0] ?? '',
    /^Whatever the managed policy \S+:policy\/everything allows .* Writ does not read it$/,
  );
  const [only] = reach(managed(everything));
  assert.deepEqual([only?.actions, only?.resources], [['*'], ['*']]);
  assert.ok(only?.uncertain);
  assert.equal(narrower(managed(readOrders), managed(readOrders, everything)), true);
  assert.equal(narrower(managed(readOrders, everything), managed(readOrders)), false);
  assert.equal(narrower(managed(everything), plan(s3)), false);
  assert.equal(narrower(plan(s3), managed(everything)), false);
  for (const policies of [[], [readOrders, readOrders], ['*'], ['arn:aws:iam::1:policy/x'], [`${readOrders}*`]])
    assert.equal(awsParams.safeParse({ role: agentRole, service: 'managed', policies }).success, false);
  const long = Array.from({ length: 5 }, (_, index) => `${everything}-${index}${'x'.repeat(400)}`);
  assert.throws(() => plan({ service: 'managed', policies: long }), at('policies', /2048/));
});
