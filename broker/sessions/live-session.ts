/**
 * Decides whether a session may still act: it is active, its time is not over, it has not missed its
 * heartbeats, and the same holds for every session above it. Every statement that writes for a session asks
 * it, and the door asks it of every request (authenticate.ts).
 */

/**
 * SQL condition on a session.
 * @param s alias of a row with `parent_id`, `status`, `expires_at` and `heartbeat_deadline` of `session`; not
 *   `ancestor` or `above`
 * @param at SQL expression of the time that counts
 */
export const mayAct = (s: string, at: string): string => `(
      ${s}.status = 'active' AND ${s}.expires_at > ${at} AND ${s}.heartbeat_deadline > ${at} AND ${parentsMayAct(s, at)})`;

/** SQL condition on the sessions above one. A root has none, and costs no look. */
export const parentsMayAct = (s: string, at: string): string => `
      CASE WHEN ${s}.parent_id IS NULL THEN true ELSE NOT EXISTS (
        WITH RECURSIVE above AS (
          SELECT ancestor.parent_id, ancestor.status, LEAST(ancestor.expires_at, ancestor.heartbeat_deadline) AS until
          FROM session ancestor WHERE ancestor.id = ${s}.parent_id
          UNION ALL
          SELECT ancestor.parent_id, ancestor.status, LEAST(ancestor.expires_at, ancestor.heartbeat_deadline)
          FROM session ancestor JOIN above ON ancestor.id = above.parent_id
        ) SELECT 1 FROM above WHERE above.status <> 'active' OR above.until <= ${at}) END`;
