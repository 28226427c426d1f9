/**
 * What makes it certain. Reads due rows and acts on them; everything that makes things prompt (wake-ups, jobs) only runs this sooner. Any number of workers
 * may run it at once: rows are claimed with FOR UPDATE SKIP LOCKED.
 */

import type { Provider } from '../../providers/contract.ts';
import { eventBy } from '../audit/events.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import { prune, releaseSlots } from '../leases/maintenance.ts';
import { type RevokeDeps, revokeDue } from '../leases/revoke.ts';
import type { Statement } from '../store/open.ts';

/** Work of other folders that is done on the same beat (ending overdue sessions, denying undecided grants). Given by `compose/worker.ts`. */
export type Sweep = (now: Date) => Promise<void>;

export interface ReconcileDeps extends RevokeDeps {
  sweeps: readonly Sweep[];
}

/** Leases of one provider handled at a time: a mass expiry drains in bounded steps, and no provider waits for another. */
const batch = 200;

/**
 * Active leases whose time is up, and intents whose answer never came. Where the provider itself has ended the credential, the lease is `expired`; where
 * it has not (GitHub's hour is longer than most plans), it must be revoked. Leases of a provider that is switched off ($3 lists those that are on) can only be
 * waited for.
 */
const expireDueStatement: Statement = {
  name: 'lease_age',
  text: `
    WITH due AS (
      SELECT id FROM lease
      WHERE due_at <= $1::timestamptz
        AND (status IN ('issuing', 'active') OR (status = 'revoking' AND provider_expires_at <= $1::timestamptz AND provider <> ALL($3::text[])))
      ORDER BY due_at FOR UPDATE SKIP LOCKED LIMIT $2::int
    ), l AS (
      UPDATE lease SET
        status = CASE WHEN status <> 'issuing' AND provider_expires_at <= $1::timestamptz THEN 'expired' ELSE 'revoking' END,
        revoke_reason = CASE WHEN status = 'issuing' THEN ${revokeReason('issue_timed_out')} ELSE ${revokeReason('expired')} END,
        due_at = CASE WHEN status <> 'issuing' AND provider_expires_at <= $1::timestamptz THEN NULL ELSE $1::timestamptz END,
        ended_at = CASE WHEN status <> 'issuing' AND provider_expires_at <= $1::timestamptz THEN $1::timestamptz END,
        sealed = CASE WHEN status <> 'issuing' AND provider_expires_at <= $1::timestamptz THEN NULL ELSE sealed END,
        attempts = 0
      WHERE id IN (SELECT id FROM due)
      RETURNING id, session_id, grant_id, provider, status, revoke_reason
    ), g AS (
      UPDATE grants SET status = CASE WHEN l.revoke_reason = ${revokeReason('issue_timed_out')} THEN 'failed' ELSE 'ended' END, ended_at = $1::timestamptz
      FROM l WHERE grants.id = l.grant_id AND grants.status IN ('issuing', 'issued')
    ), events AS (
      INSERT INTO audit_event (chain, at, type, actor, grant_id, lease_id, payload)
      SELECT session_id, $1::timestamptz, ${eventBy('status', { revoking: 'lease.revoking', expired: 'lease.expired' })}, 'worker', grant_id, id, json_build_object('reason', revoke_reason) FROM l
      ORDER BY session_id, id
    )
    SELECT provider, status FROM l`,
};

const forgetStatement: Statement = {
  name: 'forget_expired',
  text: `WITH r AS (DELETE FROM replay WHERE expires_at <= $1::timestamptz), l AS (DELETE FROM login WHERE expires_at <= $1::timestamptz) SELECT 1`,
};

const gaugeStatement: Statement = {
  name: 'lease_gauges',
  text: `
    SELECT provider, count(*) FILTER (WHERE last_error IS NOT NULL)::int AS failing, count(*)::int AS revoking, min(intent_at) AS oldest
    FROM lease WHERE due_at IS NOT NULL AND status = 'revoking' GROUP BY provider`,
};

/** One beat: every kind of due work once. A failure in one kind is logged and does not keep the others from being done. */
export async function reconcileOnce(deps: ReconcileDeps): Promise<void> {
  await systemBeat(deps);
  await Promise.all([...deps.providers.values()].map((provider) => providerBeat(deps, provider)));
  await step(deps, 'gauges', () => gauges(deps));
}

