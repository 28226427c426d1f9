/**
 * The tail of a grant, the same for one that policy allowed and for one that is redeemed: sign the decision,
 * commit the intent, mint, deliver.
 */

import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { DecisionKey, DecisionPayload } from '../decide/sign-decision.ts';
import { signDecision } from '../decide/sign-decision.ts';
import type { KeyRing } from '../keys/ring.ts';
import { issueLease, type LeaseDeps } from '../leases/issue.ts';
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
}

/** A committed intent: what the delivering side acts on. */
export interface CommittedIntent {
  grant: GrantToIssue;
  evaluation: Evaluation;
  lease: LeaseRecord;
  reserved: string | null;
  decisionJws: string;
  at: Date;
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
 * @throws WritError `provider_unavailable` when no pool member is free, `rate_limited`, `unavailable`
 * without a   signing key
 */
export async function commitIntent(
  deps: IssueDeps,
  grant: GrantToIssue,
  evaluation: Evaluation,
  approvedBy: string[],
  at: Date,
  write: (decisionJws: string, lease: LeaseRecord) => Promise<Recorded>,
): Promise<CommittedIntent | null> {
  const lease = leaseOf(deps, evaluation, at);
  const decisionJws = signDecision(payloadOf(grant, lease.id, evaluation, approvedBy), signingKey(deps), at);
  const written = await write(decisionJws, lease);
  if (written.ok) return { grant, evaluation, lease, reserved: written.reserved, decisionJws, at };
  if (written.because === 'pool_exhausted') throw poolExhausted();
  if (written.because === 'rate_limited') throw new WritError('rate_limited', { retryAfterSeconds: 10 });
  return null;
}

/**
 * Mints what was intended and delivers it, once. The TTL starts now. @throws WritError as `issueLease` does
 */
export async function mintAndDeliver(
  deps: IssueDeps,
  { grant, evaluation, lease, reserved, decisionJws, at }: CommittedIntent,
  credentialJwk: JsonObject | null,
): Promise<IssuedAnswer> {
  const delivered = await issueLease(deps, {
    leaseId: lease.id,
    grantId: grant.id,
    sessionId: grant.sessionId,
    agent: grant.agent,
    plan: evaluation.plan,
    reserved,
    intentAt: at,
    decision: decisionJws,
  });
  const issued = {
    ...grant,
    status: 'issued',
    plan: evaluation.plan,
    planDigest: evaluation.digest,
    decideBy: null,
    reasons: [],
  };
  const view = viewGrant(issued, evaluation.description, deps.publicUrl, {
    id: lease.id,
    status: 'active',
    expiresAt: delivered.expiresAt,
  });
  const delivery = await deliver(delivered.credential, credentialJwk);
  return { outcome: 'issued', grant: view, delivery, decision: decisionJws };
}

/** What the delivering side may act on. */
function payloadOf(
  grant: GrantToIssue,
  leaseId: string,
  evaluation: Evaluation,
  approvedBy: string[],
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
    ...(approvedBy.length === 0 ? {} : { approved_by: approvedBy }),
  };
}

/** Builds the intent: everything that revocation needs if the provider's answer is lost. */
function leaseOf(deps: { providerTimeoutSeconds: number }, evaluation: Evaluation, now: Date): LeaseRecord {
  const { plan, digest, provider } = evaluation;
  const answerBy = new Date(now.getTime() + mintDeadlineSeconds(deps.providerTimeoutSeconds) * 1000);
  const longest = Math.max(plan.ttl_seconds, provider.limits.longestProviderLifetimeSeconds);
  return {
    id: newId('lse', now),
    plan,
    planDigest: digest,
    lockKey: provider.lockKey?.(plan) ?? null,
    pool: provider.pool?.(plan) ?? null,
    answerBy,
    // Counted from the latest time at which the provider can answer.
    providerExpiresAt: new Date(answerBy.getTime() + longest * 1000),
  };
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

function poolExhausted(): WritError {
  return new WritError('provider_unavailable', {
    detail: 'Every account of the pool is in use or in quarantine.',
    retryAfterSeconds: 30,
    extensions: { provider_code: 'pool_exhausted' },
  });
}
