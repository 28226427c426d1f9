/** Mints one installation token, cut down to a plan. */
import { createHash } from 'node:crypto';
import { type Clock, type IssueContext, type Issued, ProviderError } from '../contract.ts';
import type { Api } from './api.ts';
import { beyondPlan } from './echo.ts';
import { refusalOf } from './errors.ts';
import type { Installations } from './installation.ts';
import { permissionOf } from './plan.ts';

export interface Minting {
  api: Api;
  apiUrl: string;
  appJwt: () => string;
  installations: Installations;
  clock: Clock;
}

export async function issueToken(minting: Minting, { plan, signal }: IssueContext): Promise<Issued> {
  const { api, apiUrl, appJwt, installations, clock } = minting;
  const permission = permissionOf(plan);

  // 1. Which installation; nothing can have been minted when this fails.
  const installationId = await installations.idFor(permission, signal);

  // 2. Mint. Both fields always: left out, either means everything the App was given.
  const askedAt = clock.now().getTime();
  const { repositories, permissions } = permission;
  const answer = await api.mint(appJwt(), { installation_id: installationId, repositories, permissions }, signal);
  if (answer.status === 404) installations.forget(permission);
  if (answer.status < 200 || answer.status > 299) throw refusalOf(answer, 'minting a token', true);

  // 3. Believe only an answer within the plan; what is wider is ended before anybody sees it.
  const { token, expires_at } = (answer.body ?? {}) as { token?: unknown; expires_at?: unknown };
  if (!isToken(token))
    throw new ProviderError('upstream_mismatch', 'GitHub’s answer holds no token', { mayHaveMinted: true });
  const tokenEndsAt = typeof expires_at === 'string' ? new Date(expires_at) : new Date(Number.NaN);
  const fault = Number.isNaN(tokenEndsAt.getTime()) ? 'the answer does not say when the token ends' : null;
  const mismatch = fault ?? beyondPlan(answer.body, permission);
  if (mismatch !== null) {
    const ended = await api.deleteToken(token, signal).then(
      ({ status }) => status === 204,
      () => false,
    );
    const fate = ended ? 'it was revoked' : 'it could not be revoked';
    throw new ProviderError('upstream_mismatch', `Not the plan: ${mismatch}; ${fate}`, { mayHaveMinted: !ended });
  }

  // 4. The lease ends with the plan, GitHub's token within its hour.
  const expiresAt = new Date(Math.min(askedAt + plan.ttl_seconds * 1000, tokenEndsAt.getTime()));
  return {
    credential: { type: 'github', token, api_url: apiUrl, expires_at: expiresAt.toISOString() },
    expiresAt,
    providerExpiresAt: tokenEndsAt,
    handle: {
      installation_id: installationId,
      // The form in which GitHub's audit log names tokens ("hashed_token"), so that uses can be traced to
      // this lease.
      hashed_token: createHash('sha256').update(token).digest('base64'),
    },
    secret: token,
  };
}

/** Opaque (40 characters or 520, and GitHub may change it again), but it must fit into a header. */
const isToken = (value: unknown): value is string => typeof value === 'string' && /^[\x21-\x7e]{20,4096}$/.test(value);
