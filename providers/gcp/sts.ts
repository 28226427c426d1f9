/**
 * Security Token Service: both exchanges, done by ourselves, as a form and without an Authorization header
 * (RFC 8693).
 */
import type { AccessBoundary } from './boundary.ts';
import { unreadable } from './errors.ts';
import { callGoogle } from './http.ts';
import { cloudPlatform } from './params.ts';

const exchangeForm = {
  grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
  requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
};

/**
 * Trades the broker's identity token for a Google token of the workload identity pool. `provider` is its
 * resource name.
 */
export async function federate(
  endpoint: string,
  provider: string,
  identityToken: string,
  signal: AbortSignal,
): Promise<{ token: string; lifetimeSeconds: number }> {
  const step = { doing: 'federating the broker’s identity', mints: false };
  const answer = await callGoogle({
    step,
    url: `${endpoint}/v1/token`,
    method: 'POST',
    body: new URLSearchParams({
      ...exchangeForm,
      audience: `//iam.googleapis.com/${provider}`,
      scope: cloudPlatform,
      subject_token: identityToken,
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    }),
    signal,
  });
  const { access_token: token, expires_in: lifetimeSeconds } = answer;
  if (typeof token !== 'string' || typeof lifetimeSeconds !== 'number') throw unreadable(step);
  return { token, lifetimeSeconds };
}

/** Trades a service account's token for one cut down to `boundary`. The new one ends when its source does. */
export async function downscope(
  endpoint: string,
  sourceToken: string,
  boundary: AccessBoundary,
  signal: AbortSignal,
): Promise<string> {
  const step = { doing: 'applying the access boundary', mints: true };
  const answer = await callGoogle({
    step,
    url: `${endpoint}/v1/token`,
    method: 'POST',
    body: new URLSearchParams({
      ...exchangeForm,
      subject_token: sourceToken,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      options: JSON.stringify(boundary),
    }),
    signal,
  });
  // A service that ignored the boundary would hand the source back: wider than the plan.
  if (typeof answer.access_token !== 'string' || answer.access_token === sourceToken) throw unreadable(step);
  return answer.access_token;
}
