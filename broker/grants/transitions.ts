/**
 * Every change of a grant that another room's statement makes, as SQL: pending → approved / denied, approved
 * → denied, issuing → issued / failed / approved again, issued → ended. Only this room writes the table
 * (scripts/check/tables.ts). Pure text, so that leases, sessions and approvals may import it.
 */

import { type EventName, event } from '../audit/events.ts';
import { aboutSession, isBatchSql } from '../core/questions.ts';

/**
 * SQL condition: the record says that it is over: it was denied, taken back or lapsed, or had its effect. The
 * status can be set back by whoever writes the row; history cannot.
 * @param g alias of `grants` @param had events by which it had its effect
 */
export const isOverOnRecord = (g: string, ...had: EventName[]): string =>
  `EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = ${g}.session_id AND e.grant_id = ${g}.id AND e.type IN (${[event('grant.denied'), ...had].join(', ')}))`;

/** What a review writes, as SQL of each value. */
export interface DecidedGrant {
  grantId: string;
  /** `approved`, `denied`, or `pending` where one more person must approve. */
  status: string;
  plan: string;
  /** Digest of the plan as it stands, and as it will. */
  seenDigest: string;
  planDigest: string;
  at: string;
  decideBy: string;
  /** Merged into the decision. */
  decision: string;
  /** Approvals that the review counted; null = it does not hang on them (a denial). */
  seenApprovals: string;
  /** Version of the manifest in force that the review saw: its owners decide. */
  versionInForce: string;
}

/**
 * pending → approved / denied, or pending with one approval more, for the sessions of `live` alone. Give it a
 * RETURNING on alias `g`.
 */
export const decideGrant = (live: string, d: DecidedGrant): string => `
      UPDATE grants g
      SET status = CASE WHEN ${d.status} = 'approved' AND g.capability = '${aboutSession}' THEN 'ended' ELSE ${d.status} END, plan = ${d.plan}, plan_digest = ${d.planDigest}, decide_by = ${d.decideBy},
        decided_at = CASE WHEN ${d.status} <> 'pending' THEN ${d.at} END,
        approval_count = g.approval_count + CASE WHEN ${d.status} = 'denied' THEN 0 ELSE 1 END,
        ended_at = CASE WHEN ${d.status} = 'denied' OR (${d.status} = 'approved' AND g.capability = '${aboutSession}') THEN ${d.at} END,
        sealed_arguments = CASE WHEN ${d.status} = 'pending' OR (${d.status} = 'approved' AND g.capability <> '${aboutSession}') THEN g.sealed_arguments END, decision = g.decision || ${d.decision}
      FROM ${live}
      WHERE g.session_id = ${live}.id AND g.id = ${d.grantId} AND g.status = 'pending' AND g.decide_by > ${d.at} AND g.plan_digest = ${d.seenDigest}
        AND NOT ${isOverOnRecord('g')}
        -- Of a list something must be left to decide on.
        AND (NOT ${isBatchSql('g.capability')} OR EXISTS (SELECT 1 FROM grants m WHERE m.batch_id = g.id AND m.status = 'pending'))
        AND (${d.seenApprovals} IS NULL OR g.approval_count = ${d.seenApprovals})
        AND EXISTS (SELECT 1 FROM agent a WHERE a.name = g.agent AND a.version = ${d.versionInForce})`;

/**
 * What a review of a batch does to its members: pending → approved / denied, each as it stood when people saw
 * it. One that has ended meanwhile stays ended. RETURNING on alias `g`; `m` is what was to become of it.
 * @param batch alias of a row with the `id` of the batch
 * @param members SQL of a JSON array of `{id, status, plan_digest, decision, payload}`
 * @param decideBy SQL of until when what is approved is collected
 */
export const decideMembers = (batch: string, members: string, at: string, decideBy: string): string => `
      UPDATE grants g
      SET status = m.status, decided_at = ${at}, decision = g.decision || m.decision,
        decide_by = CASE WHEN m.status = 'approved' THEN ${decideBy} END, ended_at = CASE WHEN m.status = 'denied' THEN ${at} END
      FROM ${batch} CROSS JOIN LATERAL jsonb_to_recordset(${members}) AS m (id text, status text, plan_digest text, decision jsonb, payload jsonb)
      WHERE g.id = m.id AND g.batch_id = ${batch}.id AND g.status = 'pending' AND g.plan_digest = m.plan_digest`;

/**
 * pending / approved → denied: nobody decided, or nobody collected. Whoever ends a batch ends those of its
 * members that are still to be had.
 * @param due alias of rows with `id` and `reason`. RETURNING on alias `g`
 * @param before reasons that stand before this one, as SQL of a JSON array
 */