/** What needs no provider. @returns whether something was found that providers must now revoke */
async function systemBeat(deps: ReconcileDeps): Promise<boolean> {
  for (const [i, sweep] of deps.sweeps.entries()) await step(deps, `sweep ${i}`, () => sweep(deps.clock.now()));
  let expired = false;
  await step(deps, 'expireDue', async () => {
    expired = await expireDue(deps);
  });
  return expired;
}

async function providerBeat(deps: ReconcileDeps, provider: Provider): Promise<void> {
  await revokeAll(deps, provider);
  await step(deps, `release ${provider.name}`, () => releaseSlots(deps, provider));
  await step(deps, `prune ${provider.name}`, () => prune(deps, provider));
}

function revokeAll(deps: ReconcileDeps, provider: Provider): Promise<void> {
  return step(deps, `revoke ${provider.name}`, async () => {
    while ((await revokeDue(deps, provider, batch)) === batch);
  });
}

async function step(deps: ReconcileDeps, name: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    deps.log.error({ err: error, step: name }, 'reconciler step failed');
  }
}

/** Rare work: forgetting one-time values that could not be used any more anyway. */
function forgetExpired(deps: ReconcileDeps): Promise<unknown> {
  return deps.store.run(forgetStatement, [deps.clock.now()]);
}

async function expireDue(deps: ReconcileDeps): Promise<boolean> {
  let revoking = false;
  for (;;) {
    const expired = await deps.store.run<{ provider: string; status: string }>(expireDueStatement, [
      deps.clock.now(),
      batch,
      [...deps.providers.keys()],
    ]);
    for (const row of expired) {
      if (row.status === 'expired') deps.metrics.expired.inc({ provider: row.provider });
      else revoking = true;
    }
    if (expired.length < batch) return revoking;
  }
}

async function gauges(deps: ReconcileDeps): Promise<void> {
  const rows = await deps.store.run<{ provider: string; failing: number; revoking: number; oldest: Date }>(
    gaugeStatement,
    [],
  );
  deps.metrics.failing.reset();
  deps.metrics.oldestRevoking.reset();
  for (const row of rows) {
    // Nobody here can revoke for a provider that is switched off: all of them are an alarm.
    const on = deps.providers.has(row.provider);
    deps.metrics.failing.set({ provider: row.provider }, on ? row.failing : row.revoking);
    deps.metrics.oldestRevoking.set(
      { provider: row.provider },
      (deps.clock.now().getTime() - row.oldest.getTime()) / 1000,
    );
  }
}

/**
 * Runs until stopped: a beat every `seconds`, and when woken what a notification is about, revocation, at once. Each provider has a beat of its own, so that one that
 * hangs delays nobody else's leases.
 */
export function startReconciler(
  deps: ReconcileDeps,
  clock: Clock,
  seconds: number,
): { notify(): void; stop(): Promise<void> } {
  const providers = [...deps.providers.values()].map((provider) =>
    startBeat(
      clock,
      seconds,
      () => providerBeat(deps, provider),
      () => revokeAll(deps, provider),
    ),
  );
  let beats = 0;
  const systemWork = async () => {
    if (await systemBeat(deps)) for (const beat of providers) beat.notify();
    await step(deps, 'gauges', () => gauges(deps));
    if (beats % 60 === 0) await step(deps, 'forget', () => forgetExpired(deps));
    beats += 1;
  };
  const system = startBeat(clock, seconds, systemWork, async () => {});
  return {
    notify: () => {
      for (const beat of providers) beat.notify();
    },
    stop: async () => {
      await Promise.all([system, ...providers].map((beat) => beat.stop()));
    },
  };
}

/** Calls `full` every so many seconds, however often it is woken in between; each notification is answered with `prompt`. */
function startBeat(
  clock: Clock,
  seconds: number,
  full: () => Promise<void>,
  prompt: () => Promise<void>,
): { notify(): void; stop(): Promise<void> } {
  let stopped = false;
  let woken = false;
  let sleep = new AbortController();
  const notify = () => {
    woken = true;
    sleep.abort();
  };
  const loop = (async () => {
    let next = clock.now().getTime();
    while (!stopped) {
      woken = false;
      // A clock that was set back must not put the beat off for as long.
      if (clock.now().getTime() >= next || clock.now().getTime() < next - seconds * 1000) {
        await full();
        next = clock.now().getTime() + seconds * 1000;
      } else {
        await prompt();
      }
      sleep = new AbortController();
      const left = Math.min(next - clock.now().getTime(), seconds * 1000);
      if (!woken && left > 0) await clock.sleep(left, sleep.signal).catch(() => {});
    }
  })();
  return {
    notify,
    stop: async () => {
      stopped = true;
      notify();
      await loop;
    },
  };
}
