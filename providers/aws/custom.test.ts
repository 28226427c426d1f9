// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are IAM's variables, not JavaScript's
/** What `custom` can say where the typed services cannot, and that its plan reads as wide as it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../contract.ts';
import { describe } from './describe.ts';
import { account, agentRole, awsBench } from './harness.test-support.ts';
import { narrower } from './narrower.ts';
import { awsParams } from './params.ts';
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
    [{ test: 'StringLike', key: 'aws:ResourceTag/team', values: ['*'] }],
    [{ test: 'ForAllValues:StringEquals', key: 'aws:TagKeys', values: ['a'] }],
    [{ test: 'StringEquals', key: '*', values: ['a'] }],
    [],
    [...team('a').only_if, ...team('b').only_if],
  ])
    assert.equal(read({ ...stop, only_if }).success, false, JSON.stringify(only_if));
});
