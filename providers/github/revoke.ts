/** Ends tokens at GitHub, and asks whether one still works. */
import type { ObservedClock } from '../answer-date.ts';
import {
  type JsonObject,
  keepAfterEndMs,
  type ProbeOutcome,
  ProviderError,
  type RevocationOutcome,
  type RevocationTarget,
} from '../contract.ts';
import type { Api } from './api.ts';
import type { AsApp } from './as-app.ts';
import { isLimited, isSuspended, refusalOf } from './errors.ts';
import { tokenLifetimeSeconds } from './plan.ts';

/** GitHub allows 100 requests at once for everything the App does; minting must get its share. */
const atOnce = 16;

/**
 * A token this young may be refused because not every GitHub server knows it yet (auth-app retries 401 for 5
 * seconds).
 */
const settlesWithinMs = 10_000;

export interface Ending {
  api: Api;
  asApp: AsApp;
  /** GitHub's. */
  clock: ObservedClock;
}

/** What the calls of one batch learn for each other. */
interface Batch extends Ending {
  signal: AbortSignal;
  /** Whether GitHub knows the App just now; asked once, and only if it matters. */
  knowsTheApp(): Promise<boolean>;
  /** Installations whose budget is spent: GitHub asks that no more be sent. */
  limited: Map<unknown, ProviderError>;
}

export async function revokeTokens(
  ending: Ending,
  due: RevocationTarget[],
  signal: AbortSignal,
): Promise<RevocationOutcome[]> {
  const outcomes: RevocationOutcome[] = [];
  let asking: Promise<boolean> | undefined;
  const knowsTheApp = () => {
    asking ??= ending.asApp((jwt) => ending.api.app(jwt, signal)).then(({ status }) => status === 200);
    return asking;
  };
  const batch: Batch = { ...ending, signal, knowsTheApp, limited: new Map() };
  let next = 0;
  const work = async () => {
    for (let index = next++; index < due.length; index = next++)
      outcomes[index] = await revokeToken(batch, due[index] as RevocationTarget);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, due.length) }, work));
  return outcomes;
}

async function revokeToken(batch: Batch, target: RevocationTarget): Promise<RevocationOutcome> {
  const { api, clock, signal, limited } = batch;
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
  const installation = target.handle?.installation_id;
  const spent = limited.get(installation);
  if (spent !== undefined) return { state: 'failed', error: spent };
  try {
    const answer = await api.deleteToken(target.secret, signal);
    const evidence = {
      method: 'DELETE /installation/token',
      status: answer.status,
      at: clock.ours().toISOString(),
    };
    if (answer.status === 204) return { state: 'revoked', evidence };
    if (answer.status !== 401) {
      const refusal = refusalOf(answer, 'deleting a token', worthRepeating);
      if (isLimited(answer)) limited.set(installation, refusal);
      throw refusal;
    }
    return await afterUnknown(batch, target, target.secret, evidence);
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
 * every DELETE would have killed nothing. So the token is tried; and while its hour is not over, so is the
 * App, because whoever answers 401 to everybody says nothing of the token. Throws ProviderError when it still
 * works, or when the answer says neither.
 */
async function afterUnknown(
  { api, clock, signal, knowsTheApp }: Batch,
  target: RevocationTarget,
  token: string,
  evidence: JsonObject,
): Promise<RevocationOutcome> {
  const tried = await api.listRepositories(token, signal);
  if (tried.status === 200)
    throw new ProviderError('upstream_mismatch', 'GitHub answered 401 to the deletion of a token that still works', {
      retryable: true,
      providerCode: '401',
    });
  if (tried.status !== 401) throw refusalOf(tried, 'trying a token that could not be deleted', worthRepeating);
  const settledAt = target.intentAt.getTime() + settlesWithinMs;
  if (clock.ours().getTime() < settledAt)
    return { state: 'settling', recheckAt: new Date(settledAt), evidence: { ...evidence, meaning: 'unknown_so_far' } };
  const readBack = { tried: probeMethod, tried_status: tried.status, tried_at: clock.ours().toISOString() };
  if (isOver(target, clock))
    return { state: 'revoked', evidence: { ...evidence, ...readBack, meaning: 'its hour is over' } };
  if (!(await knowsTheApp()))
    throw new ProviderError('upstream_unavailable', 'GitHub knows neither the token nor the App: nothing is shown', {
      providerCode: '401',
    });
  return { state: 'revoked', evidence: { ...evidence, ...readBack, meaning: 'already_dead' } };
}

/** The longest that a mint takes after its intent. */
const longestMintMs = 120_000;

/** By GitHub's clock and by ours, whatever end was told: the hour is GitHub's promise. */
function isOver({ providerExpiresAt, intentAt }: RevocationTarget, clock: ObservedClock): boolean {
  const now = Math.min(clock.now().getTime(), clock.ours().getTime());
  const hour = intentAt.getTime() + longestMintMs + tokenLifetimeSeconds * 1000;
  const end = Math.max(providerExpiresAt.getTime(), hour);
  return clock.skewMs() !== null && end + keepAfterEndMs <= now;
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
