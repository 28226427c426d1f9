/**
 * Every change of a grant that another room's statement makes, as SQL: pending → approved / denied, approved
 * → denied, issuing → issued / failed, issued → ended. Only this room writes the table
 * (scripts/check/tables.ts). Pure text, so that leases, sessions and approvals may import it.
 */

import { decisionReason } from '../core/reasons.ts';

/** What a review writes, as SQL of each value. */
export interface DecidedGrant {
  grantId: string;
  /** `approved` or `denied`. */
  status: string;
  plan: string;
  /** Digest of the plan as it stands, and as it will. */
  seenDigest: string;
  planDigest: string;
  at: string;
  decideBy: string;
  /** Merged into the decision. */
  decision: string;
}

/** pending → approved / denied, for the sessions of `live` alone. Give it a RETURNING on alias `g`. */
export const decideGrant = (live: string, d: DecidedGrant): string => `
      UPDATE grants g
      SET status = ${d.status}, plan = ${d.plan}, plan_digest = ${d.planDigest}, decided_at = ${d.at}, decide_by = ${d.decideBy},
        ended_at = CASE WHEN ${d.status} = 'denied' THEN ${d.at} END, decision = g.decision || ${d.decision}
      FROM ${live}
      WHERE g.session_id = ${live}.id AND g.id = ${d.grantId} AND g.status = 'pending' AND g.decide_by > ${d.at} AND g.plan_digest = ${d.seenDigest}`;

/**
 * pending / approved → denied: nobody decided, or nobody collected.
 * @param due alias of rows with `id` and `reason`. RETURNING on alias `g`
 * @param before reasons that stand before this one, as SQL of a JSON array
 */
export const lapseGrant = (due: string, at: string, before = "'[]'::jsonb"): string => `
      UPDATE grants g
      SET status = 'denied', decided_at = coalesce(g.decided_at, ${at}), ended_at = ${at},
        decision = g.decision || jsonb_build_object('effect', 'deny', 'reasons', ${before} || jsonb_build_array(jsonb_build_object('code', ${due}.reason)))
      FROM ${due} WHERE g.id = ${due}.id`;

/**
 * pending / approved → denied, issuing / issued → ended: its session has ended.
 * @param where SQL condition on rows of `grants`
 */
export const releaseGrant = (where: string, at: string): string => `
      UPDATE grants SET status = CASE WHEN status IN ('issued', 'issuing') THEN 'ended' ELSE 'denied' END, ended_at = ${at},
             decided_at = coalesce(decided_at, ${at}),
             decision = CASE WHEN status IN ('issued', 'issuing') THEN decision
               ELSE decision || jsonb_build_object('effect', 'deny', 'reasons', jsonb_build_array(jsonb_build_object('code', ${decisionReason('session_ended')}))) END
      WHERE ${where}`;

/** issuing → issued. @param lease alias of rows with `grant_id` and `status` */
export const grantIssued = (lease: string): string => `
      UPDATE grants SET status = 'issued' FROM ${lease} WHERE grants.id = ${lease}.grant_id AND ${lease}.status = 'active' AND grants.status = 'issuing'`;

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
