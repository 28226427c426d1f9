/** Whether a review is as the person gave it. */
import type { ProvenRows } from '../core/proven-rows.ts';
import type { Store } from '../store/open.ts';

/** @param row may have more columns */
export function reviewHolds({ proofs }: Store, row: ProvenRows['review'] & { proof: string }): boolean {
  const { id, grant_id, reviewer, verdict, plan_digest, consented_digest, reason, channel, at, redeem_by } = row;
  const proven = { id, grant_id, reviewer, verdict, plan_digest, consented_digest, reason, channel, at, redeem_by };
  return proofs.holds('review', proven, row.proof);
}
