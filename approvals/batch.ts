/**
 * A review of several grants at once: what taking single ones out makes of the plan, and what the review does
 * to each. Pure; `review.ts` writes it in its own statement.
 */
import { eventPayload } from '../broker/audit/events.ts';
import { WritError } from '../broker/core/errors.ts';
import { type BatchPermission, membersLeft } from '../broker/core/questions.ts';
import type { JsonObject, Plan } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import type { GrantUnderReview } from './eligibility.ts';

const permissionOf = (plan: Plan) => plan.permission as unknown as BatchPermission;

/** @throws WritError `bad_request`: none of its members, or nothing would be left */
export function takeOut(plan: Plan, ids: readonly string[]): Plan {
  const batch = permissionOf(plan);
  const fault = (message: string) =>
    new WritError('bad_request', { detail: message, errors: [{ path: 'withhold', message }] });
  if (ids.some((id) => !batch.members.some(({ grant }) => grant === id)))
    throw fault('Only what is on the list can be taken out of it.');
  const withhold = batch.members
    .map(({ grant }) => grant)
    .filter((id) => batch.withhold.includes(id) || ids.includes(id));
  if (withhold.length === batch.members.length) throw fault('Nothing would be left of it: deny it instead.');
  if (withhold.length === batch.withhold.length) return plan;
  return { ...plan, permission: { ...batch, withhold } as unknown as JsonObject };
}

/** What becomes of a member, as `decideMembers` takes it. */
export interface MemberChange {
  id: string;
  status: 'approved' | 'denied';
  /** As it was shown. */
  plan_digest: string;
  decision: JsonObject;
  payload: object;
}

/**
 * What a review does to the members: those that are taken out are denied at once, the others as soon as the
 * batch is decided.
 * @param consented the plan as the reviewer leaves it
 * @param status what the batch comes to
 * @param denial the decision of what is denied
 * @param review what the record says of it
 */
export function memberChanges(
  grant: GrantUnderReview,
  consented: Plan,
  status: 'approved' | 'denied' | 'pending',
  denial: JsonObject,
  review: { review_id: string; reviewer: JsonObject; channel: string; reason: string | null },
): MemberChange[] {
  const before = membersLeft(permissionOf(grant.plan));
  const left = new Set(membersLeft(permissionOf(consented)));
  return before.flatMap((member): MemberChange[] => {
    const comesTo = left.has(member) ? status : 'denied';
    if (comesTo === 'pending') return [];
    const plan_digest = planDigest(member.plan);
    const payload = eventPayload('grant.approved', {
      ...review,
      batch: grant.id,
      capability: member.capability,
      seen_digest: plan_digest,
      plan_digest,
      ttl_seconds: member.plan.ttl_seconds,
      planned_ttl_seconds: member.plan.ttl_seconds,
    });
    return [{ id: member.grant, status: comesTo, plan_digest, decision: comesTo === 'denied' ? denial : {}, payload }];
  });
}

/** Whether anything of it can still be had. */
export const isOpenBatch = ({ members }: Pick<GrantUnderReview, 'members'>): boolean =>
  members.some(({ status }) => status === 'pending' || status === 'approved');
