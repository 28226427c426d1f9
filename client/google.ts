/** Grants for Google's clients. */
import type { GcpCredential } from './credentials.ts';
import { WritError } from './errors.ts';
import type { Grant } from './grant.ts';

type Tokens = { access_token: string; expiry_date: number; token_type: 'Bearer' };

/**
 * What is used of google-auth-library's OAuth2Client, whichever version the caller's Google client was built
 * with.
 */
export interface OAuth2ClientLike {
  setCredentials(tokens: Tokens): void;
  eagerRefreshThresholdMillis: number;
  refreshHandler?: unknown;
}

/**
 * An `authClient` for Google's clients, of the caller's own OAuth2Client class: hand in the one that the
 * Google client brings (`google-auth-library`), since two versions of it do not mix.
 *
 * @param source a grant, or `renewing(session, capability, params, { type: 'gcp' })`, which is asked again
 *   when the token is about to expire
 * @throws WritError `wrong_credential`
 * @example
 * import { OAuth2Client } from 'google-auth-library';
 * const authClient = await googleAuthClient(grant, { OAuth2Client });
 * const storage = new Storage({ authClient, projectId: 'demo-project' });
 */
export async function googleAuthClient<C extends OAuth2ClientLike>(
  source: Grant | (() => Promise<Grant>),
  { OAuth2Client }: { OAuth2Client: new () => C },
): Promise<C> {
  const current = typeof source === 'function' ? source : async () => source;
  const tokens = async () => tokensOf(await current());
  const client = new OAuth2Client();
  client.setCredentials(await tokens());
  // Its default is to renew five minutes early, which is the whole life of a short grant. `renewing` keeps a
  // margin of its own.
  client.eagerRefreshThresholdMillis = typeof source === 'function' ? 30_000 : 0;
  if (typeof source === 'function') client.refreshHandler = tokens;
  return client;
}

function tokensOf(grant: Grant): Tokens {
  const { accessToken, expiresAt } = gcpOf(grant);
  return { access_token: accessToken, expiry_date: expiresAt.getTime(), token_type: 'Bearer' };
}

function gcpOf({ credential, id }: Grant): GcpCredential {
  if (credential.type === 'gcp') return credential;
  throw new WritError('wrong_credential', `The grant is for ${credential.type}, not for Google Cloud`, { grantId: id });
}
