import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { type Bounds, BoundsSchema, exactly, isWithin } from './bounds.ts';

const within = (bounds: unknown, params: unknown) => isWithin(BoundsSchema.parse(bounds), params as JsonObject);

test('what is not named must not be there, and what is named must', () => {
  assert.ok(within({ a: { equals: 'x' } }, { a: 'x' }));
  assert.ok(within({}, {}));
  for (const params of [{}, { a: 'x', b: 1 }, { b: 'x' }, { A: 'x' }, { a: 'x', __proto__x: 1 }])
    assert.ok(!within({ a: { equals: 'x' } }, params), JSON.stringify(params));
  assert.ok(!within({}, { a: null }));
  // An own member of this name: JSON can have one.
  assert.ok(!within({ a: { equals: 'x' } }, JSON.parse('{"a":"x","__proto__":{"b":1}}')));
  assert.ok(!within({ a: { equals: 'x' }, b: { equals: 'y' } }, { a: 'x', constructor: 'y' }));
});

test('a value of another type, in a list, or one that looks alike is outside', () => {
  const is = { a: { equals: 'orders' } };
  const one = { a: { one_of: ['orders', 7, true] } };
  const range = { a: { min: 1, max: 10 } };
  const under = { a: { prefix: 'reports/2026/', delimiter: '/' } };
  const all = [is, one, range, under];
  const strange: unknown[] = [
    ['orders'],
    [7],
    { 0: 'orders' },
    'orders ',
    'Orders',
    'оrders',
    'orders\u200b',
    '7',
    'true',
    1.5e300,
    '5',
    [5],
    null,
    ['reports/2026/x'],
    { toString: 'reports/2026/x' },
  ];
  for (const value of strange)
    for (const bounds of all)
      assert.ok(!within(bounds, { a: value }), `${JSON.stringify(bounds)} ${JSON.stringify(value)}`);
  assert.ok(
    within(is, { a: 'orders' }) && within(one, { a: 7 }) && within(one, { a: true }) && within(range, { a: 10 }),
  );
  assert.ok(within({ a: { equals: { b: [1, { c: 2, d: 3 }] } } }, { a: { b: [1, { d: 3, c: 2 }] } }));
  assert.ok(!within({ a: { equals: [1, 2] } }, { a: [2, 1] }));
});

test('a prefix ends where a level ends, and nothing leads out of it', () => {
  const under = { a: { prefix: 'reports/2026/', delimiter: '/' } };
  for (const value of ['reports/2026/may', 'reports/2026/may/', 'reports/2026/a.b/c-d_e', 'reports/2026/..x'])
    assert.ok(within(under, { a: value }), value);
  const outside = [
    'reports/2026/',
    'reports/2026-old/x',
    'reports/2026',
    '/reports/2026/x',
    'reports/2026/../2025/x',
    'reports/2026/x/..',
    'reports/2026/.',
    'reports/2026//x',
    'reports/2026/%2e%2e/x',
    'reports/2026/..\\x',
    'reports/2026/*',
    'reports/2026/x?',
    'reports/2026/x\ny',
    'reports/2026/ｘ',
    'reports/2026/x\u202ey',
  ];
  for (const value of outside) assert.ok(!within(under, { a: value }), value);
  assert.ok(within({ a: { prefix: 'arn:aws:', delimiter: ':' } }, { a: 'arn:aws:s3' }));
  assert.ok(!within({ a: { prefix: 'arn:aws:', delimiter: ':' } }, { a: 'arn:aws:s3:/../x' }));
});

test('what is no bound is refused', () => {
  const bad = [
    {},
    { prefix: 'reports', delimiter: '/' },
    { prefix: 'a/../', delimiter: '/' },
    { prefix: '*/', delimiter: '/' },
    { prefix: '/', delimiter: '/' },
    { min: 1 },
    { min: 2, max: 1 },
    { one_of: [] },
    { one_of: [['x']] },
    { equals: 1, min: 0, max: 2 },
    { anything: true },
  ];
  for (const bound of bad) assert.equal(BoundsSchema.safeParse({ a: bound }).success, false, JSON.stringify(bound));
});

test('a form starts from the very request', () => {
  const params = { a: 'x', b: [1, { c: true }] };
  const bounds: Bounds = exactly(params);
  assert.ok(isWithin(bounds, params) && !isWithin(bounds, { ...params, b: [1, { c: false }] }));
});
