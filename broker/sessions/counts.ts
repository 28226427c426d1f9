/**
 * What a grant changes of its session and of the root of its tree, as SQL for the statements that write
 * grants: the version and the count that envelopes bound.
 */

/**
 * For one grant.
 * @param counted SQL condition: false for a denial, which does not count against the envelope
 * @param when SQL condition: whether the grant was written
 */
export const countGrant = (session: string, root: string, counted: string, when: string): string => `
      UPDATE session SET version = version + CASE WHEN id = ${root} THEN 1 ELSE 0 END,
             grant_count = grant_count + CASE WHEN id = ${session} AND ${counted} THEN 1 ELSE 0 END
      WHERE id IN (${session}, ${root}) AND ${when}`;

/**
 * For several grants of different trees: the root of each.
 * @param written alias of rows with `session_id` and `root_id`
 */
export const countInRoot = (written: string): string => `
      UPDATE session SET version = session.version + 1,
             grant_count = session.grant_count + CASE WHEN ${written}.session_id = ${written}.root_id THEN 1 ELSE 0 END
      FROM ${written} WHERE session.id = ${written}.root_id`;

/**
 * Takes back what one grant counted: its mint had no effect. What an ended session left over went to its
 * parent already.
 * @param when SQL condition: whether the mint had none
 */
export const uncountGrant = (session: string, when: string): string => `
      UPDATE session SET grant_count = grant_count - 1 WHERE id = ${session} AND status = 'active' AND ${when}`;

/** And the session of each, where it is not the root itself. */
export const countInChild = (written: string): string => `
      UPDATE session SET grant_count = session.grant_count + 1
      FROM ${written} WHERE session.id = ${written}.session_id AND ${written}.session_id <> ${written}.root_id`;
