/**
 * Every change of a pre-approval, as SQL for the statements that make it: it is used with the review that it
 * gives, and ends with what it hangs on. Pure text, so that people and signals may import it.
 */
import { appendEvent } from '../broker/audit/append.ts';
import { event } from '../broker/audit/events.ts';
import { preApprovalEnd } from '../broker/core/reasons.ts';

/**
 * SQL condition: it may be used once more. The row's count can be set back by whoever writes the row; the
 * record cannot. Two at once are told apart by the row, which the caller must hold (`FOR UPDATE`).
 */
export const mayBeUsed = (p: string, at: string): string => `(
        ${p}.ended_at IS NULL AND ${p}.until > ${at} AND ${p}.used_count < ${p}.max_uses
        AND (SELECT count(*) FROM audit_event e WHERE e.chain = ${p}.id AND e.type = ${event('pre_approval.used')}) < ${p}.max_uses
        AND NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = ${p}.id AND e.type = ${event('pre_approval.ended')}))`;

/**
 * CTEs that count a use, in the statement of the review that it gives. Its number is a key: it is used once,
 * whatever the row says.
 * @param held relation with the `id` of the pre-approval, which the statement holds
 * @param decided relation of one row with `id` and `session_id` of the grant
 */
export const usePreApproval = (held: string, decided: string, at: string): string => `used AS (
      UPDATE pre_approval SET used_count = used_count + 1 FROM ${held}, ${decided} WHERE pre_approval.id = ${held}.id
      RETURNING pre_approval.id, pre_approval.used_count AS number, pre_approval.max_uses, ${decided}.id AS grant_id, ${decided}.session_id
    ), use_kept AS (
      INSERT INTO pre_approval_use (pre_approval_id, number, grant_id, session_id, at) SELECT id, number, grant_id, session_id, ${at} FROM used
    ), use_event AS (
      ${appendEvent({ chain: 'id', at, type: event('pre_approval.used'), actor: "'system'", payload: `json_build_object('grant', grant_id, 'session', session_id, 'number', number, 'max_uses', max_uses)` }, 'used')}
    )`;

/**
 * CTEs that end pre-approvals.
 * @param due relation with `id` and `reason`, in the order of ids, which the statement holds
 */
export const endPreApprovals = (due: string, at: string, actor = "'system'", request?: string): string => `over AS (
      UPDATE pre_approval SET ended_at = ${at}, end_reason = ${due}.reason FROM ${due} WHERE pre_approval.id = ${due}.id AND pre_approval.ended_at IS NULL
      RETURNING pre_approval.id, pre_approval.agent, pre_approval.capability, pre_approval.end_reason
    ), over_event AS (
      ${appendEvent({ chain: 'id', at, type: event('pre_approval.ended'), actor, ...(request === undefined ? {} : { request }), payload: "json_build_object('reason', end_reason, 'agent', agent, 'capability', capability)" }, 'over ORDER BY id')}
    )`;

/**
 * CTEs that end what an account gave while it was in a group that it is in no more.
 * @param identity SQL of the account as the identity provider describes it now @param when SQL condition
 */
export const endWithGroups = (identity: string, at: string, when: string): string => `groups_lost AS (
      SELECT id, ${preApprovalEnd('group_lost')} AS reason FROM pre_approval
      WHERE giver ->> 'issuer' = ${identity} ->> 'issuer' AND giver ->> 'subject' = ${identity} ->> 'subject' AND ended_at IS NULL AND ${when}
        AND EXISTS (SELECT 1 FROM unnest(groups) AS one (name) WHERE NOT (${identity} -> 'groups') ? one.name)
      ORDER BY id FOR UPDATE
    ), ${endPreApprovals('groups_lost', at)}`;
