/** Whether a review is as the person gave it, and counts as an approval of its request. */
import { evidenceBinds } from '../core/passkey-evidence.ts';
import type { ProvenRows } from '../core/proven-rows.ts';
import { isBatch, isQuestion } from '../core/questions.ts';
import type { Identity } from '../people/identity.ts';
import type { Store } from '../store/open.ts';

type ReviewRow = ProvenRows['review'] & { proof: string };

/** @param row may have more columns */
export function reviewHolds({ proofs }: Store, row: ReviewRow): boolean {
  const { id, grant_id, reviewer, verdict, plan_digest, consented_digest, reason, channel, at, redeem_by } = row;
  const proven = { id, grant_id, reviewer, verdict, plan_digest, consented_digest, reason, channel, at, redeem_by };
  return proofs.holds('review', { ...proven, ...evidenceProven(row.evidence) }, row.proof);
}

/** What of it goes into the proof: reviews without a passkey are proven as they always were. */
export const evidenceProven = (evidence: object | null | undefined) => (evidence == null ? {} : { evidence });

/**
 * Whether each approval of it must be signed by the reviewer's passkey. Questions about calls and sessions
 * have the highest tier so that whoever may approve anything may answer them; they are no tier's capability.
 * A batch has the tier of its members.
 */
export const needsPasskey = ({ tier, capability }: { tier: number; capability: string }): boolean =>
  tier >= 3 && (!isQuestion(capability) || isBatch(capability));

/** Whether an approval, besides being as it was given, is signed where it must be. */
export function approvalCounts(store: Store, passkey: boolean, row: ReviewRow): boolean {
  return reviewHolds(store, row) && (!passkey || isSigned(row));
}

/** The reviewer's passkey signed for the very plan that was consented to, of this very request. */
const isSigned = ({ evidence, grant_id, consented_digest, reviewer }: ReviewRow): boolean =>
  evidenceBinds(evidence, {
    purpose: 'review',
    about: grant_id,
    digest: consented_digest,
    person: reviewer as Identity,
  });
