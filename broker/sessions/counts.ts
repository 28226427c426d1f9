/**
 * What a grant changes of its session and of the root of its tree, as SQL for the statements that write
 * grants: the version and the count that envelopes bound.
 */

/**
 * For one grant.
 * @param counted SQL condition: false for a denial, which does not count against the envelope
 * @param when SQL condition: whether the grant was written
 * @param ending SQL condition: whether the tree ends by it, as `countAction` has it
 */
export const countGrant = (
  session: string,
  root: string,
  counted: string,
  when: string,
  ending?: { ends: string; at: string },
): string => `
      UPDATE session SET version = version + CASE WHEN id = ${root} THEN 1 ELSE 0 END,
             ${ending === undefined ? '' : `heartbeat_deadline = CASE WHEN ${ending.ends} AND id = ${root} THEN LEAST(heartbeat_deadline, ${ending.at}) ELSE heartbeat_deadline END,`}
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

/**
 * A tool call moves the version of its tree's root: the next one is decided on what this one did.
 * @param ends SQL condition: the call ends the session. Nothing may be done in it from this commit on; the
 *   reconciler ends it where this process does not come to it
 * @param when SQL condition: whether the call was written
 */
export const countAction = (root: string, ends: string, at: string, when: string): string => `
      UPDATE session SET version = version + 1,
             heartbeat_deadline = CASE WHEN ${ends} THEN LEAST(heartbeat_deadline, ${at}) ELSE heartbeat_deadline END
      WHERE id = ${root} AND ${when}`;

/**
 * For several calls of different trees.
 * @param written alias of rows with `root_id`, `effect` and `at`
 */
export const countActions = (written: string): string => `
      UPDATE session SET version = session.version + 1,
             heartbeat_deadline = CASE WHEN ${written}.effect = 'terminate' THEN LEAST(session.heartbeat_deadline, ${written}.at) ELSE session.heartbeat_deadline END
      FROM ${written} WHERE session.id = ${written}.root_id`;
