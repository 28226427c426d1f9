/**
 * Ends what lives under a lock. From the lock's commit on, no decision that begins allows anything under it;
 * what was decided on what was true before it is caught here, in three steps. Each sees what was committed
 * before it, and each may be done again: the worker ends what it finds under every lock that stands, so a
 * process that dies in between leaves nothing behind.
 *
 * - An agent, an owner, everything: sessions end (`endSessions`). Whatever writes for a session holds its row
 *   and asks whether it may act, so nothing is added after it.
 * - A capability, a provider: sessions go on. Their version moves, so that a grant decided before the lock is
 *   decided again; then grants end, so that none is redeemed any more; then leases, of which there can be no
 *   more by now, start to be revoked.
 */
import { settleNotices } from '../../approvals/notices.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventBy } from '../audit/events.ts';
import { decisionReason, revokeReason } from '../core/reasons.ts';
import { releaseGrant } from '../grants/transitions.ts';
import { onceAnswered, startRevoking } from '../leases/transitions.ts';
import { moveVersions } from '../sessions/counts.ts';
import { type EndSessionDeps, endSessions, releaseEndedSessions } from '../sessions/end-session.ts';
import type { Statement } from '../store/open.ts';
import { allStanding, asStanding } from './stored-lock.ts';
import {
  endsSessions,
  grantUnder,
  leaseUnder,
  type StandingLock,
  scopeOf,
  sessionUnder,
  stillStands,
} from './under-lock.ts';

const step = 200;

const liveRootsStatement: Statement = {
  name: 'lock_live_roots',
  text: `
    SELECT s.id FROM session s WHERE s.ended_at IS NULL AND s.parent_id IS NULL AND ${sessionUnder('s', '$1')} AND ${stillStands('$2', '$3')}
    ORDER BY s.id LIMIT ${step}`,
};

/** In the order of ids, as whatever holds several trees takes them. */
const undecideStatement: Statement = {
  name: 'lock_undecide',
  text: `
    WITH trees AS MATERIALIZED (
      SELECT s.id FROM session s WHERE s.ended_at IS NULL AND s.parent_id IS NULL AND s.id > $1::text ORDER BY s.id LIMIT ${step} FOR UPDATE OF s
    ), moved AS (${moveVersions('trees')} RETURNING session.id)
    SELECT id FROM moved ORDER BY id`,
};

const grantsStatement: Statement = {
  name: 'lock_end_grants',
  text: `
    WITH due AS (
      SELECT g.id FROM session s JOIN grants g ON g.session_id = s.id
      WHERE s.ended_at IS NULL AND g.ended_at IS NULL AND ${grantUnder('g', '$2', '$3')} AND ${stillStands('$4', '$5')}
      ORDER BY g.id LIMIT ${step} FOR UPDATE OF g
    ), g AS (
${releaseGrant('id IN (SELECT id FROM due)', '$1::timestamptz', decisionReason('locked'))}
      RETURNING id, session_id, status
    ), ${settleNotices("(SELECT id FROM g WHERE status = 'denied')", '$1::timestamptz')}, events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: eventBy('status', { denied: 'grant.denied', ended: 'grant.ended' }), actor: "'system'", grant: 'id', payload: `json_build_object('reason', ${decisionReason('locked')})` }, 'g ORDER BY session_id, id')}
    )
    SELECT id FROM g`,
};

const leasesStatement: Statement = {
  name: 'lock_end_leases',
  text: `
    WITH due AS (
      SELECT l.id FROM lease l WHERE l.status IN ('issuing', 'active') AND ${leaseUnder('l', '$3', '$4')} AND ${stillStands('$5', '$6')}
      ORDER BY l.id LIMIT ${step} FOR UPDATE OF l
    ), l AS (
${startRevoking({
  where: 'id IN (SELECT id FROM due)',
  reason: revokeReason('locked'),
  dueAt: onceAnswered('$1::timestamptz', '$2::int'),
})}
      RETURNING id, session_id, grant_id
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('lease.revoking'), actor: "'system'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', ${revokeReason('locked')})` }, 'l ORDER BY session_id, id')}
    )
    SELECT id FROM l`,
};

/** Ends what lives under one lock. Idempotent; may take long where much does. */
export async function carryOutLock(
  deps: EndSessionDeps,
  lock: StandingLock,
  { actor, requestId, now }: { actor: string; requestId: string | null; now: Date },
): Promise<void> {
  if (endsSessions(lock)) {
    await endUnder(deps, lock, { actor, requestId, now });
    // What another process has ended, and not come to release, lives as long as that one is away.
    await releaseEndedSessions(deps, now, step);
    return;
  }
  const { store } = deps;
  for (let after: string | undefined = ''; after !== undefined; ) {
    const moved: { id: string }[] = await store.run<{ id: string }>(undecideStatement, [after]);
    after = moved.length < step ? undefined : moved.at(-1)!.id;
  }
  await endHeld(deps, lock, now);
}

async function endUnder(
  deps: EndSessionDeps,
  lock: StandingLock,
  { actor, requestId, now }: { actor: string; requestId: string | null; now: Date },
): Promise<void> {
  const { agents } = await scopeOf(deps.store, lock);
  for (let found = step; found === step; ) {
    const roots = await deps.store.run<{ id: string }>(liveRootsStatement, [agents, lock.id, lock.untrueLift]);
    found = roots.length;
    const sessionIds = roots.map(({ id }) => id);
    if (found > 0) await endSessions(deps, { sessionIds, reason: 'locked', actor, requestId, now });
  }
}

async function endHeld(
  deps: EndSessionDeps,
  { id, level, subject, untrueLift }: StandingLock,
  now: Date,
): Promise<void> {
  const { store, mintDeadlineSeconds } = deps;
  const grants = [now, level, subject, id, untrueLift];
  const leases = [now, mintDeadlineSeconds, level, subject, id, untrueLift];
  for (let found = step; found === step; ) found = (await store.run(grantsStatement, grants)).length;
  for (let found = step; found === step; ) {
    found = (await store.run(leasesStatement, leases)).length;
    if (found > 0) deps.notify();
  }
}

/**
 * For the worker: goes on where a process died, and ends what slipped in (a session that was being opened
 * when the lock was set can do nothing, and still is there). It moves no versions: each time, every live
 * session would have to decide again.
 */
export async function carryOutLocks(deps: EndSessionDeps, now: Date): Promise<void> {
  for (const lock of (await allStanding(deps.store)).map(asStanding)) {
    if (endsSessions(lock)) await endUnder(deps, lock, { actor: 'system', requestId: null, now });
    else await endHeld(deps, lock, now);
  }
}
