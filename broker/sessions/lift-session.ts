/**
 * What becomes of a tree that a rule froze or narrowed, once a person says so. Pure text, for `approvals/`.
 */
import { aboutSession } from '../core/questions.ts';

/** How long the agent of a session that goes on has for its next heartbeat. */
const graceSeconds = 300;

/**
 * The tree gets back what the rule took, less what the reviewer withholds; frozen, it may act again. What it
 * held stays revoked. Give it a RETURNING.
 * @param decided relation of one row with `session_id`, `capability` and `plan`, of the question
 * @param approved SQL condition
 */
export const liftSession = (decided: string, { approved, at }: { approved: string; at: string }): string => `
      UPDATE session SET version = session.version + 1,
        status = CASE WHEN ${decided}.plan #>> '{permission,because}' = 'suspend' AND session.status = 'suspended' THEN 'active' ELSE session.status END,
        heartbeat_deadline = CASE WHEN session.status = 'suspended' THEN LEAST(session.expires_at, ${at} + interval '${graceSeconds} seconds') ELSE session.heartbeat_deadline END,
        withheld = ARRAY(
          SELECT name FROM unnest(session.withheld) AS name WHERE NOT (${decided}.plan #> '{permission,took}' ? name)
          UNION SELECT jsonb_array_elements_text(${decided}.plan #> '{permission,withhold}'))
      FROM ${decided} WHERE session.id = ${decided}.session_id AND ${decided}.capability = '${aboutSession}' AND session.ended_at IS NULL AND ${approved}`;
