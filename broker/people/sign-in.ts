/**
 * Signing people in and out. Nothing is stored until the identity provider has spoken: the attempt itself
 * travels in an encrypted cookie, one for each tab that is on its way.
 */
import { createHash, randomBytes } from 'node:crypto';
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { EncryptJWT, type JWTPayload, jwtDecrypt } from 'jose';
import { AuthorizationResponseError, ResponseBodyError, WWWAuthenticateChallengeError } from 'openid-client';
import { h } from 'preact';
import { pageErrors, type WebLog } from '../console/page-errors.ts';
import { answerScript } from '../console/passkeys.ts';
import { passkeyFields } from '../console/passkeys-page.ts';
import { guardHeaders, notice, sendPage } from '../console/shell.ts';
import { WritError } from '../core/errors.ts';
import { GroupsNotDelivered, UnreadableClaim } from './identity.ts';
import {
  checkCsrf,
  closeLogin,
  type LoginDeps,
  loadLogin,
  localReturn,
  openLogin,
  openPasskeyLogin,
  readCookie,
  setCookie,
  signInCookies,
} from './login.ts';
import { ForeignKeys, type OidcClient, type SignedInPerson, type SignInAttempt } from './oidc.ts';
import { readAssertion } from './passkeys/assertion.ts';
import { type PasskeyDeps, relyingParty } from './passkeys/relying-party.ts';
import { beginSignIn, finishSignIn } from './passkeys/sign-in.ts';
import { isSameOrigin } from './same-origin.ts';

export interface SignInDeps extends LoginDeps, PasskeyDeps {
  provider: OidcClient;
  /** How long ago the provider may have confirmed whoever signs in with a passkey; 0 = nobody does. */
  passkeySignInSeconds: number;
  /**
   * 32 bytes: encrypts the sign-in attempt's cookie (A256GCM). The same on every process that serves the
   * console.
   */
  cookieKey: Uint8Array;
  log: WebLog;
  requestId: (req: Request, res: Response) => string;
  /** Puts a sign-in that failed on the record. */
  noteRefusal?: (req: Request, res: Response, error: WritError) => Promise<void>;
}

const attemptSeconds = 600;
/** Tabs in which somebody may be on the way at once: each has a cookie, and headers have a limit. */
const mostAttempts = 5;

const attemptCookie = (state: string) =>
  `writ_signin_${createHash('sha256').update(state).digest('base64url').slice(0, 12)}` as const;

const groupsText =
  'Your identity provider did not send your groups, only a pointer to them, as it does for somebody in very many. Without them nobody knows which teams you are in, so you are not let in as somebody who is in none. An admin can have it send only the groups that matter here (Entra: groups assigned to the application), or name another claim in WRIT_OIDC_GROUPS_CLAIM (app roles, say).';

