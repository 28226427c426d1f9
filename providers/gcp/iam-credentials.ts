/** generateAccessToken: what either transport does. */
import { unreadable } from './errors.ts';

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

/** What comes back must be a token of the account: never the one that the broker itself came with. */
export const neverOurOwn =
  (generate: IamCredentials): IamCredentials =>
  async (request, callerToken, signal) => {
    const made = await generate(request, callerToken, signal);
    if (made.token === callerToken) throw unreadable(mintStep(request.account), 'was the broker’s own token');
    return made;
  };
