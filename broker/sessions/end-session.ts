/**
 * Ends a session, for every cause: the agent, a missed heartbeat, a spent envelope, its parent, an admin.
 *
 * First the session ends, then, level by level, its descendants, then what they hold is released. Each is a
 * statement of its own, because each must see what was committed before the one above it: from the commit
 * that ends a session on, no lease and no child can be written for it any more (both are conditional on an
 * active session, under its row lock), so the next statement, whose snapshot is later, sees all there are.
 * When the process dies in between, the reconciler goes on from where it stopped (`endOverdueSessions`,
 * `releaseEndedSessions`).
 */

import type { Logger } from 'pino';
import { settleNotices } from '../../approvals/notices.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventBy } from '../audit/events.ts';
import { decisionReason, endReason, revokeReason } from '../core/reasons.ts';
import type { EndReason } from '../core/vocabulary.ts';
import { releaseGrant } from '../grants/transitions.ts';
import { onceAnswered, startRevoking } from '../leases/transitions.ts';
import type { Statement, Store } from '../store/open.ts';
import { tellEnds } from '../streams/tell-ends.ts';

/** What a child did not use of its bounded envelope goes back to a parent that goes on. */
const endStatement: Statement = {
  name: 'session_end',
  text: `
    WITH due AS MATERIALIZED (
      -- In the order of ids: of two that end several at once, neither waits for the other.
      SELECT id FROM session WHERE status <> 'ended' AND (id = ANY($1::text[]) OR parent_id = ANY($2::text[])) ORDER BY id FOR UPDATE
    ), ended AS (
      UPDATE session SET status = 'ended', end_reason = $3::text, ended_at = $4::timestamptz, version = version + 1
      WHERE id IN (SELECT id FROM due)
      RETURNING id, parent_id, child_count, max_grants - grant_count AS unused
    ), refund AS (
      UPDATE session p SET grant_count = p.grant_count - ended.unused
      FROM ended WHERE p.id = ended.parent_id AND p.status = 'active' AND p.max_grants IS NOT NULL AND ended.id = ANY($1::text[]) AND ended.unused > 0
    ), told AS (${tellEnds('ended', '$8', '$4::timestamptz')}
    ), event AS (
      ${appendEvent({ chain: 'id', at: '$4::timestamptz', type: event('session.ended'), actor: '$5::text', request: '$6::text', payload: "json_strip_nulls(json_build_object('reason', $3::text, 'because', $7::text))" }, 'ended ORDER BY id')}
    )
    SELECT id, child_count FROM ended`,
};

/**
 * Leases of ended sessions start to be revoked. One still `issuing` waits until the mint must have answered
 * ($2), so that revocation has the provider's answer to work with; the outcome, when it comes, brings the
 * moment forward. In steps of $3: a row of the audit chain that one statement moves on n times costs n², and
 * a session with thousands of leases must end all the same. A row that somebody holds (its outcome is being
 * written) is waited for; in the order of ids, as outcomes take them.
 */
