/** Calls whose session ended before anybody reported how they came out. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Statement, Store } from '../store/open.ts';

/** One event for each session: what is not known of a call is not worth a row for each. */
const closeStatement: Statement = {
  name: 'action_close_unreported',
  text: `
    WITH due AS (
      SELECT a.id FROM action a JOIN session s ON s.id = a.session_id
      WHERE a.outcome IS NULL AND a.effect = 'allow' AND s.status = 'ended' ORDER BY a.id LIMIT $2::int FOR UPDATE OF a
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
