/**
 * The tail of a grant, the same for one that policy allowed and for one that is redeemed: sign the decision,
 * commit the intent, mint, deliver.
 */

import { type Provider, ProviderError } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { JsonObject, Plan } from '../core/vocabulary.ts';
import type { DecisionKey, DecisionPayload } from '../decide/sign-decision.ts';
import { signDecision } from '../decide/sign-decision.ts';
import type { KeyRing } from '../keys/ring.ts';
import { withDeadline } from '../leases/deadline.ts';
import { type NoRoom, noRoomWords } from '../leases/fair-share.ts';
import { issueLease, type LeaseDeps } from '../leases/issue.ts';
import { revokeUndelivered } from '../leases/order-revocation.ts';
import { knownEndedBefore } from '../leases/provider-time.ts';
import { type Delivery, deliver } from './deliver.ts';
import type { Evaluation } from './evaluate.ts';
import type { LeaseRecord, Recorded } from './statements.ts';
import { type GrantView, viewGrant } from './view.ts';

export interface IssueDeps extends LeaseDeps {
  /** Base of links, no trailing slash. */
  publicUrl: string;
}

/** The grant that is issued, as far as its tail is concerned. */
export interface GrantToIssue {
  id: string;
  sessionId: string;
  agent: string;
  capability: string;
  tier: number;
  decision: unknown;
}

/** What an answer says of an approval that a failure did not consume. */
export type StandingApproval = { grant_id: string; grant_status: 'approved'; redeem_by: string };

/** A committed intent: what the delivering side acts on. */
export interface CommittedIntent {
  grant: GrantToIssue;
  evaluation: Evaluation;
  lease: LeaseRecord;
  reserved: string | null;
  decisionJws: string;
  at: Date;
  /** What a person consented to; null when policy alone allowed it. */
  consent: { plan: Plan; planDigest: string } | null;
}

export interface IssuedAnswer {
  outcome: 'issued';
  grant: GrantView;
  delivery: Delivery;
  /** The signed decision (JWS) that the delivering side acted on. */
  decision: string;
}

/**
 * Signs the decision and commits the intent, before any provider is called (invariant 5).
 * @param write commits grant and lease in one statement
 * @returns null when the session moved on since it was read: decide again
 * @throws WritError `provider_unavailable` when no pool member is free or what is shared has no room,
 *   `rate_limited`, `unavailable` without a signing key
 */
export async function commitIntent(
  deps: IssueDeps,
  grant: GrantToIssue,
  evaluation: Evaluation,
  approved: {
    by: string[];
    consent: CommittedIntent['consent'];
    stands: StandingApproval | null;
    breakGlass?: string | undefined;
  },
  at: Date,
  write: (decisionJws: string, lease: LeaseRecord) => Promise<Recorded>,
): Promise<CommittedIntent | null> {
  const lease = await leaseOf(deps, evaluation, at, approved.stands);
  const decisionJws = signDecision(payloadOf(grant, lease.id, evaluation, approved), signingKey(deps), at);
  const written = await write(decisionJws, lease);
  if (written.ok) {
    return { grant, evaluation, lease, reserved: written.reserved, decisionJws, at, consent: approved.consent };
  }
  switch (written.because) {
    case 'moved_on':
      return null;
    case 'rate_limited':
      throw new WritError('rate_limited', { retryAfterSeconds: 10 });
    case 'pool_exhausted':
      throw noRoom(written.because, 'Every account of the pool is in use or in quarantine.', approved.stands);
    case 'document_full':
    case 'share_taken':
      throw noRoom(written.because, noRoomWords(written.because, lease.plan), approved.stands);
  }
}

/**
 * Mints what was intended and delivers it, once. The TTL starts now. What was minted and cannot be delivered
 * is revoked.
 * @throws WritError as `issueLease` does; `internal`
 */
export async function mintAndDeliver(
  deps: IssueDeps,
  intent: CommittedIntent,
  credentialJwk: JsonObject | null,
  requestId: string | null,
): Promise<IssuedAnswer> {
  const { grant, evaluation, lease, reserved, decisionJws, at, consent } = intent;
  const delivered = await issueLease(deps, {
    leaseId: lease.id,
    grantId: grant.id,
    sessionId: grant.sessionId,
    agent: grant.agent,
    plan: evaluation.plan,
    reserved,
    intentAt: at,
    decision: decisionJws,
    consent,
  });
  try {
    const view = viewIssued(deps, intent, delivered.expiresAt);
    const delivery = await deliver(delivered.credential, credentialJwk);
    return { outcome: 'issued', grant: view, delivery, decision: decisionJws };
  } catch (cause) {
    await withdraw(deps, lease.id, requestId);
    throw new WritError('internal', { extensions: { grant_id: grant.id }, cause });
  }
}

/**
 * Revokes a credential that nobody has. Where that cannot be ordered, the lease ends with its time or its
 * session.
 */
