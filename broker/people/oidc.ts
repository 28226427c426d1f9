/**
 * The approvers' identity provider: authorization code with PKCE, state and nonce (OpenID Connect Core, RFC
 * 7636, RFC 9700).
 */
import * as oidc from 'openid-client';
import { claimAt } from '../core/claims.ts';
import { isLoopback } from '../core/loopback.ts';
import { retryAfterSeconds } from '../core/retry-after.ts';
import type { Clock, Finding } from '../core/vocabulary.ts';
import { type ClientKey, clientAuthentication } from './client-authentication.ts';
import { GroupsNotDelivered, type Identity, type IdentityClaims, identityFromClaims } from './identity.ts';
import { probeClient } from './probe-client.ts';

export interface OidcSettings extends IdentityClaims {
  issuer: string;
  clientId: string;
  /** Absent for a public client: PKCE alone then proves that the code is ours. */
  clientSecret?: string;
  /** Proves the client in place of a secret (`private_key_jwt`). */
  clientKey?: ClientKey;
  /** Where its keys are, when that is another host than the issuer's. */
  jwksUri?: string;
  /**
   * Default `openid profile email`, and a scope named like the groups claim where the provider announces one.
   */
  scope?: string;
  /** Push the request to the provider (PAR, RFC 9126), also where it does not require that of everybody. */
  push?: boolean;
  /** Allows an `http:` issuer, on loopback addresses only: for the sandbox. */
  allowInsecureLoopback: boolean;
}

/** What must come back unchanged between leaving for the provider and returning. */
export interface SignInAttempt {
  state: string;
  nonce: string;
  verifier: string;
  returnTo: string;
  /** The person is to sign in anew, whoever the provider still knows. */
  fresh: boolean;
}

/** What the provider can be asked again with. Secret. */
export interface Renewal {
  accessToken: string;
  refreshToken?: string | undefined;
}

export interface SignedInPerson {
  identity: Identity;
  /** Null when nothing would say the same again: no refresh token, no such userinfo. */
  renewal: Renewal | null;
}

