/**
 * The approvers' identity provider: authorization code with PKCE, state and nonce (OpenID Connect Core, RFC
 * 7636, RFC 9700).
 */
import * as oidc from 'openid-client';
import { isLoopback } from '../core/loopback.ts';
import type { Clock } from '../core/vocabulary.ts';
import { type Identity, type IdentityClaims, identityFromClaims } from './identity.ts';

export interface OidcSettings extends IdentityClaims {
  issuer: string;
  clientId: string;
  /** Absent for a public client: PKCE alone then proves that the code is ours. */
  clientSecret?: string;
  /** Where its keys are, when that is another host than the issuer's. */
  jwksUri?: string;
  /**
   * Default `openid profile email`, and a scope named like the groups claim where the provider announces one.
   */
  scope?: string;
  /** Allows an `http:` issuer, on loopback addresses only: for the sandbox. */
  allowInsecureLoopback: boolean;
}

/** What must come back unchanged between leaving for the provider and returning. */
export interface SignInAttempt {
  state: string;
  nonce: string;
  verifier: string;
  returnTo: string;
}

export interface OidcClient {
  begin(returnTo: string): Promise<{ url: URL; attempt: SignInAttempt }>;
  /** @param query the callback's query string as it arrived */
  finish(attempt: SignInAttempt, query: string): Promise<Identity>;
}

/** The provider's keys are where nobody said they may be. */
export class ForeignKeys extends Error {
  override name = 'ForeignKeys';
}

/** @throws ForeignKeys */
function checkKeysHost(issuer: URL, found: string | undefined, allowed: string | undefined): void {
  if (found === undefined || found === allowed || URL.parse(found)?.host === issuer.host) return;
  throw new ForeignKeys(
    `WRIT_OIDC_ISSUER names keys on another host; if that is right, set WRIT_OIDC_JWKS_URI=${found}`,
  );
}

const discoveryLastsMs = 3_600_000;

/**
 * @throws Error when the issuer is neither https nor an allowed loopback address
 */
export function oidcClient(settings: OidcSettings, publicUrl: string, clock: Clock): OidcClient {
  const issuer = new URL(settings.issuer);
  const insecure = issuer.protocol === 'http:';
  if (insecure && !(settings.allowInsecureLoopback && isLoopback(issuer.href))) {
    throw new Error('WRIT_OIDC_ISSUER must be https (http only on loopback, for the sandbox)');
  }
  const redirectUri = new URL('/login/callback', publicUrl).href;

  let known: { configuration: Promise<oidc.Configuration>; until: number } | null = null;
  const configure = (): Promise<oidc.Configuration> => {
    const now = clock.now().getTime();
    if (known !== null && now < known.until) return known.configuration;
    const authentication =
      settings.clientSecret === undefined ? oidc.None() : oidc.ClientSecretBasic(settings.clientSecret);
    const configuration = oidc.discovery(issuer, settings.clientId, undefined, authentication, {
      timeout: 5,
      execute: insecure ? [oidc.allowInsecureRequests] : [],
    });
    const checked = configuration.then((found) => {
      checkKeysHost(issuer, found.serverMetadata().jwks_uri, settings.jwksUri);
      return found;
    });
    const mine = { configuration: checked, until: now + discoveryLastsMs };
    known = mine;
    // An outage at this moment must not be remembered for an hour.
    checked.catch(() => {
      if (known === mine) known = null;
    });
    return checked;
  };

  return {
    begin: async (returnTo) => {
      const configuration = await configure();
      const attempt = {
        state: oidc.randomState(),
        nonce: oidc.randomNonce(),
        verifier: oidc.randomPKCECodeVerifier(),
        returnTo,
      };
      const url = oidc.buildAuthorizationUrl(configuration, {
        redirect_uri: redirectUri,
        scope: settings.scope ?? defaultScope(configuration, settings.groupsClaim),
        state: attempt.state,
        nonce: attempt.nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(attempt.verifier),
        code_challenge_method: 'S256',
      });
      return { url, attempt };
    },

    finish: async (attempt, query) => {
      const configuration = await configure();
      const returned = new URL(redirectUri);
      returned.search = query;
      const tokens = await oidc.authorizationCodeGrant(configuration, returned, {
        expectedState: attempt.state,
        expectedNonce: attempt.nonce,
        pkceCodeVerifier: attempt.verifier,
        idTokenExpected: true,
      });
      const claims = tokens.claims();
      if (claims === undefined) throw new Error('the provider sent no id token');
      // Many providers put e-mail and groups into userinfo only. What the signed token says wins.
      const more =
        configuration.serverMetadata().userinfo_endpoint === undefined
          ? {}
          : await oidc.fetchUserInfo(configuration, tokens.access_token, claims.sub);
      return identityFromClaims({ ...more, ...claims }, settings);
    },
  };
}

/**
 * Asking for a scope that a provider does not know is an error at many of them; not asking where it is needed
 * leaves the person without groups.
 */
function defaultScope(configuration: oidc.Configuration, groupsClaim: string): string {
  const announced = configuration.serverMetadata().scopes_supported ?? [];
  return ['openid', 'profile', 'email', ...(announced.includes(groupsClaim) ? [groupsClaim] : [])].join(' ');
}
