import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from '../../broker/core/clock.ts';
import type { RevocationTarget } from '../contract.ts';
import { type GcpHarness, gcpBench, poolAccounts, sharedAccount, storage } from './harness.test-support.ts';

const goodParams = { bucket: 'orders', prefix: 'customers/42/' };
const neverAborted = new AbortController().signal;

function check(
  title: string,
  body: (harness: GcpHarness) => Promise<void>,
  environment: { [name: string]: string } = {},
) {
  test(title, async () => {
    const harness = await gcpBench(environment, { disableLagMs: 60_000 });
    try {
      await body(harness);
    } finally {
      await harness.close();
    }
  });
}

async function leased(harness: GcpHarness, ttlSeconds = 900) {
  const plan = harness.plan(goodParams, ttlSeconds);
  const issued = await harness.issue(plan);
  const target: RevocationTarget = {
    leaseId: 'lease-1',
    plan,
    handle: issued.handle,
    secret: null,
    reserved: poolAccounts[0]!,
    intentAt: harness.clock.now(),
    providerExpiresAt: issued.providerExpiresAt,
    settlingSince: null,
  };
  const status = () => storage(harness.sandbox, issued.credential, 'GET', 'orders', 'customers/42/a.txt');
  const revoke = async () => (await harness.provider.revoke([target], [target], neverAborted))[0]!;
  return { target, status, revoke };
}

check('revoked is said only after the lag, and only while the account is still disabled', async (harness) => {
  const { target, status, revoke } = await leased(harness);
  const first = await revoke();
  assert.equal(first.state, 'settling');
  assert.equal(await status(), 200, 'Google still accepts it for a while: that is why it is not called revoked');
  target.settlingSince = harness.clock.now();
  harness.clock.advance(119_000);
  assert.equal((await revoke()).state, 'settling');
  harness.clock.advance(1_000);
  const last = await revoke();
  assert.equal(last.state, 'revoked');
  assert.deepEqual(last.state === 'revoked' && last.evidence, {
    service_account: poolAccounts[0],
    disabled: true,
    read_back_at: '2026-03-01T12:02:00.000Z',
    lag_seconds: 120,
  });
  assert.equal(await status(), 401);
});

check('an account that somebody enabled meanwhile is disabled again, and the lag starts anew', async (harness) => {
  const { target, revoke } = await leased(harness);
  await revoke();
  target.settlingSince = harness.clock.now();
  harness.sandbox.setDisabled(poolAccounts[0]!, false);
  harness.clock.advance(120_000);
  const again = await revoke();
  assert.equal(again.state, 'settling');
  assert.equal(again.state === 'settling' && again.recheckAt.toISOString(), '2026-03-01T12:04:00.000Z');
  assert.equal(harness.sandbox.isDisabled(poolAccounts[0]!), true);
});

check('enabling too early revives the token: hence the quarantine until the last one has expired', async (harness) => {
  const { target, status, revoke } = await leased(harness, 1800);
  await revoke();
  target.settlingSince = harness.clock.now();
  harness.clock.advance(120_000);
  assert.equal((await revoke()).state, 'revoked');
  assert.equal(await status(), 401);

  await harness.provider.release?.(poolAccounts[0]!, neverAborted);
  harness.clock.advance(60_000);
  assert.equal(await status(), 200, 'a release before the expiry would undo the revocation');

  harness.clock.set(target.providerExpiresAt);
  assert.equal(await status(), 401, 'after the expiry it is harmless');
  const { credential } = await harness.issue(harness.plan(goodParams));
  assert.equal(await storage(harness.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 200);
});

check('release enables what was disabled, and leaves alone what was not or is not in the pool', async (harness) => {
  harness.sandbox.setDisabled(poolAccounts[0]!, true);
  harness.sandbox.setDisabled(sharedAccount, true);
  await harness.provider.release?.(poolAccounts[0]!, neverAborted);
  await harness.provider.release?.(sharedAccount, neverAborted);
  assert.equal(harness.sandbox.isDisabled(poolAccounts[0]!), false);
  assert.equal(harness.sandbox.isDisabled(sharedAccount), true);
  const before = harness.sandbox.requests('admin');
  await harness.provider.release?.(poolAccounts[1]!, neverAborted);
  assert.equal(harness.sandbox.requests('admin') - before, 1, 'one read, no write');
});

check('a mint whose answer was lost is ended through the reservation', async (harness) => {
  const { target, status, revoke } = await leased(harness);
  target.handle = null;
  assert.equal((await revoke()).state, 'settling');
  harness.clock.advance(60_000);
  assert.equal(await status(), 401);
});

check('a failing IAM is a failed revocation, retryable, never revoked', async (harness) => {
  const { revoke } = await leased(harness);
  for (const [kind, code] of [
    ['unavailable', 'UNAVAILABLE'],
    ['throttled', 'RESOURCE_EXHAUSTED'],
  ] as const) {
    harness.sandbox.fail(kind, 'admin');
    const outcome = await revoke();
    assert.ok(outcome.state === 'failed');
    assert.equal(outcome.error.retryable, true);
    assert.equal(outcome.error.providerCode, code);
  }
  harness.sandbox.fail(null, 'admin');
  assert.equal((await revoke()).state, 'settling');
});

check(
  'without lag the provider’s word is enough at once',
  async (harness) => assert.equal((await (await leased(harness)).revoke()).state, 'revoked'),
  { WRIT_GCP_REVOKE_LAG_SECONDS: '0' },
);

check('a shared account is never touched', async (harness) => {
  const plan = harness.plan({ ...goodParams, service_account: sharedAccount });
  assert.equal(harness.provider.pool?.(plan), null);
  const { target } = await leased(harness);
  const before = harness.sandbox.requests();
  const [outcome] = await harness.provider.revoke([{ ...target, plan, reserved: null }], [], neverAborted);
  assert.equal(outcome?.state, 'wait_for_expiry');
  assert.equal(harness.sandbox.requests(), before);
});

test('by a Google whose clock is behind ours, a token outlives the end that we see, by less than the minute that is left before a release', async () => {
  const clock = manualClock(new Date('2026-03-01T11:59:01Z'));
  const harness = await gcpBench({}, { clock });
  try {
    const { credential, providerExpiresAt } = await harness.issue(harness.plan(goodParams));
    const status = () => storage(harness.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt');
    const pass = (ms: number) => {
      harness.clock.advance(ms);
      clock.advance(ms);
    };
    pass(providerExpiresAt.getTime() - harness.clock.now().getTime());
    assert.equal(await status(), 200, 'enabled again now, a revoked one would work');
    pass(60_000);
    assert.equal(await status(), 401);
  } finally {
    await harness.close();
  }
});

test('the bound for a lost answer holds when the mint comes late after its intent', async () => {
  const harness = await gcpBench();
  try {
    const intentAt = harness.clock.now();
    harness.clock.advance(30_000);
    const { credential } = await harness.issue(harness.plan(goodParams, 3600));
    const bound = intentAt.getTime() + harness.provider.limits.longestProviderLifetimeSeconds * 1000;
    harness.clock.set(new Date(bound));
    assert.equal(await storage(harness.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 401);
  } finally {
    await harness.close();
  }
});
