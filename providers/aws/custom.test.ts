// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are IAM's variables, not JavaScript's
/** What `custom` can say where the typed services cannot, and that its plan reads as wide as it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../contract.ts';
import { describe } from './describe.ts';
import { account, agentRole, awsBench } from './harness.test-support.ts';
import { narrower } from './narrower.ts';
import { advise, awsParams } from './params.ts';
import { reach } from './reach.ts';
import { type AwsPermission, planFor } from './session-policy.ts';
import { awsSettings } from './settings.ts';

const settings = awsSettings.parse({ WRIT_AWS_ROLES: agentRole });
const read = (...statements: unknown[]) => awsParams.safeParse({ role: agentRole, service: 'custom', statements });
const plan = (...statements: JsonObject[]) => planFor(read(...statements).data!, 900, settings);
const words = (...statements: JsonObject[]) => describe(plan(...statements), settings, []).summary;
const allowed = (...statements: JsonObject[]) =>
  (plan(...statements).permission as AwsPermission).session_policy.Statement[0];

const login = { actions: ['ecr:GetAuthorizationToken'], every_resource: true };
const table = `arn:aws:dynamodb:eu-west-1:${account}:table/invoices`;

test('an action without resources is said for every resource, and read so', async () => {
  assert.deepEqual(allowed(login), { Effect: 'Allow', Action: ['ecr:GetAuthorizationToken'], Resource: ['*'] });
  assert.equal(words(login)[0], 'ecr:GetAuthorizationToken on every resource there is, none is named');
  assert.deepEqual(reach(plan(login))[0]?.resources, ['*']);
  const harness = await awsBench();
  try {
    const context = {
      leaseId: 'lse_login',
      sessionId: 'ses_1',
      agent: 'builder',
      signal: new AbortController().signal,
    };
    await harness.provider.issue({ ...context, plan: plan(login) });
    const { arn = '' } = harness.sandbox.sessions().at(-1) ?? {};
    assert.ok(harness.sandbox.allows(arn, 'ecr:GetAuthorizationToken', '*'));
    assert.equal(harness.sandbox.allows(arn, 'ecr:DeleteRepository', '*'), false);
  } finally {
    await harness.close();
  }
});

test('every action of a service is said as such, but of none that could undo a revocation', () => {
  const whole = { every_action_of: ['dynamodb'], resources: [table] };
  assert.deepEqual(allowed(whole)?.Action, ['dynamodb:*']);
  assert.equal(words(whole)[0], `Every action of dynamodb, those that AWS adds later too, on exactly ${table}`);
  for (const service of ['iam', 'sts', 'organizations', 'sso', 'sso-directory', 'identitystore', '*', 'dynamodb:*', ''])
    assert.equal(read({ every_action_of: [service], every_resource: true }).success, false, service);
  assert.equal(narrower(plan({ actions: ['dynamodb:GetItem'], resources: [table] }), plan(login)), false);
});

test('named resources or every one, and something to do there', () => {
  for (const statement of [
    { every_resource: true },
    { actions: ['s3:GetObject'], every_resource: false, resources: ['arn:aws:s3:::a'] },
    { ...login, resources: ['arn:aws:s3:::a'] },
    { actions: ['s3:GetObject'], resources: ['*'] },
    { actions: ['*'], every_resource: true },
  ])
    assert.equal(read(statement).success, false, JSON.stringify(statement));
  assert.equal(
    narrower(
      plan({ actions: ['s3:GetObject'], resources: ['arn:aws:s3:::a'] }),
      plan({ actions: ['s3:GetObject'], every_resource: true }),
    ),
    true,
  );
  assert.equal(
    narrower(
      plan({ actions: ['s3:GetObject'], every_resource: true }),
      plan({ actions: ['s3:GetObject'], resources: ['arn:aws:s3:::a'] }),
    ),
    false,
  );
});

test('a condition narrows, is read, and its values are literals', () => {
  const stop = { actions: ['ec2:StopInstances'], every_resource: true };
  const team = (...values: string[]) => ({
    ...stop,
    only_if: [{ test: 'StringEquals', key: 'aws:ResourceTag/team', values }],
  });
  assert.deepEqual(allowed(team('billing', '*', '${aws:userid}'))?.Condition, {
    StringEquals: { 'aws:ResourceTag/team': ['billing', '${*}', '${$}{aws:userid}'] },
  });
  assert.equal(
    words(team('billing'))[0],
    'ec2:StopInstances on every resource there is, none is named, only if aws:ResourceTag/team StringEquals billing',
  );
  assert.match(reach(plan(team('billing')))[0]?.onlyIf ?? '', /ResourceTag/);
  assert.equal(narrower(plan(team('billing')), plan(stop)), true);
  assert.equal(narrower(plan(stop), plan(team('billing'))), false);
  assert.equal(narrower(plan(team('payroll')), plan(team('billing'))), false);
  const two = {
    ...stop,
    only_if: [...team('billing').only_if, { test: 'Bool', key: 'aws:SecureTransport', values: ['true'] }],
  };
  assert.equal(narrower(plan(two), plan(team('billing'))), true);
  for (const only_if of [
    [{ test: 'StringEquals', key: 'aws:TagKeys', patterns: [['a', { any: 'text' }]] }],
    [{ test: 'StringLike', key: 'aws:TagKeys', patterns: [['', { any: 'text' }]] }],
    [{ test: 'StringLike', key: 'aws:TagKeys', patterns: ['a*'] }],
    [{ test: 'StringEquals', key: 'aws:TagKeys' }],
    [{ test: 'String Equals', key: 'aws:TagKeys', values: ['a'] }],
    [{ test: '__proto__', key: 'aws:TagKeys', values: ['a'] }],
    [{ test: 'StringEquals', key: '*', values: ['a'] }],
    [],
    [...team('a').only_if, ...team('b').only_if],
  ])
    assert.equal(read({ ...stop, only_if }).success, false, JSON.stringify(only_if));
});

const stop = { actions: ['ec2:StopInstances'], every_resource: true };
const onlyIf = (test: string, ...values: string[]) => ({
  ...stop,
  only_if: [{ test, key: 'aws:RequestedRegion', values }],
});

test('each of IAM’s operators can be said, and one that Writ does not know is AWS’s to judge', () => {
  for (const operator of [
    'StringLike',
    'StringNotLike',
    'StringNotEqualsIgnoreCase',
    'ArnLike',
    'ArnNotLike',
    'IpAddress',
    'NotIpAddress',
    'Null',
    'DateLessThan',
    'NumericNotEquals',
    'BoolIfExists',
    'BinaryEquals',
    'ForAllValues:StringEquals',
    'ForAnyValue:StringLikeIfExists',
  ]) {
    assert.deepEqual(allowed(onlyIf(operator, 'a'))?.Condition, { [operator]: { 'aws:RequestedRegion': ['a'] } });
    assert.deepEqual(advise({ statements: [onlyIf(operator, 'a')] }), [], operator);
  }
  const [warned] = advise({ statements: [stop, onlyIf('StringLik', 'a')] });
  assert.deepEqual([warned?.path, warned?.near?.written], [['statements', 1, 'only_if', 0, 'test'], 'StringLik']);
  assert.match(words(onlyIf('StringLik', 'a'))[0] ?? '', /an operator Writ does not know/);
  for (const key of ['token.actions.githubusercontent.com:sub', 'SAML:aud'])
    assert.equal(read({ ...stop, only_if: [{ test: 'Bool', key, values: ['a'] }] }).success, true, key);
  for (const nothing of [
    null,
    undefined,
    'x',
    { statements: [null, 1, { only_if: [null], resource_beginnings: [7] }] },
  ])
    assert.deepEqual(advise(nothing), []);
});

test('what holds where the key is absent is read so', () => {
  const end = (operator: string, value = 'a') =>
    words(onlyIf(operator, value))[0]?.split(', only if aws:RequestedRegion ')[1];
  const absent = 'holds too where the key is absent';
  assert.equal(end('StringEquals'), 'StringEquals a');
  for (const operator of [
    'StringEqualsIfExists',
    'StringNotEquals',
    'ArnNotLike',
    'NotIpAddress',
    'DateNotEquals',
    'NumericNotEquals',
    'ForAnyValue:StringNotLikeIfExists',
  ])
    assert.equal(end(operator), `${operator} a (${absent})`);
  assert.equal(end('ForAllValues:StringLike'), `ForAllValues:StringLike a (of each value there is; ${absent})`);
  assert.equal(end('Null', 'true'), 'Null true (where the key is absent)');
  assert.equal(end('Null', 'false'), 'Null false');
  const known = plan(onlyIf('StringEqualsIfExists', 'a'));
  assert.equal(narrower(plan(onlyIf('StringEquals', 'a')), known), false);
  assert.equal(narrower(known, plan(stop)), true);
});

test('a value is a literal for operators with patterns too: only a gap matches more than itself', async () => {
  for (const operator of ['StringLike', 'ArnLike', 'StringNotLike', 'ArnEquals', 'ForAnyValue:StringLikeIfExists'])
    assert.deepEqual(allowed(onlyIf(operator, '*', 'a?', '${aws:userid}'))?.Condition, {
      [operator]: { 'aws:RequestedRegion': ['${*}', 'a${?}', '${$}{aws:userid}'] },
    });
  const gaps = {
    ...stop,
    only_if: [
      {
        test: 'StringLike',
        key: 'ec2:ResourceTag/team',
        patterns: [['t*-', { any: 'text' }, '-', { any: 'character' }]],
      },
    ],
  };
  assert.deepEqual(allowed(gaps)?.Condition, { StringLike: { 'ec2:ResourceTag/team': ['t${*}-*-?'] } });
  assert.match(words(gaps)[0] ?? '', /ec2:ResourceTag\/team StringLike t\*-\(any text\)-\(any character\)$/);
  const begins = (...pieces: unknown[]) => ({
    statements: [{ ...stop, only_if: [{ test: 'StringLike', key: 'a:b', patterns: [pieces] }] }],
  });
  const [warned] = advise(begins('x', 'team-${inputs.team}', { any: 'text' }));
  assert.deepEqual(warned?.path, ['statements', 0, 'only_if', 0, 'patterns', 0, 1]);
  assert.match(warned?.message ?? '', /ends in the input team, .*those of 42 too/);
  assert.deepEqual(advise(begins('team-${inputs.team}', '-', { any: 'text' })), []);
});

test('an ARN without a numbered account is one, and one of every region is said as such', () => {
  const describing = { actions: ['ec2:DescribeManagedPrefixLists'] };
  const own = 'arn:aws:ec2:us-east-1:aws:prefix-list/pl-1';
  assert.deepEqual(allowed({ ...describing, resources: [own] })?.Resource, [own]);
  const each = `arn:aws:ec2:*:${account}:instance/`;
  assert.equal(read({ ...describing, resources: [`${each}i-1`] }).success, false);
  const wide = { ...describing, every_region: true as const, resources: [`${each}i-*`], resource_prefixes: [each] };
  assert.equal(read(wide).success, false, 'a wildcard elsewhere');
  const said = { ...wide, resources: [`${each}i-1`] };
  assert.deepEqual(allowed(said)?.Resource, [`${each}i-1`, `${each}*`]);
  assert.deepEqual(words(said).slice(0, 2), [
    `ec2:DescribeManagedPrefixLists on exactly ${each}i-1, in every region`,
    `ec2:DescribeManagedPrefixLists on everything whose ARN begins with ${each}, in every region`,
  ]);
  assert.deepEqual(reach(plan(said))[0]?.resources, [`${each}i-1`, `${each}*`]);
  for (const arn of ['arn:aws:ec2:us-*:1:x', 'arn:aws:*:eu-west-1::x', 'arn:aws:ec2:eu-west-1:*:x', 'arn:*:ec2:*::x'])
    assert.equal(read({ ...describing, every_region: true, resources: [arn] }).success, false, arn);
});

test('a beginning of ARNs that ends in an input is warned about: it reaches the neighbours', () => {
  const statement = (...resource_beginnings: string[]) => ({
    statements: [{ actions: ['s3:GetObject'], resource_beginnings }],
  });
  const [warned, ...more] = advise(
    statement('arn:aws:s3:::orders/${inputs.id}-', 'arn:aws:s3:::orders/customers/${inputs.customer_id}'),
  );
  assert.deepEqual([warned?.path, more], [['statements', 0, 'resource_beginnings', 1], []]);
  assert.match(warned?.message ?? '', /^ends in the input customer_id, .*those of 42 too.*use resource_prefixes/);
});
