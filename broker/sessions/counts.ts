/**
 * What a grant changes of its session and of the root of its tree, as SQL for the statements that write
 * grants: the version and the count that envelopes bound.
 */

/**
 * For one grant.
 * @param counted SQL condition: false for a denial, which does not count against the envelope
 * @param when SQL condition: whether the grant was written
 * @param restraint what a rule does to the tree because of it
 */
export const countGrant = (
  session: string,
  root: string,
  counted: string,
  when: string,
  restraint?: Restraint,
): string => `
      UPDATE session SET version = version + CASE WHEN id = ${root} THEN 1 ELSE 0 END,
             ${restraint === undefined ? '' : `${restrained(restraint, `id = ${root}`)},`}
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
 * @param when SQL condition: whether the call was written
 */
export const countAction = (root: string, when: string): string => `
      UPDATE session SET version = version + 1 WHERE id = ${root} AND ${when}`;

/**
 * For several calls of different trees.
 * @param written alias of rows with `root_id`, `effect`, `at` and `took`
 */
export const countActions = (written: string): string => `
      UPDATE session SET version = session.version + 1,
             ${restrained({ effect: `${written}.effect`, at: `${written}.at`, took: `${written}.took` }, 'true')}
      FROM ${written} WHERE session.id = ${written}.root_id`;

/**
 * What was decided in these trees and is not written yet, is decided again.
 * @param roots alias of rows with `id`
 */
export const moveVersions = (roots: string): string => `
      UPDATE session SET version = session.version + 1 FROM ${roots} WHERE session.id = ${roots}.id`;

/** What a rule does to a tree, as SQL of each value. */
export interface Restraint {
  /** `terminate`, `suspend`, `downgrade`; anything else does nothing. */
  effect: string;
  at: string;
  /** `text[]` of what the tree loses, none of which it had lost before; null = nothing. */
  took: string;
}

/**
 * From this commit on nothing may be done in a tree that is to end, or is frozen: the reconciler goes on
 * where
 * this process dies (`end-session.ts`, `hold-back.ts`). One that is frozen sends no heartbeats, and misses
 * none.
 * @param root SQL condition on the row of the root
 */
const restrained = ({ effect, at, took }: Restraint, root: string): string => `
             heartbeat_deadline = CASE WHEN ${root} AND ${effect} = 'terminate' THEN LEAST(session.heartbeat_deadline, ${at})
               WHEN ${root} AND ${effect} = 'suspend' THEN session.expires_at ELSE session.heartbeat_deadline END,
             status = CASE WHEN ${root} AND ${effect} = 'suspend' THEN 'suspended' ELSE session.status END,
             withheld = CASE WHEN ${root} AND ${took} IS NOT NULL THEN session.withheld || ${took} ELSE session.withheld END`;