export interface OidcClient {
  /** @param fresh has the person sign in anew */
  begin(returnTo: string, fresh?: boolean): Promise<{ url: URL; attempt: SignInAttempt }>;
  /** Whether the provider answers, found out within the last few seconds. */
  answers(): Promise<boolean>;
  /** Whether it is there, and takes us for the client that we say we are. Never throws. */
  diagnose(): Promise<Finding[]>;
  /**
   * @param query the callback's query string as it arrived
   * @throws GroupsNotDelivered; anything else when the provider did not confirm the person
   */
  finish(attempt: SignInAttempt, query: string): Promise<SignedInPerson>;
  /**
   * Asks again who a person is and which groups they are in.
   * @returns null when the provider does not confirm as much as it did at sign-in
   * @throws Error when it cannot be asked
   */
  renew(person: SignedInPerson & { renewal: Renewal }): Promise<SignedInPerson | null>;
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
/** Whoever asks at the door must not have us ask the provider each time. */
const answerLastsMs = 5_000;

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
  const discover = () =>
    oidc.discovery(
      issuer,
      settings.clientId,
      undefined,
      clientAuthentication({ secret: settings.clientSecret, key: settings.clientKey }),
      { timeout: 5, execute: insecure ? [oidc.allowInsecureRequests] : [] },
    );
  let asked: { answer: Promise<boolean>; until: number } | null = null;
  const configure = (): Promise<oidc.Configuration> => {
    const now = clock.now().getTime();
    if (known !== null && now < known.until) return known.configuration;
    const configuration = discover();
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
    answers: () => {
      const now = clock.now().getTime();
      if (asked === null || now >= asked.until) {
        const answer = discover().then(
          () => true,
          () => false,
        );
        asked = { answer, until: now + answerLastsMs };
      }
      return asked.answer;
    },

    diagnose: async () => {
      const there = `the identity provider ${settings.issuer} is there`;
      const takes = `it knows the client ${settings.clientId} by its ${credentialOf(settings)}`;
      let configuration: oidc.Configuration;
      try {
        configuration = await discover();
        checkKeysHost(issuer, configuration.serverMetadata().jwks_uri, settings.jwksUri);
      } catch (error) {
        const found =
          error instanceof ForeignKeys ? error.message : `its discovery document was not had${causeOf(error)}`;
        const fix = 'Set WRIT_OIDC_ISSUER to the issuer to the letter, and see that this machine reaches it.';
        return [{ what: there, state: 'fails', found, fix }];
      }
      const holds: Finding = { what: there, state: 'holds' };
      if (settings.clientSecret === undefined && settings.clientKey === undefined)
        return [holds, { what: takes, state: 'unknown', found: 'a public client has none: PKCE alone protects it' }];
      try {
        const { client, said } = await probeClient(configuration, redirectUri);
        if (client === 'taken') return [holds, { what: takes, state: 'holds' }];
        if (client === 'unclear')
          return [holds, { what: takes, state: 'unknown', found: `it answered ${said}, which may mean anything` }];
        return [holds, { what: takes, state: 'fails', found: `it answered ${said}`, fix: wrongClient }];
      } catch (error) {
        return [holds, { what: takes, state: 'unknown', found: `it did not answer${causeOf(error)}` }];
      }
    },

    begin: async (returnTo, fresh = false) => {
      const configuration = await configure();
      const attempt = {
        state: oidc.randomState(),
        nonce: oidc.randomNonce(),
        verifier: oidc.randomPKCECodeVerifier(),
        returnTo,
        fresh,
      };
      const push = settings.push === true || mustPush(configuration);
      const build = push ? oidc.buildAuthorizationUrlWithPAR : oidc.buildAuthorizationUrl;
      const url = await build(configuration, {
        redirect_uri: redirectUri,
        scope: settings.scope ?? defaultScope(configuration, settings.groupsClaim),
        state: attempt.state,
        nonce: attempt.nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(attempt.verifier),
        code_challenge_method: 'S256',
        ...(fresh ? { prompt: 'login', max_age: '0' } : {}),
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
      if (attempt.fresh && !isFresh(claims.auth_time, clock)) throw new Error('the person did not sign in anew');
      // Many providers put e-mail and groups into userinfo only. What the signed token says wins.
      const more =
        configuration.serverMetadata().userinfo_endpoint === undefined
          ? {}
          : await oidc.fetchUserInfo(configuration, tokens.access_token, claims.sub);
      const identity = identityFromClaims(claims, settings, more);
      const renewal = { accessToken: tokens.access_token, refreshToken: tokens.refresh_token };
      return { identity, renewal: canRenew(configuration, settings, identity, more, renewal) ? renewal : null };
    },

    renew: async ({ identity, renewal }) => {
      const configuration = await configure();
      try {
        const tokens =
          renewal.refreshToken === undefined ? null : await oidc.refreshTokenGrant(configuration, renewal.refreshToken);
        const claims = tokens?.claims() ?? {};
        if ('sub' in claims && claims.sub !== identity.subject) return null;
        const accessToken = tokens?.access_token ?? renewal.accessToken;
        const more = hasUserInfo(configuration)
          ? await oidc.fetchUserInfo(configuration, accessToken, identity.subject)
          : {};
        const signed = { ...claims, iss: identity.issuer, sub: identity.subject };
        const now = identityFromClaims(signed, settings, more);
        const refreshToken = tokens?.refresh_token ?? renewal.refreshToken;
        return saysAsMuch(now, identity) ? { identity: now, renewal: { accessToken, refreshToken } } : null;
      } catch (error) {
        if (isRefusal(error) || error instanceof GroupsNotDelivered) return null;
        throw error;
      }
    },
  };
}

const wrongClient =
  'Set WRIT_OIDC_CLIENT_ID and WRIT_OIDC_CLIENT_SECRET (or WRIT_OIDC_CLIENT_KEY_FILE) to what the provider has for this client, and allow it the authorization code grant.';

const credentialOf = ({ clientKey }: OidcSettings): string => (clientKey === undefined ? 'secret' : 'key');

/** The code of the network's or the library's error, which says more than its text and quotes nothing. */
function causeOf(error: unknown): string {
  for (let found = error as { code?: unknown; cause?: unknown } | undefined; found; found = found.cause as typeof found)
    if (typeof found.code === 'string' && /^[A-Z][A-Z0-9_]{2,60}$/.test(found.code)) return ` (${found.code})`;
  return '';
}

/**
 * The provider was told to have the person sign in anew. Some never say when that was: they are taken at
 * their word, as in everything else.
 */
function isFresh(authTime: number | undefined, clock: Clock): boolean {
  return authTime === undefined || clock.now().getTime() / 1000 - authTime <= freshSignInSeconds;
}

/** Time for the way back, and for clocks that differ. */
const freshSignInSeconds = 300;

const mustPush = (configuration: oidc.Configuration) =>
  configuration.serverMetadata().require_pushed_authorization_requests === true;

const hasUserInfo = (configuration: oidc.Configuration) =>
  configuration.serverMetadata().userinfo_endpoint !== undefined;

/** Whether asking again can say which groups the person is in. */
function canRenew(
  configuration: oidc.Configuration,
  settings: IdentityClaims,
  identity: Identity,
  userInfo: object,
  renewal: Renewal,
): boolean {
  if (renewal.refreshToken !== undefined) return true;
  if (!hasUserInfo(configuration)) return false;
  // Some send the groups in the ID token only: their userinfo can never say that somebody left one.
  return identity.groupsUnknown === true || claimAt(userInfo, settings.groupsClaim) !== undefined;
}

/** What is not said again is not confirmed: it must neither stay as it was nor be read as none. */
function saysAsMuch(now: Identity, before: Identity): boolean {
  return (
    (before.groupsUnknown === true || now.groupsUnknown !== true) &&
    (before.email === undefined || now.email !== undefined) &&
    before.aliases.every(({ kind }) => now.aliases.some((alias) => alias.kind === kind))
  );
}

/** What could not be done just now, and says nothing of the person (RFC 6749 section 4.1.2.1, RFC 8628). */
const passing = new Set<unknown>(['server_error', 'temporarily_unavailable', 'slow_down']);

/**
 * The provider said no, as opposed to not answering or failing: a 4xx in a form that providers have, as a
 * gateway's page in front of it has not; or the answer is about another person.
 */
function isRefusal(error: unknown): boolean {
  const chain = causesOf(error);
  if (chain.some(({ code }) => code === 'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED')) return true;
  const answer = answerIn(chain);
  if (answer === null || chain.some(({ error: said }) => passing.has(said))) return false;
  const { status, headers } = answer;
  if (status < 400 || status > 499 || [408, 425, 429].includes(status)) return false;
  const isJson = /^application\/(?:[\w.-]+\+)?json\b/i.test(headers.get('content-type') ?? '');
  return status === 401 || isJson || headers.has('www-authenticate');
}

/** How long the provider wants to be left alone; undefined when it did not say. */
export function waitAskedFor(error: unknown): number | undefined {
  const headers = answerIn(causesOf(error))?.headers;
  return retryAfterSeconds({ after: headers?.get('retry-after'), date: headers?.get('date') });
}

type Caused = (Error | Response) & { code?: unknown; error?: unknown; cause?: unknown; response?: unknown };

/** The library's error and what it was made of, which may be the answer itself. */
function causesOf(error: unknown): Caused[] {
  const chain: Caused[] = [];
  for (let found = error as Caused | undefined; found instanceof Error || found instanceof Response; ) {
    chain.push(found);
    found = found.cause as Caused | undefined;
  }
  return chain;
}

function answerIn(chain: readonly Caused[]): Response | null {
  for (const found of chain) {
    if (found instanceof Response) return found;
    if (found.response instanceof Response) return found.response;
  }
  return null;
}

/**
 * Asking for a scope that a provider does not know is an error at many of them; not asking where it is needed
 * leaves the person without groups.
 */
function defaultScope(configuration: oidc.Configuration, groupsClaim: string): string {
  const announced = configuration.serverMetadata().scopes_supported ?? [];
  return ['openid', 'profile', 'email', ...(announced.includes(groupsClaim) ? [groupsClaim] : [])].join(' ');
}
