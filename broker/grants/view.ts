/** What a grant looks like from outside: the same members whichever way it is read. Never a credential. */
import type { Plan, PlanDescription, Reason } from '../core/vocabulary.ts';
import { type Identity, personRef } from '../people/identity.ts';
import type { TermProgress } from './quorum.ts';

export interface GrantView {
  id: string;
  status: string;
  capability: string;
  tier: number;
  ttl_seconds: number;
  plan: Plan & { digest: string };
  /** An approver left something out of what was asked for: `plan` and `summary` say what there is. */
  narrowed?: true;
  /** The plan in plain words. */
  summary: string[];
  revocability: PlanDescription['revocability'];
  reasons?: Reason[];
  decide_by?: string;
  /** Whose approvals it needs, and which it has. Each must be complete. */
  approvals?: ApprovalView[];
  approval_url?: string;
  /** People decide on it together with others of the task: the request that lists them. */
  batch?: string;
  lease?: { id: string; status: string; expires_at: string };
}

export interface ApprovalView {
  needed: number;
  /** Whose count; absent = the owners'. */
  from?: string[];
  given: { by: string; at: string }[];
}

export const viewApprovals = (progress: readonly TermProgress<{ reviewer: Identity; at: Date }>[]): ApprovalView[] =>
  progress.map(({ needed, from, given }) => ({
    needed,
    ...(from === null ? {} : { from }),
    given: given.map(({ reviewer, at }) => ({ by: personRef(reviewer), at: at.toISOString() })),
  }));

export function viewGrant(
  grant: {
    id: string;
    status: string;
    capability: string;
    tier: number;
    plan: Plan;
    planDigest: string;
    decideBy: Date | null;
    batchId?: string | null;
    reasons: Reason[];
    narrowed?: boolean;
    /** Of one that waits. */
    approvals?: ApprovalView[];
  },
  description: PlanDescription,
  publicUrl: string,
  lease: { id: string; status: string; expiresAt: Date } | null,
): GrantView {
  return {
    id: grant.id,
    status: grant.status,
    capability: grant.capability,
    tier: grant.tier,
    ttl_seconds: grant.plan.ttl_seconds,
    plan: { ...grant.plan, digest: grant.planDigest },
    ...(grant.narrowed === true ? { narrowed: true as const } : {}),
    summary: description.summary,
    revocability: description.revocability,
    ...(grant.reasons.length === 0 ? {} : { reasons: grant.reasons }),
    ...(grant.decideBy === null || !['pending', 'approved'].includes(grant.status)
      ? {}
      : { decide_by: grant.decideBy.toISOString() }),
    ...(grant.status === 'pending' && grant.approvals !== undefined ? { approvals: grant.approvals } : {}),
    ...(grant.status === 'pending' ? { approval_url: `${publicUrl}/approvals/${grant.batchId ?? grant.id}` } : {}),
    ...(grant.batchId == null ? {} : { batch: grant.batchId }),
    ...(lease === null
      ? {}
      : { lease: { id: lease.id, status: lease.status, expires_at: lease.expiresAt.toISOString() } }),
  };
}
