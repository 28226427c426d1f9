import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import type { JsonObject, Plan } from '../core/vocabulary.ts';
import { planDigest } from './plan-digest.ts';

// Every run the same; another seed looks elsewhere.
fc.configureGlobal({ seed: 20261121 });

const reversed = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, reversed(item)]),
  );
};

test('the digest is SHA-256 over canonical JSON', () => {
  const plan: Plan = { ttl_seconds: 60, provider: 'store', permission: { b: [1, 'ü'], a: true } };
  const canonical = '{"permission":{"a":true,"b":[1,"ü"]},"provider":"store","ttl_seconds":60}';
  assert.equal(planDigest(plan), `sha256:${createHash('sha256').update(canonical).digest('hex')}`);
});

test('the order of members is nothing, every value is something', () => {
  const permission = fc.dictionary(fc.string(), fc.jsonValue()) as fc.Arbitrary<JsonObject>;
  fc.assert(
    fc.property(permission, fc.nat(), (permitted, ttl) => {
      const plan: Plan = { provider: 'store', permission: JSON.parse(JSON.stringify(permitted)), ttl_seconds: ttl };
      assert.equal(planDigest(plan), planDigest(reversed(plan) as Plan));
      assert.notEqual(planDigest(plan), planDigest({ ...plan, ttl_seconds: ttl + 1 }));
      assert.notEqual(planDigest(plan), planDigest({ ...plan, provider: 'other' }));
      assert.notEqual(
        planDigest(plan),
        planDigest({ ...plan, permission: { ...plan.permission, more: [plan.permission] } }),
      );
    }),
  );
});

test('what is not JSON has no digest', () => {
  assert.throws(() => planDigest(undefined as unknown as Plan));
  assert.throws(() => planDigest({ provider: 'store', permission: { n: Number.NaN }, ttl_seconds: 1 }));
});
