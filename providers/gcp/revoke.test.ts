import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from '../../broker/clock.ts';
import type { RevocationTarget } from '../contract.ts';
import { type GcpBench, gcpBench, POOL, SHARED, storage } from './bench.test-support.ts';

const PARAMS = { bucket: 'orders', prefix: 'customers/42/' };
const NEVER = new AbortController().signal;

function check(title: string, body: (bench: GcpBench) => Promise<void>, environment: { [name: string]: string } = {}) {
  test(title, async () => {
    const bench = await gcpBench(environment, { disableLagMs: 60_000 });
    try {
      await body(bench);
    } finally {
      await bench.close();
    }
  });
}

async function leased(bench: GcpBench, ttlSeconds = 900) {
  const plan = bench.plan(PARAMS, ttlSeconds);
  const issued = await bench.issue(plan);
  const target: RevocationTarget = {
    leaseId: 'lease-1',
    plan,
    handle: issued.handle,
    secret: null,
    reserved: POOL[0]!,
    intentAt: bench.clock.now(),
    providerExpiresAt: issued.providerExpiresAt,
    settlingSince: null,
  };
  const status = () => storage(bench.sandbox, issued.credential, 'GET', 'orders', 'customers/42/a.txt');
  const revoke = async () => (await bench.provider.revoke([target], [target], NEVER))[0]!;
  return { target, status, revoke };
}

check('revoked is said only after the lag, and only while the account is still disabled', async (bench) => {
  const { target, status, revoke } = await leased(bench);
  const first = await revoke();
  assert.equal(first.state, 'settling');
  assert.equal(await status(), 200, 'Google still accepts it for a while: that is why it is not called revoked');
  target.settlingSince = bench.clock.now();
  bench.clock.advance(119_000);
  assert.equal((await revoke()).state, 'settling');
  bench.clock.advance(1_000);
  const last = await revoke();
  assert.equal(last.state, 'revoked');
  assert.deepEqual(last.state === 'revoked' && last.evidence, {
    service_account: POOL[0],
    disabled: true,
    read_back_at: '2026-03-01T12:02:00.000Z',
    lag_seconds: 120,
  });
  assert.equal(await status(), 401);
});

check('an account that somebody enabled meanwhile is disabled again, and the lag starts anew', async (bench) => {
  const { target, revoke } = await leased(bench);
  await revoke();
  target.settlingSince = bench.clock.now();
  bench.sandbox.setDisabled(POOL[0]!, false);
  bench.clock.advance(120_000);
  const again = await revoke();
  assert.equal(again.state, 'settling');
  assert.equal(again.state === 'settling' && again.recheckAt.toISOString(), '2026-03-01T12:04:00.000Z');
  assert.equal(bench.sandbox.isDisabled(POOL[0]!), true);
});

check('enabling too early revives the token: hence the quarantine until the last one has expired', async (bench) => {
  const { target, status, revoke } = await leased(bench, 1800);
  await revoke();
  target.settlingSince = bench.clock.now();
  bench.clock.advance(120_000);
  assert.equal((await revoke()).state, 'revoked');
  assert.equal(await status(), 401);

  await bench.provider.release?.(POOL[0]!, NEVER);
  bench.clock.advance(60_000);
  assert.equal(await status(), 200, 'a release before the expiry would undo the revocation');

  bench.clock.set(target.providerExpiresAt);
  assert.equal(await status(), 401, 'after the expiry it is harmless');
  const { credential } = await bench.issue(bench.plan(PARAMS));
  assert.equal(await storage(bench.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 200);
});

check('release enables what was disabled, and leaves alone what was not or is not in the pool', async (bench) => {
  bench.sandbox.setDisabled(POOL[0]!, true);
  bench.sandbox.setDisabled(SHARED, true);
  await bench.provider.release?.(POOL[0]!, NEVER);
  await bench.provider.release?.(SHARED, NEVER);
  assert.equal(bench.sandbox.isDisabled(POOL[0]!), false);
  assert.equal(bench.sandbox.isDisabled(SHARED), true);
  const before = bench.sandbox.requests('admin');
  await bench.provider.release?.(POOL[1]!, NEVER);
  assert.equal(bench.sandbox.requests('admin') - before, 1, 'one read, no write');
});

check('a mint whose answer was lost is ended through the reservation', async (bench) => {
  const { target, status, revoke } = await leased(bench);
  target.handle = null;
  assert.equal((await revoke()).state, 'settling');
  bench.clock.advance(60_000);
  assert.equal(await status(), 401);
});

check('a failing IAM is a failed revocation, retryable, never revoked', async (bench) => {
  const { revoke } = await leased(bench);
  for (const [kind, code] of [
    ['unavailable', 'UNAVAILABLE'],
    ['throttled', 'RESOURCE_EXHAUSTED'],
  ] as const) {
    bench.sandbox.fail(kind, 'admin');
    const outcome = await revoke();
    assert.ok(outcome.state === 'failed');
    assert.equal(outcome.error.retryable, true);
    assert.equal(outcome.error.providerCode, code);
  }
  bench.sandbox.fail(null, 'admin');
  assert.equal((await revoke()).state, 'settling');
});

check(
  'without lag the provider’s word is enough at once',
  async (bench) => assert.equal((await (await leased(bench)).revoke()).state, 'revoked'),
  { WRIT_GCP_REVOKE_LAG_SECONDS: '0' },
);

check('a shared account is never touched', async (bench) => {
  const plan = bench.plan({ ...PARAMS, service_account: SHARED });
  assert.equal(bench.provider.pool?.(plan), null);
  const { target } = await leased(bench);
  const before = bench.sandbox.requests();
  const [outcome] = await bench.provider.revoke([{ ...target, plan, reserved: null }], [], NEVER);
  assert.equal(outcome?.state, 'wait_for_expiry');
  assert.equal(bench.sandbox.requests(), before);
});

test('by a Google whose clock is behind ours, a token outlives the end that we see, by less than the minute that is left before a release', async () => {
  const clock = manualClock(new Date('2026-03-01T11:59:01Z'));
  const bench = await gcpBench({}, { clock });
  try {
    const { credential, providerExpiresAt } = await bench.issue(bench.plan(PARAMS));
    const status = () => storage(bench.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt');
    const pass = (ms: number) => {
      bench.clock.advance(ms);
      clock.advance(ms);
    };
    pass(providerExpiresAt.getTime() - bench.clock.now().getTime());
    assert.equal(await status(), 200, 'enabled again now, a revoked one would work');
    pass(60_000);
    assert.equal(await status(), 401);
  } finally {
    await bench.close();
  }
});

test('the bound for a lost answer holds when the mint comes late after its intent', async () => {
  const bench = await gcpBench();
  try {
    const intentAt = bench.clock.now();
    bench.clock.advance(30_000);
    const { credential } = await bench.issue(bench.plan(PARAMS, 3600));
    const bound = intentAt.getTime() + bench.provider.limits.longestProviderLifetimeSeconds * 1000;
    bench.clock.set(new Date(bound));
    assert.equal(await storage(bench.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 401);
  } finally {
    await bench.close();
  }
});
