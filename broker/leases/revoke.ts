/**
 * The one way a lease is ended at its provider. Claims leases that are `revoking` and due, asks the provider,
 * and records its answer. Idempotent: a worker that crashes here leaves rows that become due again.
 */

import type { Logger } from 'pino';
import {
  type Provider,
  ProviderError,
  type RevocationOutcome,
  type RevocationTarget,
} from '../../providers/contract.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventBy, eventWhen } from '../audit/events.ts';
import { backoffMs } from '../core/backoff.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Clock, JsonObject, Plan } from '../core/vocabulary.ts';
import { grantEnded } from '../grants/transitions.ts';
import type { Seal } from '../keys/seal.ts';
import type { Statement, Store } from '../store/open.ts';
import { withDeadline } from './deadline.ts';
import type { LeaseMetrics } from './metrics.ts';
import { knownEndedBefore, surelyEndedBefore } from './provider-time.ts';
import { restartLag } from './restart-lag.ts';
import { settleRevocation, standingIn, startRevoking } from './transitions.ts';
import { type AfterWork, afterFailure, withUpstreamLock } from './upstream-lock.ts';

export interface RevokeDeps {
  store: Store;
  clock: Clock;
  seal: Seal;
  providers: ReadonlyMap<string, Provider>;
  providerTimeoutSeconds: number;
  log: Logger;
  metrics: LeaseMetrics;
  /** 0 ≤ x < 1; seeded in tests. */
  random(): number;
  /** Names this process in locks. */
  workerId: string;
}

/**
 * How long a claimed lease, or a writer's lock, is left alone: longer than one attempt can take, so that two
 * workers do not do the same work.
 */
export const claimSeconds = (deps: { providerTimeoutSeconds: number }): number => deps.providerTimeoutSeconds + 40;

const claimStatement: Statement = {
  name: 'lease_claim',
  text: `
    WITH due AS MATERIALIZED (
      SELECT id FROM lease WHERE provider = $1 AND status = 'revoking' AND due_at <= $2::timestamptz ORDER BY due_at FOR UPDATE SKIP LOCKED LIMIT $4::int
    )
    UPDATE lease SET due_at = $2::timestamptz + make_interval(secs => $3::int), attempts = attempts + 1
    WHERE id IN (SELECT id FROM due)
    RETURNING id, plan, lock_key, handle, sealed, reserved, intent_at, provider_expires_at, settling_since, attempts`,
};

const outstandingStatement: Statement = {
  name: 'lease_standing',
  text: `
    SELECT id, plan, lock_key, handle, NULL AS sealed, reserved, intent_at, provider_expires_at, settling_since, attempts
    FROM lease WHERE ${standingIn('$1', '$2', '$3::timestamptz')} ORDER BY id`,
};

/**
 * All outcomes of one attempt in one statement. Conditional on `revoking`: what somebody else has settled
 * stays settled.
 */
const settleStatement: Statement = {
  name: 'lease_settle',
  text: `
    WITH o AS (
      SELECT * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::boolean[], $8::text[], $9::boolean[])
        AS o (id, status, due_at, evidence, error, settling, text, anew)
    ), l AS (
${settleRevocation('o', '$1::timestamptz')}
      RETURNING lease.id, lease.session_id, lease.grant_id, lease.provider, lease.status, o.error, o.settling, lease.evidence
    ), g AS (
${grantEnded('l', '$1::timestamptz', "l.status <> 'revoking'")}
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: eventWhen("status = 'revoking' AND error IS NOT NULL", event('lease.revoke_failed'), eventBy('status', { revoking: 'lease.settling', revoked: 'lease.revoked', expired: 'lease.expired' })), actor: "'worker'", grant: 'grant_id', lease: 'id', payload: "json_build_object('error', error, 'evidence', evidence)" }, 'l ORDER BY session_id, id')}
    )
    SELECT id, status FROM l`,
};

