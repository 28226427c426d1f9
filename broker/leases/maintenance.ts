/**
 * Cleans up after leases have ended: releases pool members, and removes expired denials from shared
 * documents. A member or document that fails is tried again a minute later, or when the provider says, and
 * does not delay the others.
 */

import { type Provider, ProviderError, type RevocationTarget } from '../../providers/contract.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Statement } from '../store/open.ts';
import { withDeadline } from './deadline.ts';
import { endedBefore } from './provider-time.ts';
import { restartLag } from './restart-lag.ts';
import { claimSeconds, type RevokeDeps } from './revoke.ts';
import { standingIn } from './transitions.ts';
import { afterFailure, withUpstreamLock } from './upstream-lock.ts';

const batch = 200;

/**
 * How long what failed is left alone, unless the provider asks for longer; and how much longer at most,
 * because others wait for the member or the place.
 */
const retrySeconds = 60;
const longestRetrySeconds = 300;
const againAfter = (error: unknown): number => {
  const told = error instanceof ProviderError ? (error.retryAfterSeconds ?? 0) : 0;
  return Math.min(longestRetrySeconds, Math.max(retrySeconds, told));
};

const dueSlotsStatement: Statement = {
  name: 'pool_due',
  text: `
    UPDATE pool_slot SET release_after = $2::timestamptz + interval '${retrySeconds} seconds'
    WHERE (provider, member) IN (
      SELECT p.provider, p.member FROM pool_slot p LEFT JOIN lease l ON l.id = p.lease_id
      WHERE p.provider = $1 AND p.release_after <= $4::timestamptz AND (l.id IS NULL OR l.status IN ('revoked', 'expired', 'failed'))
      FOR UPDATE OF p SKIP LOCKED LIMIT $3::int)
    RETURNING member, lease_id`,
};

const laterSlotStatement: Statement = {
  name: 'pool_later',
  text: `UPDATE pool_slot SET release_after = $4::timestamptz + make_interval(secs => $5::int) WHERE provider = $1 AND member = $2 AND lease_id = $3`,
};

const anySlotStatement: Statement = {
  name: 'pool_any_due',
  text: 'SELECT EXISTS (SELECT 1 FROM pool_slot WHERE provider = $1 AND release_after <= $2::timestamptz) AS some',
};

const freeSlotStatement: Statement = {
  name: 'pool_free',
  text: `
    WITH freed AS (DELETE FROM pool_slot WHERE provider = $1::text AND member = $2::text AND lease_id = $3::text RETURNING member, lease_id),
    event AS (
      ${appendEvent({ chain: "coalesce(l.session_id, 'system')", at: '$4::timestamptz', type: event('pool.released'), actor: "'worker'", lease: 'freed.lease_id', payload: "json_build_object('provider', $1::text, 'member', freed.member)" }, 'freed LEFT JOIN lease l ON l.id = freed.lease_id')})
    SELECT member FROM freed`,
};

const pruneStatement: Statement = {
  name: 'lease_prune_due',
  text: `SELECT DISTINCT lock_key FROM lease WHERE provider = $1 AND prune_at <= $2::timestamptz LIMIT $3::int`,
};
const prunedStatement: Statement = {
  name: 'lease_pruned',
  text: `UPDATE lease SET prune_at = NULL WHERE provider = $1 AND lock_key = $2 AND prune_at <= $3::timestamptz`,
};
const pruneLaterStatement: Statement = {
  name: 'lease_prune_later',
  text: `UPDATE lease SET prune_at = $3::timestamptz + make_interval(secs => $4::int) WHERE provider = $1 AND lock_key = $2 AND prune_at <= $3::timestamptz`,
};
const outstandingStatement: Statement = {
  name: 'lease_prune_standing',
  text: `
    SELECT id, plan, handle, reserved, intent_at, provider_expires_at, settling_since FROM lease
    WHERE ${standingIn('$1', '$2', '$3::timestamptz')} ORDER BY id`,
};

/**
 * A pool member goes back into use only after the last token minted on it has expired: enabling it again
 * would revive that token. By the provider's clock and by ours.
 */
export async function releaseSlots(deps: RevokeDeps, provider: Provider): Promise<void> {
  if (provider.pool === undefined) return;
  const [due] = await deps.store.run<{ some: boolean }>(anySlotStatement, [provider.name, deps.clock.now()]);
  if (due?.some !== true) return;
  const over = await endedBefore(deps, provider);
  const slots = await deps.store.run<{ member: string; lease_id: string }>(dueSlotsStatement, [
    provider.name,
    deps.clock.now(),
    batch,
    over,
  ]);
  for (const { member, lease_id } of slots) {
    try {
      await withDeadline(
        deps.clock,
        deps.providerTimeoutSeconds,
        provider.name,
        async (signal) => await provider.release?.(member, signal),
      );
      await deps.store.run(freeSlotStatement, [provider.name, member, lease_id, deps.clock.now()]);
    } catch (error) {
      deps.log.error({ err: error, provider: provider.name, member }, 'pool member could not be released');
      const again = againAfter(error);
      if (again > retrySeconds)
        await deps.store.run(laterSlotStatement, [provider.name, member, lease_id, deps.clock.now(), again]);
    }
  }
}

/** Rewrites each document whose denials have expired. */
export async function prune(deps: RevokeDeps, provider: Provider): Promise<void> {
  if (provider.prune === undefined) return;
  const dueBy = (now: Date) => deps.store.run<{ lock_key: string }>(pruneStatement, [provider.name, now, batch]);
  if ((await dueBy(deps.clock.now())).length === 0) return;
  // A denial that is still needed by the provider's clock stays: without it, a revoked key would work again.
  const documents = await dueBy(await endedBefore(deps, provider));
  for (const { lock_key: lockKey } of documents) {
    const lock = { key: `${provider.name}:${lockKey}`, holder: deps.workerId, seconds: claimSeconds(deps) };
    await withUpstreamLock(deps.store, deps.clock, lock, async () => {
      const now = await endedBefore(deps, provider);
      const rows = await deps.store.run<StandingRow>(outstandingStatement, [provider.name, lockKey, now]);
      try {
        const rewritten = await withDeadline(
          deps.clock,
          deps.providerTimeoutSeconds,
          provider.name,
          async (signal) => (await provider.prune?.(lockKey, rows.map(toTarget), signal)) ?? [],
        );
        await restartLag(deps, provider.name, rewritten);
        await deps.store.run(prunedStatement, [provider.name, lockKey, now]);
        return 'release';
      } catch (error) {
        deps.log.error({ err: error, provider: provider.name, lockKey }, 'document could not be pruned');
        await deps.store.run(pruneLaterStatement, [provider.name, lockKey, now, againAfter(error)]);
        return afterFailure(error);
      }
    });
  }
}

interface StandingRow {
  id: string;
  plan: RevocationTarget['plan'];
  handle: RevocationTarget['handle'];
  reserved: string | null;
  intent_at: Date;
  provider_expires_at: Date;
  settling_since: Date | null;
}

const toTarget = (row: StandingRow): RevocationTarget => ({
  leaseId: row.id,
  plan: row.plan,
  handle: row.handle,
  secret: null,
  reserved: row.reserved,
  intentAt: row.intent_at,
  providerExpiresAt: row.provider_expires_at,
  settlingSince: row.settling_since,
});
