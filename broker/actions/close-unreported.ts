/** Calls whose session ended before anybody reported how they came out. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Statement, Store } from '../store/open.ts';

/**
 * One event for each session: what is not known of a call is not worth a row for each. Goes by the sessions
 * that are not released yet: calls that wait for a report in sessions that live may be millions.
 */
const closeStatement: Statement = {
  name: 'action_close_unreported',
  text: `
    WITH due AS (
      SELECT a.id FROM session s
      CROSS JOIN LATERAL (SELECT id FROM action WHERE session_id = s.id AND outcome IS NULL AND effect = 'allow' LIMIT $2::int) open
      JOIN action a ON a.id = open.id
      WHERE s.ended_at IS NOT NULL AND s.released_at IS NULL AND s.status = 'ended' ORDER BY a.id LIMIT $2::int FOR UPDATE OF a
    ), closed AS (
      UPDATE action SET outcome = 'unknown', finished_at = $1::timestamptz FROM due WHERE action.id = due.id RETURNING action.id, action.session_id
    ), counted AS (
      SELECT session_id, count(*)::int AS calls FROM closed GROUP BY session_id
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('action.unfinished'), actor: "'system'", payload: "json_build_object('calls', calls)" }, 'counted ORDER BY session_id')}
    )
    SELECT id FROM closed`,
};

/** Closes them as `unknown`, `limit` at most. @returns how many there were */
export async function closeUnreported(store: Store, now: Date, limit: number): Promise<number> {
  return (await store.run(closeStatement, [now, limit])).length;
}
