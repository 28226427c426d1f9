/** generateAccessToken: the call behind either transport, and its REST form. */
import { unreadable } from './errors.ts';
import { callGoogle } from './http.ts';
import type { GcpSettings } from './settings.ts';

export interface GenerateAccessToken {
  account: string;
  scopes: string[];
  lifetimeSeconds: number;
  /** Shows up in Google's audit logs (system parameter X-Goog-Request-Reason). */
  reason: string;
}

export interface GeneratedToken {
  token: string;
  expiresAt: Date;
}

/** Mints one access token as `callerToken`'s holder. @throws ProviderError */
export type IamCredentials = (
  request: GenerateAccessToken,
  callerToken: string,
  signal: AbortSignal,
) => Promise<GeneratedToken>;

/** Refusals are worded for the operator: the account is no secret. */
export const mintStep = (account: string) => ({ doing: `minting a token of ${account}`, mints: true });

export function iamCredentialsFor(config: GcpSettings): IamCredentials {
  const endpoint = config.WRIT_GCP_IAM_CREDENTIALS_ENDPOINT;
  if (config.WRIT_GCP_TRANSPORT === 'rest') return restIamCredentials(endpoint);
  // Loaded at the first mint, because google-gax is heavy and most installations use REST.
  let grpc: Promise<IamCredentials> | undefined;
  return async (request, callerToken, signal) => {
    grpc ??= import('./iam-credentials-grpc.ts').then((module) => module.grpcIamCredentials(endpoint));
    return (await grpc)(request, callerToken, signal);
  };
}

function restIamCredentials(endpoint: string): IamCredentials {
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
    });
    const { accessToken, expireTime } = answer;
    const expiresAt = new Date(typeof expireTime === 'string' ? expireTime : Number.NaN);
    if (typeof accessToken !== 'string' || Number.isNaN(expiresAt.getTime())) throw unreadable(step);
    return { token: accessToken, expiresAt };
  };
}
