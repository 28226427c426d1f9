/**
 * The order to deliver, made from what was decided: what the decision that is signed says, and what is written of the lease before the provider is asked. The same for a
 * grant that policy allowed and for one that is redeemed.
 */

import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Plan } from '../core/vocabulary.ts';
import type { DecisionKey, DecisionPayload } from '../decide/sign-decision.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { Evaluation } from './evaluate.ts';
import type { LeaseRecord } from './statements.ts';

/** What the delivering side may act on. */
export function payloadOf(
  grant: { id: string; sessionId: string; agent: string; capability: string },
  evaluation: Evaluation,
  approvedBy: string[],
): DecisionPayload {
  const { decision } = evaluation;
  return {
    grant_id: grant.id,
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

/** The intent: everything revocation would need if the provider's answer were never heard. */
export function leaseOf(
  deps: { providerTimeoutSeconds: number },
  plan: Plan,
  digest: string,
  provider: Evaluation['provider'],
  now: Date,
): LeaseRecord {
  const answerBy = new Date(now.getTime() + mintDeadlineSeconds(deps.providerTimeoutSeconds) * 1000);
  const longest = Math.max(plan.ttl_seconds, provider.limits.longestProviderLifetimeSeconds);
  return {
    id: newId('lse', now),
    plan,
    planDigest: digest,
    lockKey: provider.lockKey?.(plan) ?? null,
    pool: provider.pool?.(plan) ?? null,
    answerBy,
    // Counted from when the provider can have answered last.
    providerExpiresAt: new Date(answerBy.getTime() + longest * 1000),
  };
}

/** When an answer that has not come by now never will: the provider's deadline, and time to write the outcome down. */
export const mintDeadlineSeconds = (providerTimeoutSeconds: number): number => providerTimeoutSeconds + 10;

/** @throws WritError `unavailable`: without a key nothing is issued */
export function signingKey(deps: { ring: KeyRing }): DecisionKey {
  try {
    return deps.ring.current();
  } catch (cause) {
    throw new WritError('unavailable', { retryAfterSeconds: 5, cause });
  }
}

export function poolExhausted(): WritError {
  return new WritError('provider_unavailable', {
    detail: 'Every account of the pool is in use or in quarantine.',
    retryAfterSeconds: 30,
    extensions: { provider_code: 'pool_exhausted' },
  });
}
