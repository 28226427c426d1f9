// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are IAM's variables, not JavaScript's
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ConditionBlock, conditionHolds } from './conditions.ts';
import { like } from './patterns.ts';
import { evaluate, parsePolicy, type Statement } from './policy.ts';

const object = 'arn:aws:s3:::orders/customers/42/a.txt';
const request = { action: 's3:GetObject', resource: object, context: { 'aws:userid': ['AROA1:lse_a'] } };
const decide = (...statements: Statement[]) => evaluate([{ Version: '2012-10-17', Statement: statements }], request);

test('wildcards, variables and their escapes', () => {
  const context = { 'aws:userid': ['a*b'] };
  assert.ok(like('customers/*', 'customers/42/x', context));
  assert.ok(!like('customers/*', 'customer', context));
  assert.ok(like('a?c', 'abc', context) && !like('a?c', 'ac', context));
  assert.ok(like('a${*}c', 'a*c', context) && !like('a${*}c', 'abc', context));
  assert.ok(like('a${?}c', 'a?c', context) && !like('a${?}c', 'abc', context));
  assert.ok(like('${$}{aws:userid}', '${aws:userid}', context));
  assert.ok(
    like('${aws:userid}', 'a*b', context) && !like('${aws:userid}', 'axb', context),
    'a value is not a pattern',
  );
  assert.ok(!like('${aws:unknown}*', 'anything', context), 'a variable without a value matches nothing');
  assert.ok(
    like('a.c+(d)|[e]\\', 'a.c+(d)|[e]\\', context) && !like('a.c', 'abc', context),
    'regex letters are letters',
  );
});

test('nothing allows by default, a deny beats an allow, actions ignore case', () => {
  const allow: Statement = { Effect: 'Allow', Action: 'S3:get*', Resource: 'arn:aws:s3:::orders/*' };
  assert.equal(decide(), 'none');
  assert.equal(decide(allow), 'allow');
  assert.equal(decide(allow, { Effect: 'Deny', Action: '*', Resource: '*' }), 'deny');
  assert.equal(decide({ ...allow, Resource: 'arn:aws:s3:::ORDERS/*' }), 'none', 'resources do not ignore case');
  assert.equal(decide({ Effect: 'Allow', NotAction: 's3:*', Resource: '*' }), 'none');
  assert.equal(decide({ Effect: 'Allow', NotAction: 'iam:*', NotResource: 'arn:aws:s3:::other/*' }), 'allow');
});

test('conditions, present and missing', () => {
  const context = { k: ['b'], many: ['a', 'b'], 'aws:currenttime': ['2026-11-21T10:00:00.000Z'] };
  const cases: [ConditionBlock, boolean][] = [
    [{ StringEquals: { K: ['a', 'b'] } }, true],
    [{ StringEquals: { k: '*' } }, false],
    [{ StringEquals: { missing: 'b' } }, false],
    [{ StringEqualsIfExists: { missing: 'b' } }, true],
    [{ StringNotEquals: { k: ['a', 'b'] } }, false],
    [{ StringNotEquals: { missing: 'b' } }, true],
    [{ StringLike: { k: '?' } }, true],
    [{ StringNotLike: { k: 'a*' } }, true],
    [{ 'ForAllValues:StringEquals': { many: ['a', 'b', 'c'] } }, true],
    [{ 'ForAllValues:StringEquals': { many: 'a' } }, false],
    [{ 'ForAllValues:StringEquals': { missing: 'a' } }, true],
    [{ 'ForAnyValue:StringEquals': { many: 'b' } }, true],
    [{ 'ForAnyValue:StringEquals': { missing: 'b' } }, false],
    [{ Null: { missing: 'true' } }, true],
    [{ Null: { k: 'false' } }, true],
    [{ Null: { missing: 'false' } }, false],
    [{ DateGreaterThanEquals: { 'aws:CurrentTime': '2026-11-21T10:00:00Z' } }, true],
    [{ DateGreaterThanEquals: { 'aws:CurrentTime': '2026-11-21T10:00:01Z' } }, false],
    [{ DateLessThan: { 'aws:CurrentTime': '2026-11-21T10:00:00Z' } }, false],
    [{ DateLessThan: { 'aws:TokenIssueTime': '2030-01-01T00:00:00Z' } }, false],
    [{ StringEquals: { k: 'b' }, Null: { k: 'true' } }, false],
  ];
  for (const [block, holds] of cases) assert.equal(conditionHolds(block, context), holds, JSON.stringify(block));
});

test('malformed policies are refused when they are written', () => {
  const statement = { Effect: 'Allow', Action: 's3:GetObject', Resource: '*' };
  const bad: unknown[] = [
    {},
    { Version: '2020-01-01', Statement: statement },
    { Statement: { ...statement, Effect: 'allow' } },
    { Statement: { ...statement, Actions: 's3:*' } },
    { Statement: { ...statement, Action: 'GetObject' } },
    { Statement: { ...statement, Action: undefined } },
    { Statement: { ...statement, Resource: 'orders' } },
    { Statement: { ...statement, Principal: '*' } },
    { Statement: { ...statement, Condition: { StringMatches: { a: 'b' } } } },
    { Statement: { ...statement, Condition: { DateLessThan: { 'aws:CurrentTime': 'tomorrow' } } } },
  ];
  for (const document of bad)
    assert.throws(
      () => parsePolicy(JSON.stringify(document)),
      { code: 'MalformedPolicyDocument' },
      JSON.stringify(document),
    );
  assert.throws(() => parsePolicy('{'), { code: 'MalformedPolicyDocument' });
  assert.throws(() => parsePolicy('{"Statement":[],"Id":"顧客"}'), { code: 'ValidationError' });
});