interface ClaimedRow {
  id: string;
  plan: Plan;
  lock_key: string | null;
  handle: JsonObject | null;
  sealed: string | null;
  reserved: string | null;
  intent_at: Date;
  provider_expires_at: Date;
  settling_since: Date | null;
  attempts: number;
}

/**
 * Revokes one provider's due leases, at most `limit` of them.
 * @returns how many were claimed: a full batch means there may be more
 */
export async function revokeDue(deps: RevokeDeps, provider: Provider, limit: number): Promise<number> {
  const claimed = await deps.store.run<ClaimedRow>(claimStatement, [
    provider.name,
    deps.clock.now(),
    claimSeconds(deps),
    limit,
  ]);
  const byLockKey = Map.groupBy(claimed, (row) => row.lock_key);
  await Promise.all([...byLockKey].map(([lockKey, rows]) => revokeGroup(deps, provider, lockKey, rows)));
  return claimed.length;
}

async function revokeGroup(
  deps: RevokeDeps,
  provider: Provider,
  lockKey: string | null,
  rows: ClaimedRow[],
): Promise<void> {
  if (lockKey === null) {
    await attempt(deps, provider, rows, []);
    return;
  }
  const lock = { key: `${provider.name}:${lockKey}`, holder: deps.workerId, seconds: claimSeconds(deps) };
  const held = await withUpstreamLock(deps.store, deps.clock, lock, async () => {
    // Read under the lock, to include what another worker has just revoked.
    const outstanding = await deps.store.run<ClaimedRow>(outstandingStatement, [
      provider.name,
      lockKey,
      knownEndedBefore(deps, provider),
    ]);
    return attempt(deps, provider, rows, outstanding);
  });
  if (!held) {
    await deps.store.run(postponeStatement, [rows.map((row) => row.id), new Date(deps.clock.now().getTime() + 500)]);
  }
}

/** @returns whether another may write the document at once, or something that was sent may still arrive */
async function attempt(
  deps: RevokeDeps,
  provider: Provider,
  rows: ClaimedRow[],
  outstanding: ClaimedRow[],
): Promise<AfterWork> {
  const over = await endsJudgedBy(deps, provider, rows);
  const settled: Settled[] = [];
  let after: AfterWork = 'release';
  let cutOff: Date | null = null;
  const rewritten = new Set<string>();
  const alive: { row: ClaimedRow; target: RevocationTarget }[] = [];
  for (const row of rows) {
    const isOver = row.provider_expires_at <= over;
    // Where the credential itself can be tried, it is.
    if (isOver && !(provider.triesCredential === true && row.sealed !== null)) {
      settled.push(expired(deps, provider, row, over));
      continue;
    }
    try {
      alive.push({ row, target: await toTarget(deps.seal, row) });
    } catch (error) {
      if (isOver) {
        settled.push(expired(deps, provider, row, over));
        continue;
      }
      // Sealed under another key, or tampered with: only this lease fails, and counts as a failing
      // revocation.
      settled.push(failure(deps, row, 'secret_unreadable', error));
    }
  }
  if (alive.length > 0) {
    const others = await Promise.all(outstanding.map((row) => toTarget(deps.seal, row)));
    const due = alive.map(({ target }) => target);
    const outcomes = await ask(deps, provider, due, others);
    settled.push(...alive.map(({ row }, i) => settle(deps, row, outcomes[i]!)));
    for (const outcome of outcomes) {
      if ('alsoEnded' in outcome && outcome.alsoEnded !== undefined) cutOff = outcome.alsoEnded.issuedBefore;
      if ('rewritten' in outcome && outcome.rewritten !== undefined)
        for (const id of outcome.rewritten) rewritten.add(id);
    }
    if (outcomes.some((outcome) => outcome.state === 'failed' && afterFailure(outcome.error) === 'keep'))
      after = 'keep';
  }
  await deps.store.run(settleStatement, [
    deps.clock.now(),
    settled.map((s) => s.id),
    settled.map((s) => s.status),
    settled.map((s) => s.dueAt),
    settled.map((s) => (s.evidence === null ? null : JSON.stringify(s.evidence))),
    settled.map((s) => s.error),
    settled.map((s) => s.settling),
    settled.map((s) => s.text),
    settled.map((s) => s.anew),
  ]);
  await endCollateral(deps, provider, rows[0]?.lock_key ?? null, cutOff);
  await restartLag(deps, provider.name, [...rewritten]);
  return after;
}

