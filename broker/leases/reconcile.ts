/**
 * What makes it certain. Reads due rows and acts on them; everything that makes things prompt (wake-ups, jobs) only runs this sooner. Any number of workers
 * may run it at once: rows are claimed with FOR UPDATE SKIP LOCKED.
 */
import type { Provider } from '../../providers/contract.ts';
import type { Statement } from '../store/open.ts';
import type { Clock } from '../vocabulary.ts';
import { type RevokeDeps, revokeDue } from './revoke.ts';
import { withWriterLock } from './writer-lock.ts';

/** Work of other folders that is done on the same beat (ending overdue sessions, denying undecided grants). Given by `main.ts`. */
export type Sweep = (now: Date) => Promise<void>;

export interface ReconcileDeps extends RevokeDeps {
  sweeps: readonly Sweep[];
}

/** Leases of one provider handled at a time: a mass expiry drains in bounded steps, and no provider waits for another. */
const batch = 200;

/**
 * Active leases whose time is up, and intents whose answer never came. Where the provider itself has ended the credential, the lease is `expired`; where
 * it has not (GitHub's hour is longer than most plans), it must be revoked.
 */
const ageStatement: Statement = {
  name: 'lease_age',
  text: `
    WITH due AS (
      SELECT id FROM lease WHERE status IN ('issuing', 'active') AND due_at <= $1::timestamptz ORDER BY due_at FOR UPDATE SKIP LOCKED LIMIT $2::int
    ), l AS (
      UPDATE lease SET
        status = CASE WHEN status = 'active' AND provider_expires_at <= $1::timestamptz THEN 'expired' ELSE 'revoking' END,
        revoke_reason = CASE WHEN status = 'issuing' THEN 'answer_lost' ELSE 'expired' END,
        due_at = CASE WHEN status = 'active' AND provider_expires_at <= $1::timestamptz THEN NULL ELSE $1::timestamptz END,
        ended_at = CASE WHEN status = 'active' AND provider_expires_at <= $1::timestamptz THEN $1::timestamptz END,
        sealed = CASE WHEN status = 'active' AND provider_expires_at <= $1::timestamptz THEN NULL ELSE sealed END,
        attempts = 0
      WHERE id IN (SELECT id FROM due)
      RETURNING id, session_id, grant_id, provider, status, revoke_reason
    ), g AS (
      UPDATE grants SET status = CASE WHEN l.revoke_reason = 'answer_lost' THEN 'failed' ELSE 'ended' END, ended_at = $1::timestamptz
      FROM l WHERE grants.id = l.grant_id AND grants.status IN ('issuing', 'issued')
    ), events AS (
      INSERT INTO audit_event (chain, at, type, actor, grant_id, lease_id, payload)
      SELECT session_id, $1::timestamptz, 'lease.' || status, 'worker', grant_id, id, json_build_object('reason', revoke_reason) FROM l
    )
    SELECT provider, status FROM l`,
};

const dueSlotsStatement: Statement = {
  name: 'pool_due',
  text: `
    UPDATE pool_slot SET release_after = $2::timestamptz + interval '1 minute'
    WHERE (provider, member) IN (
      SELECT p.provider, p.member FROM pool_slot p LEFT JOIN lease l ON l.id = p.lease_id
      WHERE p.provider = $1 AND p.release_after <= $2::timestamptz AND (l.id IS NULL OR l.status IN ('revoked', 'expired', 'failed'))
      FOR UPDATE OF p SKIP LOCKED LIMIT $3::int)
    RETURNING member, lease_id`,
};

const freeSlotStatement: Statement = {
  name: 'pool_free',
  text: `
    WITH freed AS (DELETE FROM pool_slot WHERE provider = $1::text AND member = $2::text AND lease_id = $3::text RETURNING member, lease_id),
    event AS (
      INSERT INTO audit_event (chain, at, type, actor, lease_id, payload)
      SELECT coalesce(l.session_id, 'house'), $4::timestamptz, 'pool.released', 'worker', freed.lease_id, json_build_object('provider', $1::text, 'member', freed.member)
      FROM freed LEFT JOIN lease l ON l.id = freed.lease_id)
    SELECT member FROM freed`,
};

const pruneStatement: Statement = {
  name: 'lease_prune_due',
  text: `SELECT DISTINCT writer FROM lease WHERE provider = $1 AND prune_at <= $2::timestamptz LIMIT $3::int`,
};
const prunedStatement: Statement = {
  name: 'lease_pruned',
  text: `UPDATE lease SET prune_at = NULL WHERE provider = $1 AND writer = $2 AND prune_at <= $3::timestamptz`,
};
const standingStatement: Statement = {
  name: 'lease_prune_standing',
  text: `
    SELECT id, plan, handle, reserved, intent_at, provider_expires_at, settling_since FROM lease
    WHERE provider = $1 AND writer = $2 AND status IN ('revoking', 'revoked') AND provider_expires_at > $3::timestamptz ORDER BY id`,
};

const forgetStatement: Statement = {
  name: 'forget_expired',
  text: `WITH r AS (DELETE FROM replay WHERE expires_at <= $1::timestamptz), l AS (DELETE FROM login WHERE expires_at <= $1::timestamptz) SELECT 1`,
};

