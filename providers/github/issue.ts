/** Mints one installation token, cut down to a plan. */
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { ObservedClock } from '../answer-date.ts';
import { type IssueContext, type Issued, type Minted, ProviderError } from '../contract.ts';
import type { Api, ApiAnswer } from './api.ts';
import type { AsApp } from './as-app.ts';
import type { githubCredential } from './credential.ts';
import { beyondPlan } from './echo.ts';
import { refusalOf } from './errors.ts';
import type { Installations } from './installation.ts';
import { type GithubPermission, permissionOf, tokenLifetimeSeconds } from './plan.ts';

export interface Minting {
  api: Api;
  apiUrl: string;
  asApp: AsApp;
  installations: Installations;
  clock: ObservedClock;
}

/** GitHub rounds to whole seconds, and its servers' clocks are not one. */
const toleranceMs = 60_000;

export async function issueToken(minting: Minting, { plan, signal }: IssueContext): Promise<Issued> {
  const { api, apiUrl, clock } = minting;
  const permission = permissionOf(plan);

  // 1. and 2. Mint, on the owner's installation. Nothing can have been minted when the look-up fails.
  const askedAt = clock.ours().getTime();
  const { answer, installationId } = await mint(minting, permission, signal);

  // 3. Believe only an answer within the plan; anything else is ended before anybody sees it.
  const { token, expires_at } = (answer.body ?? {}) as { token?: unknown; expires_at?: unknown };
  if (!isToken(token))
    throw new ProviderError('upstream_mismatch', 'GitHub’s answer holds no token', { mayHaveMinted: true });
  const handle = {
    installation_id: installationId,
    // The form in which GitHub's audit log names tokens ("hashed_token"), so that uses can be traced to
    // this lease.
    hashed_token: createHash('sha256').update(token).digest('base64'),
  };
  const tokenEndsAt = typeof expires_at === 'string' ? new Date(expires_at) : new Date(Number.NaN);
  const latest = new Date(clock.now().getTime() + tokenLifetimeSeconds * 1000 + toleranceMs);
  const mismatch = lifetimeFault(tokenEndsAt, clock.now(), latest) ?? beyondPlan(answer.body, permission);
  if (mismatch !== null) {
    // Whatever it says of its end, GitHub gives no token longer than its hour.
    throw await afterDeleting(api, mismatch, { handle, secret: token, providerExpiresAt: latest }, signal);
  }

  // 4. The lease ends with the plan, GitHub's token within its hour.
  const tokenEndsByOurs = tokenEndsAt.getTime() - (clock.skewMs() ?? 0);
  const expiresAt = new Date(Math.min(askedAt + plan.ttl_seconds * 1000, tokenEndsByOurs));
  return {
    credential: {
      type: 'github',
      token,
      api_url: apiUrl,
      expires_at: expiresAt.toISOString(),
    } satisfies z.input<typeof githubCredential>,
    expiresAt,
    providerExpiresAt: tokenEndsAt,
    handle,
    secret: token,
  };
}

/**
 * Mints, and once more on an installation looked up anew when the remembered one is not there: the App may
 * have been installed again since. A 404 minted nothing.
 */
export async function mint(
  { api, asApp, installations }: Minting,
  permission: GithubPermission,
  signal: AbortSignal,
): Promise<{ answer: ApiAnswer; installationId: number }> {
  const { repositories, permissions } = permission;
  for (;;) {
    const { id, remembered } = await installations.find(permission, signal);
    // Left out, a field means everything the App was given: repositories are where the plan says so.
    const wanted = { installation_id: id, permissions, ...(repositories === 'all' ? {} : { repositories }) };
    const answer = await asApp((jwt) => api.mint(jwt, wanted, signal));
    if (answer.status >= 200 && answer.status <= 299) return { answer, installationId: id };
    if (answer.status === 404) installations.forget(permission);
    if (answer.status !== 404 || !remembered) throw refusalOf(answer, 'minting a token', { minting: true });
  }
}

/** Null when the token's end can be what GitHub promises: ahead, and within its hour. */
function lifetimeFault(endsAt: Date, now: Date, latest: Date): string | null {
  if (Number.isNaN(endsAt.getTime())) return 'the answer does not say when the token ends';
  if (endsAt <= now) return 'the token ends in the past';
  return endsAt > latest ? 'the token lives longer than GitHub’s hour' : null;
}

/** Deletes what came. When GitHub does not confirm that, the broker gets what it needs to go on trying. */
async function afterDeleting(api: Api, mismatch: string, minted: Minted, signal: AbortSignal): Promise<ProviderError> {
  const ended = await api.deleteToken(String(minted.secret), signal).then(
    ({ status }) => status === 204,
    () => false,
  );
  const fate = ended ? 'it was revoked' : 'it is being revoked';
  return new ProviderError('upstream_mismatch', `Not the plan: ${mismatch}; ${fate}`, {
    mayHaveMinted: !ended,
    ...(ended ? {} : { minted }),
  });
}

/** Opaque (40 characters or 520, and GitHub may change it again), but it must fit into a header. */
export const isToken = (value: unknown): value is string =>
  typeof value === 'string' && /^[\x21-\x7e]{20,4096}$/.test(value);
