/** How many denials a role holds: never more than fit, and known before anything is minted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RevocationTarget } from '../contract.ts';
import { denialFor, denialPolicyName } from './denial.ts';
import { type AwsHarness, agentRole, withBench } from './harness.test-support.ts';
import { inlinePolicyLimit } from './role-policy.ts';

const planOf = ({ provider }: AwsHarness) =>
  provider.plan(provider.params.parse({ role: agentRole, service: 's3', access: 'read', bucket: 'orders' }), 900);
const throttled = { code: 'Throttling', status: 400, message: 'Rate exceeded' };
const ask = (harness: AwsHarness) => harness.provider.denialsThatFit!(planOf(harness), new AbortController().signal);

/** Leases whose answers were lost are denied by both names, and the worst that a document holds. */
function lost(harness: AwsHarness, count: number): RevocationTarget[] {
  const intentAt = harness.clock.now();
  return Array.from({ length: count }, (_, n) => ({
    leaseId: `lse_${String(n).padStart(20, '0')}`,
    plan: planOf(harness),
    handle: n % 2 === 0 ? null : { role: agentRole, revoke_key: 'userid', issued_at: intentAt.toISOString() },
    secret: null,
    reserved: null,
    intentAt,
    providerExpiresAt: new Date(intentAt.getTime() + 900_000),
    settlingSince: null,
  }));
}

// docs/providers/aws.md gives this number: change both.
test('338 denials are promised for a role of its own, and that many fit however they are written', async () => {
  await withBench(async (harness) => {
    const promised = (await ask(harness)) ?? 0;
    assert.equal(promised, 338);
    // A lost answer counts for two.
    const targets = lost(harness, Math.floor((promised * 2) / 3));
    const places = targets.reduce((sum, { handle }) => sum + (handle === null ? 2 : 1), 0);
    assert.ok(places >= promised - 2 && places <= promised, String(places));
    const denial = denialFor(targets, harness.clock.now(), inlinePolicyLimit);
    assert.equal(denial?.cutOff, null);
    const one = lost(harness, promised).map((target) => ({ ...target, handle: lost(harness, 2)[1]!.handle }));
    assert.equal(denialFor(one, harness.clock.now(), inlinePolicyLimit)?.cutOff, null);
  });
});

test('other inline policies take room, without their white space; ours does not', async () => {
  await withBench(async (harness) => {
    const statement = { Effect: 'Allow', Action: 's3:GetObject', Resource: `arn:aws:s3:::${'x'.repeat(4_000)}` };
    const text = JSON.stringify({ Version: '2012-10-17', Statement: [statement] }, null, 8);
    harness.sandbox.setInlinePolicy(agentRole, 'admins-own', text);
    harness.sandbox.setInlinePolicy(agentRole, denialPolicyName, text);
    const written = text.replaceAll(/\s/g, '').length;
    assert.equal(await ask(harness), Math.floor((10_240 - 420 - written) / 29));
    harness.sandbox.setInlinePolicy(agentRole, 'more', text.replaceAll('x'.repeat(4_000), 'x'.repeat(5_800)));
    harness.clock.advance(300_000);
    assert.equal(await ask(harness), 0, 'none, and not fewer than none');
  });
});

test('it is asked for once in a while, by many at once; what was known holds while IAM does not answer', async () => {
  const asked: string[] = [];
  await withBench(
    async (harness) => {
      harness.sandbox.fault('ListRolePolicies', throttled, 1);
      await assert.rejects(ask(harness), { name: 'ProviderError', retryable: true });
      asked.length = 0;
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask(harness)));
      assert.deepEqual([...new Set(answers)], [338]);
      assert.equal(asked.filter((action) => action === 'ListRolePolicies').length, 1);
      harness.clock.advance(299_999);
      await ask(harness);
      assert.equal(asked.filter((action) => action === 'ListRolePolicies').length, 1);
      harness.clock.advance(1);
      harness.sandbox.fault('ListRolePolicies', throttled, 1);
      assert.equal(await ask(harness), 338);
      assert.equal(asked.filter((action) => action === 'ListRolePolicies').length, 2);
    },
    { sandbox: { onAction: (action) => asked.push(action) } },
  );
});

test('where nothing is ever denied nothing is counted, and IAM is not asked', async () => {
  const asked: string[] = [];
  await withBench(
    async (harness) => {
      assert.equal(await ask(harness), null);
      assert.deepEqual(asked, []);
    },
    { env: { WRIT_AWS_REVOKE_ROLE: '' }, sandbox: { onAction: (action) => asked.push(action) } },
  );
});