export async function withdraw(deps: IssueDeps, leaseId: string, requestId: string | null): Promise<void> {
  const order = {
    store: deps.store,
    mintDeadlineSeconds: mintDeadlineSeconds(deps.providerTimeoutSeconds),
    notify: deps.notify,
  };
  try {
    await revokeUndelivered(order, { leaseId, requestId, now: deps.clock.now() });
    deps.log.warn({ lease: leaseId }, 'a credential could not be delivered; it is being revoked');
  } catch (err) {
    deps.log.error({ err, lease: leaseId }, 'a credential could not be delivered, and its revocation not ordered');
  }
}

function viewIssued(deps: IssueDeps, { grant, evaluation, lease }: CommittedIntent, expiresAt: Date): GrantView {
  const issued = {
    ...grant,
    status: 'issued',
    plan: evaluation.plan,
    planDigest: evaluation.digest,
    decideBy: null,
    reasons: evaluation.decision.reasons,
    narrowed: (grant.decision as { left_out?: unknown }).left_out !== undefined,
  };
  return viewGrant(issued, evaluation.description, deps.publicUrl, { id: lease.id, status: 'active', expiresAt });
}

/** What the delivering side may act on. */
function payloadOf(
  grant: GrantToIssue,
  leaseId: string,
  evaluation: Evaluation,
  { by, breakGlass }: { by: string[]; breakGlass?: string | undefined },
): DecisionPayload {
  const { decision } = evaluation;
  return {
    grant_id: grant.id,
    lease_id: leaseId,
    session_id: grant.sessionId,
    agent: grant.agent,
    capability: grant.capability,
    plan_digest: evaluation.digest,
    tier: decision.tier,
    effect: decision.effect,
    ttl_seconds: evaluation.plan.ttl_seconds,
    manifest_version: decision.manifest_version,
    policy_ids: decision.policy_ids,
    ...(by.length === 0 ? {} : { approved_by: by }),
    ...(breakGlass === undefined ? {} : { break_glass: breakGlass }),
  };
}

/**
 * Builds the intent: everything that revocation needs if the provider's answer is lost.
 * @throws WritError `provider_unavailable`, `provider_refused` when the provider cannot say how much room
 *   there is: what might not be revocable is not minted
 */
async function leaseOf(
  deps: IssueDeps,
  evaluation: Evaluation,
  now: Date,
  stands: StandingApproval | null,
): Promise<LeaseRecord> {
  const { plan, digest, provider } = evaluation;
  const answerBy = new Date(now.getTime() + mintDeadlineSeconds(deps.providerTimeoutSeconds) * 1000);
  const longest = Math.max(plan.ttl_seconds, provider.limits.longestProviderLifetimeSeconds);
  const pool = provider.pool?.(plan) ?? null;
  const denials = await denialsThatFit(deps, provider, plan, stands);
  const members = pool === null ? null : [...(provider.poolMembers ?? pool)];
  return {
    id: newId('lse', now),
    plan,
    planDigest: digest,
    lockKey: provider.lockKey?.(plan) ?? null,
    pool,
    room:
      denials === null && members === null ? null : { denials, members, endedBefore: knownEndedBefore(deps, provider) },
    answerBy,
    // Counted from the latest time at which the provider can answer.
    providerExpiresAt: new Date(answerBy.getTime() + longest * 1000),
  };
}

async function denialsThatFit(
  deps: IssueDeps,
  provider: Provider,
  plan: Plan,
  stands: StandingApproval | null,
): Promise<number | null> {
  if (provider.denialsThatFit === undefined) return null;
  try {
    return await withDeadline(deps.clock, deps.providerTimeoutSeconds, provider.name, async (signal) =>
      provider.denialsThatFit!(plan, signal),
    );
  } catch (cause) {
    const known = cause instanceof ProviderError ? cause : null;
    deps.log.warn({ err: cause, provider: provider.name }, 'it is not known how many denials fit; nothing is minted');
    const code = known?.retryable === false ? 'provider_refused' : 'provider_unavailable';
    const said = known?.providerCode === undefined ? {} : { provider_code: known.providerCode };
    const retryAfterSeconds = known?.retryAfterSeconds ?? 5;
    throw new WritError(code, { cause, retryAfterSeconds, extensions: { ...said, ...stands } });
  }
}

/**
 * Seconds after which a missing answer counts as lost: the provider's deadline, plus time to write the
 * outcome.
 */
export const mintDeadlineSeconds = (providerTimeoutSeconds: number): number => providerTimeoutSeconds + 10;

/** @throws WritError `unavailable`: without a key nothing is issued */
function signingKey(deps: { ring: KeyRing }): DecisionKey {
  try {
    return deps.ring.current();
  } catch (cause) {
    throw new WritError('unavailable', { retryAfterSeconds: 5, cause });
  }
}

function noRoom(providerCode: NoRoom | 'pool_exhausted', detail: string, stands: StandingApproval | null): WritError {
  return new WritError('provider_unavailable', {
    detail,
    retryAfterSeconds: 30,
    extensions: { provider_code: providerCode, ...stands },
  });
}