const releaseLeasesStatement: Statement = {
  name: 'session_release_leases',
  text: `
    WITH due AS (
      SELECT lease.id FROM lease JOIN session s ON s.id = lease.session_id
      WHERE s.id = ANY($4::text[]) AND s.status = 'ended' AND lease.status IN ('issuing', 'active')
      ORDER BY lease.id LIMIT $3::int FOR UPDATE OF lease
    ), l AS (
${startRevoking({
  where: 'id IN (SELECT id FROM due)',
  reason: revokeReason('session_ended'),
  dueAt: onceAnswered('$1::timestamptz', '$2::int'),
})}
      RETURNING id, session_id, grant_id
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('lease.revoking'), actor: "'system'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', ${revokeReason('session_ended')})` }, 'l ORDER BY session_id, id')}
    )
    SELECT id FROM l`,
};

const releaseGrantsStatement: Statement = {
  name: 'session_release_grants',
  text: `
    WITH due AS (
      SELECT grants.id FROM grants JOIN session s ON s.id = grants.session_id
      WHERE s.id = ANY($3::text[]) AND s.status = 'ended' AND grants.ended_at IS NULL
      ORDER BY grants.id LIMIT $2::int FOR UPDATE OF grants
    ), g AS (
${releaseGrant('id IN (SELECT id FROM due)', '$1::timestamptz', decisionReason('session_ended'))}
      RETURNING id, session_id, status
    ), ${settleNotices("(SELECT id FROM g WHERE status = 'denied')", '$1::timestamptz')}, events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: eventBy('status', { denied: 'grant.denied', ended: 'grant.ended' }), actor: "'system'", grant: 'id', payload: `json_build_object('reason', ${decisionReason('session_ended')})` }, 'g ORDER BY session_id, id')}
    )
    SELECT id FROM g`,
};

/**
 * Looked at once more, by themselves: from its end on, nothing new can come to a session. Calls that nobody
 * reported are closed by a job of their own (`actions/close-unreported.ts`).
 */
const releasedStatement: Statement = {
  name: 'session_released',
  text: `
    UPDATE session s SET released_at = $1::timestamptz
    WHERE s.id = ANY($2::text[]) AND s.status = 'ended' AND s.released_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM lease l WHERE l.session_id = s.id AND l.status IN ('issuing', 'active'))
      AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.session_id = s.id AND g.ended_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM action a WHERE a.session_id = s.id AND a.outcome IS NULL AND a.effect = 'allow')
    RETURNING id`,
};

const unreleasedStatement: Statement = {
  name: 'session_unreleased',
  text: `SELECT id FROM session WHERE ended_at IS NOT NULL AND released_at IS NULL ORDER BY ended_at DESC LIMIT $1::int`,
};

const releaseStep = 200;

/** Sessions that must end by themselves; the oldest first. */
const overdueStatement: Statement = {
  name: 'session_overdue',
  text: `
    SELECT s.id, CASE WHEN p.status = 'ended' THEN ${endReason('parent_ended')} WHEN s.status = 'asleep' THEN ${endReason('slept_too_long')} WHEN s.expires_at <= $1::timestamptz THEN ${endReason('envelope_spent')}
                WHEN EXISTS (SELECT 1 FROM action a WHERE a.root_id = s.id AND a.effect = 'terminate')
                  OR EXISTS (SELECT 1 FROM session t JOIN grants g ON g.session_id = t.id WHERE t.root_id = s.id AND g.status = 'denied' AND g.decision ->> 'session_effect' = 'terminate') THEN ${endReason('ended_by_rule')} ELSE ${endReason('heartbeat_missed')} END AS reason
    FROM session s LEFT JOIN session p ON p.id = s.parent_id
    WHERE s.ended_at IS NULL AND (LEAST(s.expires_at, s.heartbeat_deadline) <= $1::timestamptz OR p.status = 'ended')
    ORDER BY LEAST(s.expires_at, s.heartbeat_deadline) LIMIT $2::int`,
};

export interface EndSessionDeps {
  store: Store;
  /** How long after its intent a mint may still answer, in seconds. */
  mintDeadlineSeconds: number;
  /**
   * Notifies the workers, so that revocation starts at once; without it, the reconciler starts it at its next
   * tick.
   */
  notify(): void;
  /** Event streams whose receivers are told that a session ended, by name. */
  toldOfEnds: readonly string[];
}

export interface EndedSession {
  /** False when the session had ended before: nothing was changed. */
  ended: boolean;
  /** Leases now on their way to revocation. */
  leases: string[];
}

interface End {
  reason: EndReason;
  actor: string;
  /** An admin's own words. */
  because?: string | undefined;
  requestId: string | null;
  now: Date;
}

/** Ends a session and its descendants. Idempotent. */
export function endSession(deps: EndSessionDeps, input: End & { sessionId: string }): Promise<EndedSession> {
  return endSessions(deps, { ...input, sessionIds: [input.sessionId] });
}

/**
 * Ends several sessions at once, and their descendants. Idempotent.
 * @param input none of the sessions is another’s descendant
 */
export async function endSessions(deps: EndSessionDeps, input: End & { sessionIds: string[] }): Promise<EndedSession> {
  const end = (ids: string[], parents: string[], reason: EndReason) =>
    deps.store.run<{ id: string; child_count: number }>(endStatement, [
      ids,
      parents,
      reason,
      input.now,
      input.actor,
      input.requestId,
      input.because ?? null,
      [...deps.toldOfEnds],
    ]);
  let level = await end(input.sessionIds, [], input.reason);
  const ids = level.map((row) => row.id);
  while (level.some((row) => row.child_count > 0)) {
    const parents = level.filter((row) => row.child_count > 0).map((row) => row.id);
    level = await end([], parents, 'parent_ended');
    ids.push(...level.map((row) => row.id));
  }
  if (ids.length === 0) return { ended: false, leases: [] };
  const { leases } = await release(deps, input.now, ids);
  // Also when there are none: a worker between the statements may have released them.
  deps.notify();
  return { ended: true, leases };
}

/**
 * @returns the leases of these sessions that are now on their way to revocation, and how many of the sessions
 *   hold nothing any more
 */
async function release(
  deps: EndSessionDeps,
  now: Date,
  sessions: string[],
): Promise<{ leases: string[]; released: number }> {
  const leases: string[] = [];
  for (let found = releaseStep; found === releaseStep; ) {
    const values = [now, deps.mintDeadlineSeconds, releaseStep, sessions];
    const rows = await deps.store.run<{ id: string }>(releaseLeasesStatement, values);
    found = rows.length;
    leases.push(...rows.map((row) => row.id));
    // The first ones can be revoked while the rest is still being turned.
    if (found === releaseStep) deps.notify();
  }
  for (let found = releaseStep; found === releaseStep; ) {
    found = (await deps.store.run(releaseGrantsStatement, [now, releaseStep, sessions])).length;
  }
  return { leases, released: (await deps.store.run(releasedStatement, [now, sessions])).length };
}

/**
 * Ends what must end by itself: spent envelopes, missed heartbeats, children left behind by a process that
 * crashed. A session that cannot be ended is logged and does not delay the others.
 * @returns how many sessions ended
 */
export async function endOverdueSessions(
  deps: EndSessionDeps & { log: Logger },
  now: Date,
  limit: number,
): Promise<number> {
  const overdue = await deps.store.run<{ id: string; reason: EndReason }>(overdueStatement, [now, limit]);
  let ended = 0;
  for (const { id, reason } of overdue) {
    try {
      await endSession(deps, { sessionId: id, reason, actor: 'system', requestId: null, now });
      ended += 1;
    } catch (error) {
      deps.log.error({ err: error, session: id, reason }, 'a session could not be ended; it will be tried again');
    }
  }
  return ended;
}

/**
 * Releases what ended sessions still hold: what a process left behind that died while ending them. In steps
 * of `limit`, for as long as it gets anywhere.
 * @returns whether it held locked what a worker may have passed over meanwhile, even where it changed
 *   nothing: a row that `session_release_leases` waited for, and then found released by another, it holds to
 *   its end
 */
export async function releaseEndedSessions(deps: EndSessionDeps, now: Date, limit: number): Promise<boolean> {
  for (let looked = false; ; looked = true) {
    const sessions = await deps.store.run<{ id: string }>(unreleasedStatement, [limit]);
    if (sessions.length === 0) return looked;
    const ids = sessions.map((row) => row.id);
    const { leases, released } = await release(deps, now, ids);
    if (leases.length > 0) deps.notify();
    if (sessions.length < limit || released === 0) return true;
  }
}
