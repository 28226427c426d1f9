/** A lifetime is put before nobody that a role does not give. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AwsHarness, agentRole, withBench } from './harness.test-support.ts';

const params = { role: agentRole, service: 's3', access: 'read', bucket: 'orders' };
const lifetimes = ({ provider }: AwsHarness) => provider.lifetimes!(provider.params.parse(params));
const look = ({ provider }: AwsHarness) => provider.findLimits!(new AbortController().signal);
const env = { WRIT_AWS_MAX_TTL_SECONDS: '7200', WRIT_AWS_TRY_STORE: 'off' };

test('a role gives an hour until it was tried, and then what it gives', async () => {
  const withMaximum = (maxSessionSeconds: number, body: (harness: AwsHarness) => Promise<void>) =>
    withBench(
      async (harness) => {
        harness.sandbox.setRole(agentRole, { maxSessionSeconds });
        await body(harness);
      },
      { env },
    );
  await withMaximum(7200, async (harness) => {
    assert.deepEqual(lifetimes(harness), { minTtlSeconds: 60, maxTtlSeconds: 3600, untried: true });
    assert.deepEqual(await look(harness), []);
    assert.deepEqual(lifetimes(harness), { minTtlSeconds: 60, maxTtlSeconds: 7200 });
  });
  await withMaximum(3600, async (harness) => {
    const [line, ...more] = await look(harness);
    assert.match(line ?? '', /its maximum session duration is shorter\); until it does, its credentials live an hour/);
    assert.deepEqual(more, []);
    assert.deepEqual(lifetimes(harness), { minTtlSeconds: 60, maxTtlSeconds: 3600 });
  });
});

test('a role that allows less than it did is believed from its first refusal on', async () => {
  await withBench(
    async (harness) => {
      harness.sandbox.setRole(agentRole, { maxSessionSeconds: 7200 });
      assert.deepEqual(await look(harness), []);
      assert.equal(lifetimes(harness).maxTtlSeconds, 7200);
      harness.sandbox.setRole(agentRole, { maxSessionSeconds: 3600 });
      const { provider } = harness;
      const who = { leaseId: 'lse_longer', sessionId: 'ses_x', agent: 'invoice-bot' };
      const mint = (ttl: number) =>
        provider.issue({
          plan: provider.plan(provider.params.parse(params), ttl),
          ...who,
          signal: AbortSignal.timeout(9_000),
        });
      await assert.rejects(mint(7200), { code: 'upstream_refused', retryable: false });
      assert.equal(lifetimes(harness).maxTtlSeconds, 3600);
      await mint(3600);
    },
    { env },
  );
});

test('what could not be told is tried again', async () => {
  await withBench(
    async (harness) => {
      harness.sandbox.setRole(agentRole, { maxSessionSeconds: 7200 });
      harness.sandbox.fault('AssumeRoleWithWebIdentity', { code: 'Throttling', status: 400, message: 'Rate exceeded' });
      await assert.rejects(look(harness), { code: 'upstream_unavailable' });
      assert.equal(lifetimes(harness).untried, true);
    },
    { env },
  );
});

test('within an hour nothing is asked', async () => {
  await withBench(
    async (harness) => {
      const before = harness.sandbox.requests();
      assert.deepEqual(await look(harness), []);
      assert.deepEqual(lifetimes(harness), { minTtlSeconds: 60, maxTtlSeconds: 3600 });
      assert.equal(harness.sandbox.requests(), before);
    },
    { env: { WRIT_AWS_TRY_STORE: 'off' } },
  );
});
