/** generateAccessToken: what either transport does. */

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
