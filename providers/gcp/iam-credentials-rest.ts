/** generateAccessToken over plain HTTP: the default transport. */
import type { ObservedClock } from '../answer-date.ts';
import { unreadable } from './errors.ts';
import { callGoogle } from './http.ts';
import { type IamCredentials, mintStep } from './iam-credentials.ts';
import { isToken } from './sts.ts';

export function restIamCredentials(endpoint: string, clock: ObservedClock): IamCredentials {
  return async ({ account, scopes, lifetimeSeconds, reason }, callerToken, signal) => {
    const step = mintStep(account);
    const answer = await callGoogle({
      step,
      // The project must be `-` here; anything else is an invalid argument.
      url: `${endpoint}/v1/projects/-/serviceAccounts/${encodeURIComponent(account)}:generateAccessToken`,
      method: 'POST',
      headers: {
        authorization: `Bearer ${callerToken}`,
        'content-type': 'application/json',
        'x-goog-request-reason': reason,
      },
      body: JSON.stringify({ scope: scopes, lifetime: `${lifetimeSeconds}s` }),
      signal,
      clock,
    });
    const { accessToken, expireTime } = answer;
    const expiresAt = new Date(typeof expireTime === 'string' ? expireTime : Number.NaN);
    if (!isToken(accessToken) || Number.isNaN(expiresAt.getTime())) throw unreadable(step);
    return { token: accessToken, expiresAt };
  };
}