/** `GET /login`, `GET /login/callback`, `/login/passkey`, `POST /logout`. */
export function signInRouter(deps: SignInDeps): Router {
  const { provider } = deps;
  const router = express.Router({ caseSensitive: true, strict: true });

  router.get('/login', async (req, res) => {
    const returnTo = localReturn(req.query.return_to);
    const begun = await provider.begin(returnTo, req.query.fresh === '1').catch((cause) => {
      deps.log.error(
        { ...failure(cause), request_id: deps.requestId(req, res) },
        'the identity provider cannot be reached',
      );
      return { failed: cause as unknown };
    });
    // It answered, so that a passkey does not stand in for it.
    if ('failed' in begun && hasAnswered(begun.failed)) return sendFailure(res, 502, whyNot(begun.failed), returnTo);
    if ('failed' in begun)
      return sendFailure(
        res,
        503,
        'Your identity provider does not answer. Try again in a moment, or sign in with a passkey that you have here.',
        returnTo,
        passkeysHere(deps),
      );
    const others = signInCookies(deps, req);
    for (const name of others.slice(0, Math.max(0, others.length - mostAttempts + 1)))
      setCookie(deps, res, name, '', 0);
    setCookie(deps, res, attemptCookie(begun.attempt.state), await sealAttempt(deps, begun.attempt), attemptSeconds);
    guardHeaders(res);
    res.redirect(303, begun.url.href);
  });

  router.get('/login/callback', async (req, res) => {
    const cookie = attemptCookie(String(req.query.state ?? ''));
    const attempt = await unsealAttempt(deps, readCookie(deps, req, cookie));
    // Delete the attempt's cookie first: an attempt allows one callback, also when it fails.
    setCookie(deps, res, cookie, '', 0);
    if (attempt === null) {
      await deps.noteRefusal?.(req, res, new WritError('bad_request'));
      return sendFailure(res, 400, 'This sign-in is unknown or too old, or it was used before.', '/');
    }
    const query = new URL(req.originalUrl, deps.publicUrl).search;
    let person: SignedInPerson;
    try {
      person = await provider.finish(attempt, query);
    } catch (cause) {
      deps.log.warn({ ...failure(cause), request_id: deps.requestId(req, res) }, 'a sign-in failed');
      await deps.noteRefusal?.(req, res, new WritError('unauthenticated'));
      if (cause instanceof GroupsNotDelivered) return sendFailure(res, 403, groupsText, attempt.returnTo);
      return sendFailure(res, 400, whyNot(cause), attempt.returnTo);
    }
    await openLogin(deps, res, person, deps.requestId(req, res), attempt.fresh ? 'fresh_oidc' : 'oidc');
    guardHeaders(res);
    res.redirect(303, attempt.returnTo);
  });

  mountPasskeySignIn(router, deps);

  router.post('/logout', express.urlencoded({ extended: false, limit: '4kb', parameterLimit: 5 }), async (req, res) => {
    const login = await loadLogin(deps, req);
    if (login !== null) {
      checkCsrf(deps, req, login, req.body?.csrf);
      await closeLogin(deps, req, res, deps.requestId(req, res));
    }
    const body = notice(
      'You are signed out',
      'Your identity provider may still know you; sign out there too on a machine that is not yours.',
      {
        href: '/login',
        label: 'Sign in again',
      },
    );
    sendPage(res, { title: 'Signed out', viewer: null, body });
  });

  router.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors(deps, error, req, res, next),
  );
  return router;
}

/** Of what the provider itself said, its code and its words; they are shown as text. */
function whyNot(cause: unknown): string {
  if (cause instanceof UnreadableClaim)
    return `Your identity provider sent a name that cannot be kept: the claim ${cause.claim} has characters that nobody can read. An admin can correct it there.`;
  if (cause instanceof ForeignKeys)
    return 'Your identity provider names keys on another host than its own. An admin finds in the log what to set.';
  const words = wordsOf(cause)
    .map((text) => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 200))
    .filter((text) => text !== '');
  return `Your identity provider did not confirm who you are.${words.length === 0 ? '' : ` It says: ${words.join(' – ')}`}`;
}

/** What the provider answered to the browser, or to the broker: to a pushed request, or for the code. */
function wordsOf(cause: unknown): string[] {
  if (cause instanceof AuthorizationResponseError || cause instanceof ResponseBodyError)
    return [cause.error, cause.error_description ?? ''];
  // A client that it does not know by what the broker sent (RFC 6749 section 5.2).
  if (cause instanceof WWWAuthenticateChallengeError) {
    const { error, error_description: described } = cause.cause[0]?.parameters ?? {};
    return [error ?? `HTTP ${cause.status}`, described ?? ''];
  }
  return [];
}

const hasAnswered = (cause: unknown) => cause instanceof ForeignKeys || wordsOf(cause).length > 0;

/**
 * The library's own error may carry the code or the token response along; only names and codes, its own and
 * those of what caused it, are fit for a log.
 */
function failure(error: unknown): { error: string; code: string | null; say?: string } {
  if (error instanceof ForeignKeys) return { error: error.name, code: null, say: error.message };
  const { name, code, cause } = error as { name?: unknown; code?: unknown; cause?: unknown };
  if (typeof code !== 'string' && cause instanceof Error) return failure(cause);
  return { error: typeof name === 'string' ? name : 'unknown', code: typeof code === 'string' ? code : null };
}

function sendFailure(res: Response, status: number, text: string, returnTo: string, passkeys = false): void {
  const to = encodeURIComponent(returnTo);
  const again = { href: `/login?return_to=${to}`, label: 'Sign in again' };
  const body = h('div', null, [
    notice('You are not signed in', text, again),
    passkeys
      ? h(
          'section',
          { class: 'notice' },
          h('p', null, h('a', { class: 'button', href: `/login/passkey?return_to=${to}` }, 'Sign in with a passkey')),
        )
      : null,
  ]);
  sendPage(res, { title: 'Not signed in', viewer: null, status, body });
}

