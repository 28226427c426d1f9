/** What a grant's own statement writes of the break-glass that gave it. Pure SQL text, as CTEs. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';

/**
 * `glass`: one row while it is open. Holds it still: whoever ends it waits for this statement, and sees what
 * it gave; or this one finds it ended, and gives nothing.
 * @param after SQL condition that holds what is held before it: in another order two could wait for each
 *   other
 */
export const holdGlass = (id: string, at: string, after: string): string => `glass AS MATERIALIZED (
      SELECT b.id FROM break_glass b WHERE b.id = ${id} AND b.status = 'active' AND b.expires_at > ${at} AND ${after} FOR SHARE OF b
    )`;

/** @param grant relation with the `id` and `session_id` of the grant that was written */
export const recordUse = (
  grant: string,
  { at, lease, request, payload }: { at: string; lease: string; request: string; payload: string },
): string => `used AS (
      INSERT INTO break_glass_use (grant_id, break_glass_id, at) SELECT ${grant}.id, glass.id, ${at} FROM ${grant}, glass RETURNING grant_id
    ), use_event AS (
      ${appendEvent({ chain: 'session_id', at, type: event('break_glass.used'), actor: 'agent', grant: 'id', lease, request, payload }, grant)}
    )`;
