/**
 * The one way a session ends, whoever ends it: the agent, a missed heartbeat, a spent envelope, its parent, an admin.
 *
 * Two statements. The first ends the session and its children: from its commit on no new lease can be written for them (every intent is conditional
 * on an active session). The second, whose snapshot is later, therefore sees every lease there is and turns it to `revoking`. When the
 * process dies in between, the reconciler runs the second on its own (`sweepEnded`).
 */
import type { Statement, Store } from '../store/open.ts';
import type { EndReason } from '../vocabulary.ts';

const endStatement: Statement = {
  name: 'session_end',
  text: `
    WITH RECURSIVE tree AS (
      SELECT id FROM session WHERE id = $1::text
      UNION ALL
      SELECT child.id FROM session child JOIN tree ON child.parent_id = tree.id
    ), ended AS (
      UPDATE session SET status = 'ended', end_reason = CASE WHEN id = $1::text THEN $2::text ELSE 'parent_ended' END, ended_at = $3::timestamptz, version = version + 1
      WHERE id IN (SELECT id FROM tree) AND status = 'active'
      RETURNING id, end_reason
    ), event AS (
      INSERT INTO audit_event (chain, at, type, actor, request_id, payload)
      SELECT id, $3::timestamptz, 'session.ended', $4::text, $5::text, json_build_object('reason', end_reason) FROM ended
    )
    SELECT id FROM ended`,
};

/**
 * Leases of ended sessions start to be revoked; their grants end. A lease still `issuing` waits until the mint must have answered ($3), so that revocation has
 * the provider's answer to work with; the outcome, when it comes, brings the moment forward. $2 limits the sweep to some sessions.
 */
const releaseStatement: Statement = {
  name: 'session_release',
  text: `
    WITH l AS (
      UPDATE lease SET status = 'revoking', revoke_reason = 'session_ended', attempts = 0,
             due_at = CASE WHEN handle IS NULL THEN GREATEST($1::timestamptz, intent_at + make_interval(secs => $3::int)) ELSE $1::timestamptz END
      FROM session s
      WHERE s.id = lease.session_id AND s.status = 'ended' AND lease.status IN ('issuing', 'active') AND ($2::text[] IS NULL OR s.id = ANY($2))
      RETURNING lease.id, lease.session_id, lease.grant_id
    ), g AS (
      UPDATE grants SET status = CASE WHEN grants.status IN ('issued', 'issuing') THEN 'ended' ELSE 'denied' END, ended_at = $1::timestamptz,
             decided_at = coalesce(decided_at, $1::timestamptz),
             decision = CASE WHEN grants.status IN ('issued', 'issuing') THEN decision
               ELSE decision || '{"effect": "deny", "reasons": [{"code": "session_ended"}]}'::jsonb END
      FROM session s
      WHERE s.id = grants.session_id AND s.status = 'ended' AND grants.status IN ('pending', 'approved', 'issuing', 'issued')
        AND ($2::text[] IS NULL OR s.id = ANY($2))
      RETURNING grants.id, grants.session_id, grants.status
    ), events AS (
      INSERT INTO audit_event (chain, at, type, actor, grant_id, lease_id, payload)
      SELECT session_id, $1::timestamptz, type, 'system', grant_id, lease_id, payload FROM (
        SELECT session_id, 'lease.revoking' AS type, grant_id, id AS lease_id, json_build_object('reason', 'session_ended') AS payload FROM l
        UNION ALL
        SELECT session_id, 'grant.' || status, id, NULL, json_build_object('reason', 'session_ended') FROM g
      ) changes
    )
    SELECT id, session_id FROM l`,
};

/** Sessions that must end by themselves; the oldest first. */
const overdueStatement: Statement = {
  name: 'session_overdue',
  text: `
    SELECT s.id, CASE WHEN p.status = 'ended' THEN 'parent_ended' WHEN s.expires_at <= $1::timestamptz THEN 'envelope_spent' ELSE 'heartbeat_missed' END AS reason
    FROM session s LEFT JOIN session p ON p.id = s.parent_id
    WHERE s.status = 'active' AND (LEAST(s.expires_at, s.heartbeat_deadline) <= $1::timestamptz OR p.status = 'ended')
    ORDER BY LEAST(s.expires_at, s.heartbeat_deadline) LIMIT $2::int`,
};

export interface EndSessionDeps {
  store: Store;
  /** How long after its intent a mint may still answer, in seconds. */
  mintDeadlineSeconds: number;
  /** Wakes whoever revokes; makes it prompt. The reconciler makes it certain. */
  wake(): void;
}

export interface EndedSession {
  /** False when the session had ended before: nothing was changed. */
  ended: boolean;
  /** Leases now on their way to revocation. */
  leases: string[];
}

/** Ends a session and its children. Idempotent. */
export async function endSession(
  deps: EndSessionDeps,
  input: { sessionId: string; reason: EndReason; actor: string; requestId: string | null; now: Date },
): Promise<EndedSession> {
  const { store } = deps;
  const ended = await store.run<{ id: string }>(endStatement, [
    input.sessionId,
    input.reason,
    input.now,
    input.actor,
    input.requestId,
  ]);
  const ids = ended.map((row) => row.id);
  if (ids.length === 0) return { ended: false, leases: [] };
  const leases = await store.run<{ id: string }>(releaseStatement, [input.now, ids, deps.mintDeadlineSeconds]);
  // Also when there are none: a sweep between the two statements may have released them.
  deps.wake();
  return { ended: true, leases: leases.map((row) => row.id) };
}

/** Ends what must end by itself, and finishes what a dead process left half ended. @returns how many sessions ended */
export async function sweepSessions(deps: EndSessionDeps, now: Date, limit: number): Promise<number> {
  const overdue = await deps.store.run<{ id: string; reason: EndReason }>(overdueStatement, [now, limit]);
  for (const { id, reason } of overdue) {
    await endSession(deps, { sessionId: id, reason, actor: 'system', requestId: null, now });
  }
  const released = await deps.store.run(releaseStatement, [now, null, deps.mintDeadlineSeconds]);
  if (released.length > 0) deps.wake();
  return overdue.length;
}