const passkeysHere = (deps: SignInDeps) => deps.passkeySignInSeconds > 0 && relyingParty(deps.publicUrl) !== null;

/**
 * Signing in with a passkey, while the provider does not answer and no longer: it knows of somebody who left
 * what nobody here does. The browser that asks is named by a cookie, so that no other one finishes it.
 */
function mountPasskeySignIn(router: Router, deps: SignInDeps): void {
  const form = express.urlencoded({ extended: false, limit: '64kb', parameterLimit: 10 });
  const browserOf = (req: Request): string => {
    const cookie = readCookie(deps, req, 'writ_passkey');
    if (cookie === undefined || !/^[\w-]{43}$/.test(cookie) || !isSameOrigin(deps.publicUrl, req))
      throw new WritError('forbidden', { detail: 'This form was not sent from a page of ours. Open the page again.' });
    return createHash('sha256').update(cookie).digest('hex');
  };
  const checkUnanswered = async () => {
    if (!passkeysHere(deps)) throw new WritError('conflict', { detail: 'Nobody signs in with a passkey here.' });
    if (await deps.provider.answers())
      throw new WritError('conflict', { detail: 'Your identity provider answers: sign in there.' });
  };

  router.get('/login/passkey', (req, res) => {
    setCookie(deps, res, 'writ_passkey', randomBytes(32).toString('base64url'), attemptSeconds);
    const body = h('section', { class: 'notice' }, [
      h('h1', null, 'Sign in with a passkey'),
      h(
        'p',
        null,
        'While your identity provider does not answer: for half an hour, with the groups that it confirmed last.',
      ),
      h('form', { method: 'post', action: '/login/passkey', 'data-passkey': '/login/passkey/options' }, [
        h('input', { type: 'hidden', name: 'return_to', value: localReturn(req.query.return_to) }),
        passkeyFields(),
        h('button', { type: 'submit' }, 'Sign in'),
      ]),
    ]);
    sendPage(res, { title: 'Sign in', viewer: null, body, passkeys: true });
  });

  router.post('/login/passkey/options', form, async (req, res) => {
    const browser = browserOf(req);
    await answerScript(deps, req, res, async () => {
      await checkUnanswered();
      return { assertion: await beginSignIn(deps, browser) };
    });
  });

  router.post('/login/passkey', form, async (req, res) => {
    const browser = browserOf(req);
    await checkUnanswered();
    const signed = readAssertion(req.body?.assertion);
    if (signed === null) throw new WritError('forbidden', { detail: 'Your browser sent nothing that a passkey made.' });
    const requestId = deps.requestId(req, res);
    const person = await finishSignIn(deps, browser, signed, deps.passkeySignInSeconds, requestId);
    setCookie(deps, res, 'writ_passkey', '', 0);
    await openPasskeyLogin(deps, res, person, requestId);
    guardHeaders(res);
    res.redirect(303, localReturn(req.body?.return_to));
  });
}

async function sealAttempt(deps: SignInDeps, attempt: SignInAttempt): Promise<string> {
  const now = Math.floor(deps.clock.now().getTime() / 1000);
  return new EncryptJWT({ ...attempt })
    .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
    .setExpirationTime(now + attemptSeconds)
    .setAudience('sign-in')
    .encrypt(deps.cookieKey);
}

async function unsealAttempt(deps: SignInDeps, sealed: string | undefined): Promise<SignInAttempt | null> {
  if (sealed === undefined) return null;
  try {
    const { payload } = await jwtDecrypt<SignInAttempt & JWTPayload>(sealed, deps.cookieKey, {
      audience: 'sign-in',
      currentDate: deps.clock.now(),
      keyManagementAlgorithms: ['dir'],
      contentEncryptionAlgorithms: ['A256GCM'],
      requiredClaims: ['exp', 'state', 'nonce', 'verifier', 'returnTo'],
    });
    const { state, nonce, verifier, returnTo, fresh } = payload;
    return { state, nonce, verifier, returnTo: localReturn(returnTo), fresh: fresh === true };
  } catch {
    return null;
  }
}
