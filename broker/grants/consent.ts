/**
 * Whether people consented to a plan that is to be carried out now: proven from the rows of the request and
 * of its reviews, never from a status.
 */
import { WritError } from '../core/errors.ts';
import type { ProvenRows } from '../core/proven-rows.ts';
import { type BatchPermission, isBatch, membersLeft } from '../core/questions.ts';
import type { ApprovalTerm, JsonObject, Plan } from '../core/vocabulary.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { type Identity, personRef } from '../people/identity.ts';
import type { Store } from '../store/open.ts';
import type { Grant, Review } from '../store/prisma/client.ts';
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

/**
 * The same of a grant that people decided on together with others: they consented to the list that stands in
 * the batch, and it must name this very plan of this very grant.
 * @throws WritError `not_approved`
 */
export function consentedWithOthers(
  store: Store,
  grant: ConsentedRow,
  batch: ConsentedRow,
  ...people: Parameters<typeof consentedBy> extends [unknown, unknown, ...infer Rest] ? Rest : never
): string[] {
  const planned = planDigest(grant.plan as unknown as Plan);
  const isListed =
    isBatch(batch.capability) &&
    batch.session_id === grant.session_id &&
    membersLeft(batch.plan.permission as unknown as BatchPermission).some(
      (member) => member.grant === grant.id && planDigest(member.plan) === planned,
    );
  if (!isListed || !grantHolds(store, grant))
    throw new WritError('not_approved', { detail: 'What people approved does not name this very request.' });
  return consentedBy(store, batch, ...people);
}

export const requestRow = (grant: Grant): ConsentedRow => ({
  id: grant.id,
  session_id: grant.sessionId,
  agent: grant.agent,
  capability: grant.capability,
  request_digest: grant.requestDigest,
  params: grant.params as JsonObject,
  justification: grant.justification,
  credential_jwk: grant.credentialJwk as JsonObject | null,
  manifest_version: grant.manifestVersion,
  provider: grant.provider,
  plan: grant.plan as JsonObject,
  tier: grant.tier,
  requested_at: grant.requestedAt,
  approval: (grant.decision as { approval?: ApprovalTerm[] }).approval ?? null,
  asked_plan: (grant.decision as { asked_plan?: JsonObject }).asked_plan ?? null,
  plan_digest: grant.planDigest,
  proof: grant.proof,
});

export const reviewRow = (review: Review): ReviewRow => ({
  id: review.id,
  grant_id: review.grantId,
  reviewer: review.reviewer as object,
  verdict: review.verdict,
  plan_digest: review.planDigest,
  consented_digest: review.consentedDigest,
  reason: review.reason,
  channel: review.channel,
  at: review.at,
  redeem_by: review.redeemBy,
  evidence: review.evidence as object | null,
  proof: review.proof,
});