export const lapseGrant = (due: string, at: string, before = "'[]'::jsonb"): string => `
      UPDATE grants g
      SET status = 'denied', decided_at = coalesce(g.decided_at, ${at}), ended_at = ${at}, sealed_arguments = NULL,
        decision = g.decision || jsonb_build_object('effect', 'deny', 'reasons', ${before} || jsonb_build_array(jsonb_build_object('code', ${due}.reason)))
      FROM ${due} CROSS JOIN LATERAL (SELECT ${due}.id AS grant_id UNION SELECT m.id FROM grants m WHERE m.batch_id = ${due}.id) with_members
      WHERE g.id = with_members.grant_id AND g.ended_at IS NULL AND g.status IN ('pending', 'approved')`;

/**
 * SQL condition: nobody decides or collects any more of it by its own time. Of a batch that was approved the
 * members lapse, each by itself.
 * @param g alias of `grants`
 */
export const lapsesByItself = (g: string): string =>
  `NOT (${g}.status = 'approved' AND ${isBatchSql(`${g}.capability`)})`;

/** What was decided and had its effect: of a batch, its approval. */
const isGiven = `(status IN ('issued', 'issuing') OR (status = 'approved' AND ${isBatchSql('capability')}))`;

/**
 * pending / approved → denied, issuing / issued → ended: its session has ended, or may not have it any more.
 * @param where SQL condition on rows of `grants` @param reason SQL of the code of a decision's reason
 */
export const releaseGrant = (where: string, at: string, reason: string): string => `
      UPDATE grants SET status = CASE WHEN ${isGiven} THEN 'ended' ELSE 'denied' END, ended_at = ${at},
             decided_at = coalesce(decided_at, ${at}), sealed_arguments = NULL,
             decision = CASE WHEN ${isGiven} THEN decision
               ELSE decision || jsonb_build_object('effect', 'deny', 'reasons', jsonb_build_array(jsonb_build_object('code', ${reason}))) END
      WHERE ${where}`;

/** issuing → issued. @param lease alias of rows with `grant_id` and `status` */
export const grantIssued = (lease: string): string => `
      UPDATE grants SET status = 'issued' FROM ${lease} WHERE grants.id = ${lease}.grant_id AND ${lease}.status = 'active' AND grants.status = 'issuing'`;

/**
 * issuing → failed; or → approved again, with the plan that was consented to, when the mint had no effect and
 * another may: the approval stands until its own deadline. Give it a RETURNING on `grants`.
 * @param lease alias of rows with `grant_id`
 * @param consent SQL of what was consented to (`plan` NULL: nothing to go back to), and whether it may stand
 */
export const grantUnminted = (
  lease: string,
  at: string,
  consent: { plan: string; planDigest: string; stands: string },
): string => {
  const back = `(${consent.stands} AND ${consent.plan} IS NOT NULL AND coalesce(decide_by > ${at}, false))`;
  return `
      UPDATE grants SET status = CASE WHEN ${back} THEN 'approved' ELSE 'failed' END, ended_at = CASE WHEN ${back} THEN NULL ELSE ${at} END,
             plan = CASE WHEN ${back} THEN ${consent.plan} ELSE plan END, plan_digest = CASE WHEN ${back} THEN ${consent.planDigest} ELSE plan_digest END,
             decision_jws = CASE WHEN ${back} THEN NULL ELSE decision_jws END
      FROM ${lease} WHERE grants.id = ${lease}.grant_id AND grants.status = 'issuing'`;
};

/** issuing → failed. @param lease alias of rows with `grant_id` */
export const grantFailed = (lease: string, at: string): string => `
      UPDATE grants SET status = 'failed', ended_at = ${at} FROM ${lease} WHERE grants.id = ${lease}.grant_id AND grants.status = 'issuing'`;

/**
 * issued → ended, with its lease.
 * @param lease alias of rows with `grant_id` @param when SQL condition on them
 */
export const grantEnded = (lease: string, at: string, when: string): string => `
      UPDATE grants SET status = 'ended', ended_at = ${at} FROM ${lease}
      WHERE grants.id = ${lease}.grant_id AND ${when} AND grants.status IN ('issuing', 'issued')`;

/**
 * pending, for as long as its session sleeps, or its manifest has it wait.
 * @param session relation with `id` @param until SQL of the time
 */
export const waitLonger = (session: string, until: string): string => `
      UPDATE grants SET decide_by = CASE WHEN grants.decision -> 'expires_seconds' IS NULL THEN ${until}
        ELSE LEAST(${until}, GREATEST(grants.decide_by, grants.requested_at + (grants.decision ->> 'expires_seconds')::int * interval '1 second')) END
      FROM ${session} WHERE grants.session_id = ${session}.id AND grants.ended_at IS NULL AND grants.status = 'pending'`;

/**
 * Of a session that wakes: what was approved while it slept is collected by `redeemBy`, and what still waits
 * is decided while it lives.
 */
export const redeemSoon = (session: string, redeemBy: string, expiresAt: string): string => `
      UPDATE grants SET decide_by = LEAST(grants.decide_by, CASE WHEN grants.status = 'approved' THEN ${redeemBy} ELSE ${expiresAt} END)
      FROM ${session} WHERE grants.session_id = ${session}.id AND grants.ended_at IS NULL AND grants.status IN ('pending', 'approved')`;
