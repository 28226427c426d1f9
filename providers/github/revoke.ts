/** Ends tokens at GitHub, and asks whether one still works. */
import {
  type Clock,
  type JsonObject,
  type ProbeOutcome,
  ProviderError,
  type RevocationOutcome,
  type RevocationTarget,
} from '../contract.ts';
import type { Api } from './api.ts';
import { isSuspended, refusalOf } from './errors.ts';

/** GitHub allows 100 requests at once for everything the App does; minting must get its share. */
const atOnce = 16;

/**
 * A token this young may be refused because not every GitHub server knows it yet (auth-app retries 401 for 5
 * seconds).
 */
const settlesWithinMs = 10_000;

export async function revokeTokens(
  api: Api,
  clock: Clock,
  due: RevocationTarget[],
  signal: AbortSignal,
): Promise<RevocationOutcome[]> {
  const outcomes: RevocationOutcome[] = [];
  let next = 0;
  const work = async () => {
    for (let index = next++; index < due.length; index = next++)
      outcomes[index] = await revokeToken(api, clock, due[index] as RevocationTarget, signal);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, due.length) }, work));
  return outcomes;
}

async function revokeToken(
  api: Api,
  clock: Clock,
  target: RevocationTarget,
  signal: AbortSignal,
): Promise<RevocationOutcome> {
  if (target.secret === null)
    return {
      state: 'wait_for_expiry',
      evidence: {
        reason: 'token_unknown',
        detail:
          'The token was lost before it was stored, so it cannot be deleted. Nobody received it. GitHub ends it within its hour.',
        until: target.providerExpiresAt.toISOString(),
      },
    };
  try {
    const answer = await api.deleteToken(target.secret, signal);
    const evidence = { method: 'DELETE /installation/token', status: answer.status, at: clock.now().toISOString() };
    if (answer.status === 204) return { state: 'revoked', evidence };
    if (answer.status !== 401) throw refusalOf(answer, 'deleting a token', worthRepeating);
    return await afterUnknown(api, clock, target, target.secret, evidence, signal);
  } catch (error) {
    return {
      state: 'failed',
      error: error instanceof ProviderError ? error : new ProviderError('upstream_unavailable', 'The call failed'),
    };
  }
}

/**
 * A token that GitHub neither deleted nor reports as invalid may work again later (after a suspension of the
 * installation): keep retrying.
 */
const worthRepeating = { retryable: true } as const;

/**
 * GitHub did not know the token when it was to be deleted. That alone is no proof: whoever answers 401 to
 * every DELETE would have killed nothing. So the token is tried. Throws ProviderError when it still works, or
 * when the answer says neither.
 */
async function afterUnknown(
  api: Api,
  clock: Clock,
  target: RevocationTarget,
  token: string,
  evidence: JsonObject,
  signal: AbortSignal,
): Promise<RevocationOutcome> {
  const tried = await api.listRepositories(token, signal);
  if (tried.status === 200)
    throw new ProviderError('upstream_mismatch', 'GitHub answered 401 to the deletion of a token that still works', {
      retryable: true,
      providerCode: '401',
    });
  if (tried.status !== 401) throw refusalOf(tried, 'trying a token that could not be deleted', worthRepeating);
  const settledAt = target.intentAt.getTime() + settlesWithinMs;
  if (clock.now().getTime() < settledAt)
    return { state: 'settling', recheckAt: new Date(settledAt), evidence: { ...evidence, meaning: 'unknown_so_far' } };
  const readBack = { tried: probeMethod, tried_status: tried.status, tried_at: clock.now().toISOString() };
  return { state: 'revoked', evidence: { ...evidence, ...readBack, meaning: 'already_dead' } };
}

const probeMethod = 'GET /installation/repositories';

/** Asks GitHub with the token itself. An answer that says neither throws. */
export async function probeToken(api: Api, target: RevocationTarget, signal: AbortSignal): Promise<ProbeOutcome> {
  // Not knowing is not proof of death.
  if (target.secret === null) return { alive: true, evidence: { reason: 'token_unknown' } };
  const answer = await api.listRepositories(target.secret, signal);
  const evidence = { method: probeMethod, status: answer.status };
  if (answer.status === 200) return { alive: true, evidence };
  if (answer.status === 401) return { alive: false, evidence };
  if (isSuspended(answer)) return { alive: true, evidence: { ...evidence, reason: 'installation_suspended' } };
  throw refusalOf(answer, 'probing a token');
}