const gaugeStatement: Statement = {
  name: 'lease_gauges',
  text: `
    SELECT provider, count(*) FILTER (WHERE last_error IS NOT NULL)::int AS failing, min(intent_at) AS oldest
    FROM lease WHERE status = 'revoking' GROUP BY provider`,
};

/** One beat: every kind of due work once. A failure in one kind is logged and does not keep the others from being done. */
export async function reconcileOnce(deps: ReconcileDeps): Promise<void> {
  const step = async (name: string, work: () => Promise<unknown>) => {
    try {
      await work();
    } catch (error) {
      deps.log.error({ err: error, step: name }, 'reconciler step failed');
    }
  };
  for (const [i, sweep] of deps.sweeps.entries()) await step(`sweep ${i}`, () => sweep(deps.clock.now()));
  await step('age', () => age(deps));
  await Promise.all(
    [...deps.providers.values()].map((provider) =>
      step(`provider ${provider.name}`, async () => {
        while ((await revokeDue(deps, provider, batch)) === batch);
        await releaseSlots(deps, provider);
        await prune(deps, provider);
      }),
    ),
  );
  await step('gauges', () => gauges(deps));
}

/** Rare work: forgetting one-time values that could not be used any more anyway. */
export function forgetExpired(deps: ReconcileDeps): Promise<unknown> {
  return deps.store.run(forgetStatement, [deps.clock.now()]);
}

async function age(deps: ReconcileDeps): Promise<void> {
  for (;;) {
    const aged = await deps.store.run<{ provider: string; status: string }>(ageStatement, [deps.clock.now(), batch]);
    for (const row of aged) if (row.status === 'expired') deps.metrics.expired.inc({ provider: row.provider });
    if (aged.length < batch) return;
  }
}

/** A pool member goes back into use only after the last token minted on it has expired: enabling it again would revive that token. */
async function releaseSlots(deps: ReconcileDeps, provider: Provider): Promise<void> {
  const slots = await deps.store.run<{ member: string; lease_id: string }>(dueSlotsStatement, [
    provider.name,
    deps.clock.now(),
    batch,
  ]);
  for (const slot of slots) {
    await provider.release?.(slot.member, AbortSignal.timeout(deps.providerTimeoutSeconds * 1000));
    await deps.store.run(freeSlotStatement, [provider.name, slot.member, slot.lease_id, deps.clock.now()]);
  }
}

async function prune(deps: ReconcileDeps, provider: Provider): Promise<void> {
  if (provider.prune === undefined) return;
  const writers = await deps.store.run<{ writer: string }>(pruneStatement, [provider.name, deps.clock.now(), batch]);
  for (const { writer } of writers) {
    const lock = { key: `${provider.name}:${writer}`, holder: deps.workerId, seconds: 60 };
    await withWriterLock(deps.store, deps.clock, lock, async () => {
      const now = deps.clock.now();
      const rows = await deps.store.run<StandingRow>(standingStatement, [provider.name, writer, now]);
      const standing = rows.map((row) => ({
        leaseId: row.id,
        plan: row.plan,
        handle: row.handle,
        secret: null,
        reserved: row.reserved,
        intentAt: row.intent_at,
        providerExpiresAt: row.provider_expires_at,
        settlingSince: row.settling_since,
      }));
      await provider.prune?.(writer, standing, AbortSignal.timeout(deps.providerTimeoutSeconds * 1000));
      await deps.store.run(prunedStatement, [provider.name, writer, now]);
    });
  }
}

type Target = Parameters<NonNullable<Provider['prune']>>[1][number];
interface StandingRow {
  id: string;
  plan: Target['plan'];
  handle: Target['handle'];
  reserved: string | null;
  intent_at: Date;
  provider_expires_at: Date;
  settling_since: Date | null;
}

async function gauges(deps: ReconcileDeps): Promise<void> {
  const rows = await deps.store.run<{ provider: string; failing: number; oldest: Date }>(gaugeStatement, []);
  deps.metrics.failing.reset();
  deps.metrics.oldestRevoking.reset();
  for (const row of rows) {
    deps.metrics.failing.set({ provider: row.provider }, row.failing);
    deps.metrics.oldestRevoking.set(
      { provider: row.provider },
      (deps.clock.now().getTime() - row.oldest.getTime()) / 1000,
    );
  }
}

/** Runs beats until stopped: one every `seconds`, and at once when woken. */
export function startReconciler(
  deps: ReconcileDeps,
  clock: Clock,
  seconds: number,
): { wake(): void; stop(): Promise<void> } {
  const stopping = new AbortController();
  let sleep = new AbortController();
  let woken = false;
  const wake = () => {
    woken = true;
    sleep.abort();
  };
  const loop = (async () => {
    let beats = 0;
    while (!stopping.signal.aborted) {
      woken = false;
      await reconcileOnce(deps);
      if (beats % 60 === 0)
        await forgetExpired(deps).catch((error) => deps.log.error({ err: error }, 'forgetting failed'));
      beats += 1;
      sleep = new AbortController();
      if (woken) continue;
      await clock.sleep(seconds * 1000, AbortSignal.any([sleep.signal, stopping.signal])).catch(() => {});
    }
  })();
  return {
    wake,
    stop: async () => {
      stopping.abort();
      await loop;
    },
  };
}
