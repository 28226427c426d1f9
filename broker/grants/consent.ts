/**
 * Whether people consented to a plan that is to be carried out now: proven from the rows of the request and
 * of its reviews, never from a status.
 */
import { WritError } from '../core/errors.ts';
import type { ProvenRows } from '../core/proven-rows.ts';
import type { Plan } from '../core/vocabulary.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { type Identity, personRef } from '../people/identity.ts';
import type { Store } from '../store/open.ts';
import { grantHolds } from './proven-grant.ts';
import { approvalCounts, needsPasskey } from './proven-review.ts';
import { approvalProgress, isMet } from './quorum.ts';

export type ConsentedRow = ProvenRows['grants'] & { plan_digest: string; proof: string };
export type ReviewRow = ProvenRows['review'] & { proof: string };

/**
 * @param grant the request, with the plan as it stands
 * @param reviews its approvals
 * @param session whose people say how many must approve
 * @param tier what the capability is of now, where that is asked: a higher one than it was asked under counts
 * @returns who approved, `user:…`
 * @throws WritError `not_approved`
 */
export function consentedBy(
  store: Store,
  grant: ConsentedRow,
  reviews: readonly ReviewRow[],
  session: { startedBy: unknown; responsible: unknown },
  now: Date,
  tier = 0,
): string[] {
  if (!grantHolds(store, grant))
    throw new WritError('not_approved', { detail: 'No approval of this very request is on record.' });
  // Computed from the stored plan, not read from the digest beside it: a row that was tampered with was never
  // approved.
  const standing = planDigest(grant.plan as unknown as Plan);
  const passkey = needsPasskey({ tier: Math.max(grant.tier, tier), capability: grant.capability });
  const standingReviews = reviews
    .filter((review) => review.consented_digest === standing && grant.plan_digest === standing)
    .filter((review) => approvalCounts(store, passkey, review));
  // The last of them says until when.
  const stands = standingReviews.some(({ redeem_by }) => redeem_by !== null && redeem_by > now);
  const consents = standingReviews.map(({ reviewer }) => ({ reviewer: reviewer as Identity }));
  const line = [{ started_by: session.startedBy, responsible: session.responsible }];
  const progress = approvalProgress(grant.approval ?? null, line, consents);
  if (!stands || !isMet(progress))
    throw new WritError('not_approved', { detail: 'Too few approvals of this very plan are on record.' });
  return [...new Set(progress.flatMap(({ given }) => given))].map(({ reviewer }) => personRef(reviewer));
}
