/**
 * Security Token Service: both exchanges, done by ourselves, as a form and without an Authorization header
 * (RFC 8693).
 */
import type { ObservedClock } from '../answer-date.ts';
import type { AccessBoundary } from './boundary.ts';
import { unreadable } from './errors.ts';
import { callGoogle } from './http.ts';
import { cloudPlatform } from './params.ts';

const exchangeForm = {
  grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
  requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
};

/**
 * Trades the broker's identity token for a Google token of the workload identity pool. `audience`: the
 * provider's full name.
 */
export async function federate(
  endpoint: string,
  audience: string,
  identityToken: string,
  clock: ObservedClock,
  signal: AbortSignal,
): Promise<{ token: string; lifetimeSeconds: number }> {
  const step = { doing: 'federating the broker’s identity', mints: false };
  const answer = await callGoogle({
    step,
    url: `${endpoint}/v1/token`,
    method: 'POST',
    body: new URLSearchParams({
      ...exchangeForm,
      audience,
      scope: cloudPlatform,
      subject_token: identityToken,
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    }),
    signal,
    clock,
  });
  const { access_token: token, expires_in: lifetimeSeconds } = answer;
  if (!isToken(token) || typeof lifetimeSeconds !== 'number' || !(lifetimeSeconds > 0 && lifetimeSeconds <= longest))
    throw unreadable(step);
  return { token, lifetimeSeconds };
}

/** Trades a service account's token for one cut down to `boundary`. The new one ends when its source does. */
export async function downscope(
  endpoint: string,
  sourceToken: string,
  boundary: AccessBoundary,
  sourceExpiresAt: Date,
  clock: ObservedClock,
  signal: AbortSignal,
): Promise<{ token: string; expiresAt: Date }> {
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
    clock,
  });
  const { access_token: token, expires_in: seconds, token_type: type } = answer;
  // A service that ignored the boundary would hand the source back: wider than the plan.
  if (!isToken(token) || token === sourceToken) throw unreadable(step);
  if (type !== undefined && String(type).toLowerCase() !== 'bearer') throw unreadable(step);
  // It may say nothing of the end, which is then the source's.
  if (seconds === undefined) return { token, expiresAt: sourceExpiresAt };
  const expiresAt = new Date(clock.now().getTime() + Number(seconds) * 1000);
  if (typeof seconds !== 'number' || !(seconds > 0)) throw unreadable(step, 'ended in the past');
  if (expiresAt.getTime() > sourceExpiresAt.getTime() + toleranceMs)
    throw unreadable(step, 'lives longer than its source');
  return { token, expiresAt: expiresAt < sourceExpiresAt ? expiresAt : sourceExpiresAt };
}

/** Google counts whole seconds, and its answer took a while. */
const toleranceMs = 60_000;

/** Twelve hours: the longest that Google gives anything. */
const longest = 43_200;

/** Opaque, but it must fit into a header. */
export const isToken = (value: unknown): value is string =>
  typeof value === 'string' && /^[\x21-\x7e]{8,16384}$/.test(value);
