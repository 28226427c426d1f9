/**
 * Ended on a real store: 200 leases at once, each tried with its own credential; a denial that somebody took
 * away; a role without any denial yet.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { systemClock } from '../../broker/core/clock.ts';
import { newId } from '../../broker/core/ids.ts';
import { denialPolicyName } from '../../providers/aws/denial.ts';
import type { RevocationTarget } from '../../providers/contract.ts';
import { endpoint, objects, openStore, providerFor, read, type Store } from './store.test-support.ts';

const never = () => new AbortController().signal;
const ms = () => systemClock.now().getTime();

let store: Store;
let provider: ReturnType<typeof providerFor>;
before(async () => {
  store = await openStore();
  provider = providerFor(store.role, `http://${endpoint.host}:${endpoint.port}`);
});
after(() => store.close());

async function lease() {
  const params = { role: store.role, service: 's3', access: 'read', bucket: 'orders', prefix: 'customers/42/' };
  const plan = provider.plan(provider.params.parse(params), 900);
  const leaseId = newId('lse', systemClock.now());
  const context = { plan, leaseId, sessionId: 'ses_radosgw', agent: 'radosgw-bot', signal: never() };
  const issued = await provider.issue(context);
  const target: RevocationTarget = {
    leaseId,
    plan,
    handle: issued.handle,
    secret: null,
    reserved: null,
    intentAt: systemClock.now(),
    providerExpiresAt: issued.providerExpiresAt,
    settlingSince: null,
  };
  return { target, works: () => read(issued.credential, objects.inside) };
}

/** `work` for each, so many at a time. */
async function each<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async () => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at]!);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return results;
}

test('200 leases ended at once: none is alive, and a neighbour is', async () => {
  const leases = await each(Array.from({ length: 200 }), 8, lease);
  const neighbour = await lease();
  const alive = await each(leases, 8, ({ works }) => works());
  assert.ok(alive.every((one) => one === 'accepted'));
  const targets = leases.map(({ target }) => target);
  const endedAt = ms();
  const outcomes = await provider.revoke(targets, targets, never());
  assert.deepEqual([...new Set(outcomes.map(({ state }) => state))], ['revoked']);
  const refusals: number[] = [];
  await each(leases, 8, async ({ works }) => {
    if ((await works()) === 'refused') refusals.push(ms() - endedAt);
  });
  refusals.sort((a, b) => a - b);
  console.log(
    `200 leases ended at once: ${200 - refusals.length} alive; from the end to the first refusal of each ${refusals[99]} ms median, ${refusals.at(-1)} ms worst (8 readers)`,
  );
  assert.equal(refusals.length, 200);
  assert.equal(await neighbour.works(), 'accepted');
  for (const outcome of outcomes) {
    assert.ok(outcome.state === 'revoked');
    const since = Date.parse(String(outcome.evidence.denied_since));
    assert.ok(since >= endedAt && since <= ms(), 'it is a time after the call that it is about');
  }
});

test('a denial that somebody took away is put in again by the next write, which says whose it was', async () => {
  const [first, second] = [await lease(), await lease()];
  assert.equal((await provider.revoke([first.target], [first.target], never()))[0]?.state, 'revoked');
  assert.equal(await first.works(), 'refused');
  await store.removePolicy(denialPolicyName);
  assert.equal(await first.works(), 'accepted', 'which is why it may not go on being called revoked');
  const [outcome] = await provider.revoke([second.target], [first.target, second.target], never());
  assert.ok(outcome?.state === 'revoked');
  assert.deepEqual(outcome.rewritten, [first.target.leaseId]);
  assert.deepEqual([await first.works(), await second.works()], ['refused', 'refused']);
});

test('the last denial goes, and the role has none: both are understood', async () => {
  assert.deepEqual(await provider.prune?.(store.role, [], never()), []);
  assert.deepEqual(await provider.prune?.(store.role, [], never()), []);
  const one = await lease();
  assert.equal((await provider.revoke([one.target], [one.target], never()))[0]?.state, 'revoked');
  assert.equal(await one.works(), 'refused');
});

test('a session that opens another is found out, and the plan says so', async () => {
  const [found] = (await provider.findLimits?.(never())) ?? [];
  assert.match(String(found), /lets a session open another/);
  const { target } = await lease();
  assert.match(provider.describe(target.plan).summary.at(-1) ?? '', /^Warning: this store lets a session open another/);
});

test('a literal asterisk in a key opens nothing else', async () => {
  const params = { role: store.role, service: 's3', access: 'get', bucket: 'orders', key: 'customers/42/*.txt' };
  const plan = provider.plan(provider.params.parse(params), 900);
  const leaseId = newId('lse', systemClock.now());
  const { credential } = await provider.issue({ plan, leaseId, sessionId: 's', agent: 'a', signal: never() });
  // radosgw knows no `${*}`: it refuses the object of that very name too.
  assert.equal(await read(credential, objects.inside), 'refused');
});