/**
 * Where the shared document was full, the provider ended everything older than a moment: those leases must
 * not be shown as active. Their events name whose denials fill the document. By the provider's own time of
 * issue: with ours, the moment would creep on with each pass and end more and more of them.
 */
const neighbourStatement: Statement = {
  name: 'lease_cut_off',
  text: `
    WITH holders AS (
      SELECT json_agg(json_build_object('agent', agent, 'denials', denials) ORDER BY denials DESC, agent) AS named FROM (
        SELECT agent, count(*)::int AS denials FROM lease WHERE ${standingIn('$2', '$3', '$5::timestamptz')} GROUP BY agent ORDER BY 2 DESC, 1 LIMIT 10) h
    ), l AS (
${startRevoking({
  where: `provider = $2 AND lock_key = $3 AND provider_expires_at > $4::timestamptz AND (handle->>'issued_at')::timestamptz < $4::timestamptz`,
  reason: revokeReason('neighbour_cut_off'),
  dueAt: '$1::timestamptz',
  from: ['active'],
})}
      RETURNING id, session_id, grant_id
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('lease.revoking'), actor: "'worker'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', ${revokeReason('neighbour_cut_off')}, 'denied_beside', (SELECT named FROM holders))` }, 'l ORDER BY session_id, id')}
    )
    SELECT id, (SELECT named FROM holders) AS holders FROM l`,
};

async function endCollateral(
  deps: RevokeDeps,
  provider: Provider,
  lockKey: string | null,
  cutOff: Date | null,
): Promise<void> {
  if (lockKey === null || cutOff === null) return;
  const ended = await deps.store.run<{ id: string; holders: JsonObject[] }>(neighbourStatement, [
    deps.clock.now(),
    provider.name,
    lockKey,
    cutOff,
    knownEndedBefore(deps, provider),
  ]);
  if (ended.length > 0)
    deps.log.error(
      { provider: provider.name, lockKey, leases: ended.length, deniedBeside: ended[0]?.holders },
      'the document is full: older credentials were ended too',
    );
}

/**
 * The contract says that `revoke` never throws. A provider with a fault in it must still have its leases
 * retried, and shown as failing.
 */
async function ask(
  deps: RevokeDeps,
  provider: Provider,
  due: RevocationTarget[],
  outstanding: RevocationTarget[],
): Promise<RevocationOutcome[]> {
  try {
    const outcomes = await withDeadline(deps.clock, deps.providerTimeoutSeconds, provider.name, (signal) =>
      provider.revoke(due, outstanding, signal),
    );
    if (outcomes.length === due.length) return outcomes;
    throw new Error(`${provider.name} answered ${outcomes.length} outcomes for ${due.length} leases`);
  } catch (cause) {
    deps.log.error({ err: cause, provider: provider.name }, 'revoke threw');
    const error =
      cause instanceof ProviderError
        ? cause
        : new ProviderError('upstream_unavailable', `${provider.name} threw`, { mayHaveMinted: true });
    return due.map(() => ({ state: 'failed', error }));
  }
}

async function toTarget(seal: Seal, row: ClaimedRow): Promise<RevocationTarget> {
  return {
    leaseId: row.id,
    plan: row.plan,
    handle: row.handle,
    secret: row.sealed === null ? null : await seal.open(row.sealed, row.id),
    reserved: row.reserved,
    intentAt: row.intent_at,
    providerExpiresAt: row.provider_expires_at,
    settlingSince: row.settling_since,
  };
}

/**
 * The time by which natural ends are judged. The provider is asked only when one of them may be past; when it
 * does not answer, none is.
 */
async function endsJudgedBy(deps: RevokeDeps, provider: Provider, rows: ClaimedRow[]): Promise<Date> {
  const now = deps.clock.now();
  return rows.some((row) => row.provider_expires_at <= now) ? surelyEndedBefore(deps, provider) : now;
}

function expired(deps: RevokeDeps, provider: Provider, row: ClaimedRow, over: Date): Settled {
  deps.metrics.expired.inc({ provider: provider.name });
  const judged = {
    provider_expires_at: row.provider_expires_at.toISOString(),
    judged_by: 'the provider’s clock and the broker’s',
    both_past: over.toISOString(),
  };
  const evidence = { ended_by: 'natural expiry', ...(provider.clock === undefined ? {} : judged) };
  return { ...unchanged(deps, row), status: 'expired', evidence };
}

/** One line of `settleStatement`. */
interface Settled {
  id: string;
  status: 'revoking' | 'revoked' | 'expired';
  dueAt: Date | null;
  evidence: JsonObject | null;
  error: string | null;
  /** The provider's own words of the failure. */
  text: string | null;
  settling: boolean;
  /** Its kill had gone and was made again. */
  anew: boolean;
}

/** Still revoking, due again once the natural end is past: what a lease is unless the provider says more. */
const unchanged = (deps: RevokeDeps, row: ClaimedRow): Settled => ({
  id: row.id,
  status: 'revoking',
  dueAt: atTheEnd(deps, row),
  evidence: null,
  error: null,
  text: null,
  settling: false,
  anew: false,
});

/** Where it is past by our clock, and was not by the provider's, it is looked at again in a minute. */
function atTheEnd(deps: RevokeDeps, row: ClaimedRow): Date {
  const now = deps.clock.now();
  return row.provider_expires_at <= now ? new Date(now.getTime() + 60_000) : row.provider_expires_at;
}

function settle(deps: RevokeDeps, row: ClaimedRow, outcome: RevocationOutcome): Settled {
  switch (outcome.state) {
    case 'revoked':
      deps.metrics.revoked.inc({ provider: row.plan.provider });
      return { ...unchanged(deps, row), status: 'revoked', evidence: outcome.evidence };
    case 'settling':
      return {
        ...unchanged(deps, row),
        dueAt: outcome.recheckAt,
        evidence: outcome.evidence,
        settling: true,
        anew: outcome.anew === true,
      };
    case 'wait_for_expiry':
      return { ...unchanged(deps, row), evidence: outcome.evidence };
    case 'failed':
      return failure(deps, row, outcome.error.code, outcome.error);
  }
}

function failure(deps: RevokeDeps, row: ClaimedRow, code: string, error: unknown): Settled {
  deps.log.error(
    { err: error, lease: row.id, attempts: row.attempts },
    'revocation failed: the credential may still work',
  );
  deps.metrics.revokeFailures.inc({ provider: row.plan.provider, code });
  const known = error instanceof ProviderError ? error : null;
  // The provider's own waiting time goes before ours; neither reaches past the moment when the end is judged.
  const wait = Math.max(backoffMs(row.attempts, deps.random()), (known?.retryAfterSeconds ?? 0) * 1000);
  const retryAt = new Date(deps.clock.now().getTime() + wait);
  const end = atTheEnd(deps, row);
  return {
    ...unchanged(deps, row),
    dueAt: row.provider_expires_at > deps.clock.now() && end < retryAt ? end : retryAt,
    error: known?.providerCode === undefined ? code : `${code} (${known.providerCode})`,
    text: known?.providerText ?? null,
  };
}

const postponeStatement: Statement = {
  name: 'lease_postpone',
  text: `UPDATE lease SET due_at = $2::timestamptz, attempts = GREATEST(attempts - 1, 0) WHERE id = ANY($1::text[]) AND status = 'revoking'`,
};
