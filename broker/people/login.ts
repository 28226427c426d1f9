/**
 * Identifies the person behind a browser request. A login is a row; its cookie is a random token of which
 * only the hash is kept, so that a stolen copy of the database cannot be used to sign in.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Request, Response } from 'express';
import { endWithGroups } from '../../approvals/pre-approval-transitions.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { guardHeaders, type Viewer } from '../console/shell.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { rememberNames } from './account-names.ts';
import { expireBootstrap } from './admin-access.ts';
import { proveConfirmed, rememberConfirmed } from './confirmed-person.ts';
import { type Identity, identityRecord, namesToRemember, personRef } from './identity.ts';
import { endedOnRecord, loginEnded } from './login-ends.ts';
import { type LoginMethod, loginProven, methodProven } from './login-method.ts';
import type { SignedInPerson } from './oidc.ts';
import type { LoginRow, Rechecks } from './recheck.ts';
import { isSameOrigin } from './same-origin.ts';

export interface LoginDeps {
  store: Store;
  clock: Clock;
  /**
   * The broker's address as people's browsers know it; cookies are `Secure` and `__Host-` unless it is plain
   * http (loopback).
   */
  publicUrl: string;
  /** Group whose members are admins. */
  adminGroup?: string | undefined;
  /** How long a person stays signed in where the identity provider can be asked again. Default 8 hours. */
  loginSeconds?: number;
  /** How long where it cannot: groups are then as old as the sign-in. Default 15 minutes. */
  uncheckedSeconds?: number;
  /** Asks the identity provider again; absent = it cannot be. */
  rechecks?: Rechecks;
  /** A login whose browser asked for nothing for so long is good for nothing in it; absent = it is. */
  idleSeconds?: number | undefined;
  /** Issuer and client id as they are configured: logins of others do not stand; absent = all do. */
  idp?: string | undefined;
}

export interface Login {
  /** Names it, and opens nothing: the hash of its cookie. */
  id: string;
  identity: Identity;
  method: LoginMethod;
  signedInAt: Date;
  /** Goes into every form; posts without it are refused. */
  csrf: string;
}

const openStatement: Statement = {
  name: 'login_open',
  text: `
    WITH purged AS (
      DELETE FROM login WHERE expires_at <= $4::timestamptz
    ), opened AS (
      INSERT INTO login (token_hash, identity, csrf, created_at, checked_at, sealed, expires_at, proof, method, idp)
      VALUES ($1::text, $2::jsonb, $3::text, $4::timestamptz, $13::timestamptz, $9::text, $5::timestamptz, $10::text, $12::text, $16::text)
    ), named AS (${rememberNames('$2::jsonb', '$8::json', '$4::timestamptz')}
    ), confirmed AS (${rememberConfirmed('$2::jsonb', '$4::timestamptz', '$14::text')}
    ), ${endWithGroups('$2::jsonb', '$4::timestamptz', '$14::text IS NOT NULL')}, expired AS (${expireBootstrap('$11::boolean', '$4::timestamptz')}
    ), expiry AS (
      ${appendEvent({ chain: "'system'", at: '$4::timestamptz', type: event('admin.bootstrap_expired'), actor: '$6::text', request: '$7::text', payload: "'{}'::json" }, 'expired')}
    )
    ${appendEvent({ chain: "'system'", at: '$4::timestamptz', type: event('person.signed_in'), actor: '$6::text', request: '$7::text', payload: '$15::json' })}`,
};

/**
 * Stores a login and sets its cookie. When an admin signs in, the bootstrap token ends in the same statement.
 */
export async function openLogin(
  deps: LoginDeps,
  res: Response,
  { identity, renewal }: SignedInPerson,
  requestId: string,
  method: 'oidc' | 'fresh_oidc' = 'oidc',
): Promise<void> {
  await writeLogin(deps, res, { identity, renewal, confirmedAt: deps.clock.now() }, requestId, method);
}

/** How long a login lasts that was made with a passkey, without the identity provider. */
export const passkeyLoginSeconds = 1800;

/**
 * Stores a login of somebody who signed in with a passkey while the identity provider did not answer: as whom
 * it confirmed last, with the groups of then. It says nothing new of them.
 */
export const openPasskeyLogin = (
  deps: LoginDeps,
  res: Response,
  { identity, at }: { identity: Identity; at: Date },
  requestId: string,
): Promise<void> => writeLogin(deps, res, { identity, renewal: null, confirmedAt: at }, requestId, 'passkey');

async function writeLogin(
  deps: LoginDeps,
  res: Response,
  { identity, renewal, confirmedAt }: SignedInPerson & { confirmedAt: Date },
  requestId: string,
  method: LoginMethod,
): Promise<void> {
  const alone = method === 'passkey';
  const token = randomBytes(32).toString('base64url');
  const csrf = randomBytes(32).toString('base64url');
  const now = deps.clock.now();
  const tokenHash = hash(token);
  const sealed = renewal === null ? null : ((await deps.rechecks?.seal(renewal, tokenHash)) ?? null);
  const unasked = alone ? passkeyLoginSeconds : (deps.uncheckedSeconds ?? 900);
  const seconds = sealed === null ? unasked : (deps.loginSeconds ?? 8 * 3600);
  const expires = new Date(now.getTime() + seconds * 1000);
  const record = identityRecord(identity);
  const row = {
    token_hash: tokenHash,
    identity: record,
    csrf,
    created_at: now,
    checked_at: confirmedAt,
    sealed,
    expires_at: expires,
    method,
    idp: deps.idp ?? null,
  };
  const proof = deps.store.proofs.make('login', loginProven(row));
  await deps.store.run(openStatement, [
    tokenHash,
    JSON.stringify(record),
    csrf,
    now,
    expires,
    personRef(identity),
    requestId,
    JSON.stringify(alone ? [] : namesToRemember(identity)),
    sealed,
    proof,
    !alone && deps.adminGroup !== undefined && identity.groups.includes(deps.adminGroup),
    method,
    confirmedAt,
    alone ? null : proveConfirmed(deps.store, identity, record, now),
    JSON.stringify({ ...record, ...methodProven(method) }),
    row.idp,
  ]);
  setCookie(deps, res, 'writ_login', token, seconds);
}

const loadStatement: Statement = {
  name: 'login_load',
  text: `
    SELECT l.token_hash, l.identity, l.csrf, l.created_at, l.checked_at, l.sealed, l.expires_at, l.method, l.idp, l.seen_at, l.seen_proof, l.proof,
      (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', n.kind, 'value', n.value)), '[]') FROM account_name n
       WHERE n.issuer = l.identity ->> 'issuer' AND n.subject = l.identity ->> 'subject') AS former
    FROM login l WHERE l.token_hash = $1 AND l.expires_at > $2 AND NOT ${endedOnRecord('l.token_hash')}`,
};

/** It is as this broker wrote it, under the configuration that stands. */
export const loginHolds = ({ store: { proofs }, idp }: LoginDeps, row: LoginRow): boolean =>
  (idp === undefined || row.idp === idp) && proofs.holds('login', loginProven(row), row.proof);

/** When its browser last asked for something. What cannot be trusted is as if it never had. */
export function lastSeen({ proofs }: Store, { token_hash, created_at, seen_at, seen_proof }: LoginRow): Date {
  if (seen_at === null || !proofs.holds('login_seen', { token_hash, seen_at }, seen_proof)) return created_at;
  return seen_at;
}

/** How old the last sign of life may be before it is written anew. */
const seenEverySeconds = 60;

const seenStatement: Statement = {
  name: 'login_seen',
  text: `
    UPDATE login SET seen_at = $2::timestamptz, seen_proof = $3::text
    WHERE token_hash = $1::text AND (seen_at IS NULL OR seen_at < $2::timestamptz)`,
};

/** Whether its browser was away for too long; else it is here now, unless a script asks on its own. */
async function isIdle(deps: LoginDeps, row: LoginRow, byItself: boolean): Promise<boolean> {
  if (deps.idleSeconds === undefined) return false;
  const now = deps.clock.now();
  const away = (now.getTime() - lastSeen(deps.store, row).getTime()) / 1000;
  if (away >= deps.idleSeconds) return true;
  if (byItself || away < Math.min(seenEverySeconds, deps.idleSeconds / 4)) return false;
  const seen = { token_hash: row.token_hash, seen_at: now };
  await deps.store.run(seenStatement, [row.token_hash, now, deps.store.proofs.make('login_seen', seen)]);
  return false;
}

/**
 * The signed-in person of this request, or null. Holds for any route that people use (admin endpoints and
 * console too). Asks the identity provider again when its word is old.
 * @param byItself a script asks, and no person: that keeps no login from being idle
 * @throws WritError `unavailable` when it must be asked and does not answer
 */
export async function loadLogin(
  deps: LoginDeps,
  req: Request,
  { byItself = false }: { byItself?: boolean } = {},
): Promise<Login | null> {
  const token = readCookie(deps, req, 'writ_login');
  if (token === undefined || !/^[\w-]{43}$/.test(token)) return null;
  const current = await currentLogin(deps, hash(token));
  if (current === null || (await isIdle(deps, current, byItself))) return null;
  return {
    id: current.token_hash,
    identity: { ...current.identity, former: current.former },
    method: current.method,
    signedInAt: current.created_at,
    csrf: current.csrf,
  };
}

/**
 * A login that stands, as the identity provider last confirmed it.
 * @throws WritError `unavailable` when it must be asked and does not answer
 */
export async function currentLogin(deps: LoginDeps, tokenHash: string): Promise<LoginRow | null> {
  const load = async () => {
    const [row] = await deps.store.run<LoginRow>(loadStatement, [tokenHash, deps.clock.now()]);
    return row !== undefined && loginHolds(deps, row) ? row : null;
  };
  const row = await load();
  return row === null || deps.rechecks === undefined ? row : deps.rechecks.current(tokenHash, row, load);
}

/**
 * The signed-in person, or null after the answer has sent the browser to sign in and come back to this page.
 * For GET pages.
 */
export async function requirePerson(deps: LoginDeps, req: Request, res: Response): Promise<Login | null> {
  const login = await loadLogin(deps, req);
  if (login !== null) return login;
  guardHeaders(res);
  res.redirect(303, `/login?return_to=${encodeURIComponent(localReturn(req.originalUrl))}`);
  return null;
}

const closeStatement: Statement = {
  name: 'login_close',
  text: `
    WITH closed AS (DELETE FROM login WHERE token_hash = $1::text RETURNING token_hash), ended AS (
      ${loginEnded('closed', { at: '$2::timestamptz', actor: '$3::text' })}
    )
    ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('person.signed_out'), actor: '$3::text', request: '$4::text', payload: "'{}'::json" }, 'closed')}`,
};

/** Deletes the login and its cookie. */
export async function closeLogin(deps: LoginDeps, req: Request, res: Response, requestId: string): Promise<void> {
  const token = readCookie(deps, req, 'writ_login');
  const login = await loadLogin(deps, req);
  if (token !== undefined && login !== null) {
    await deps.store.run(closeStatement, [hash(token), deps.clock.now(), personRef(login.identity), requestId]);
  }
  setCookie(deps, res, 'writ_login', '', 0);
}

/** How the masthead names the person. */
export function viewerOf(login: Login): Viewer {
  const { name, email, username, subject } = login.identity;
  return { label: name ?? email ?? username ?? subject, csrf: login.csrf };
}

/**
 * Refuses a post that did not come from a form of ours: it must carry the login's token, and a browser must
 * say that it came from here.
 * @throws WritError `forbidden`
 */
export function checkCsrf(deps: LoginDeps, req: Request, login: Login, token: unknown): void {
  const matches = typeof token === 'string' && timingSafeEqual(digest(token), digest(login.csrf));
  if (!isSameOrigin(deps.publicUrl, req) || !matches) {
    throw new WritError('forbidden', {
      detail: 'This form was not sent from a page of ours, or is out of date. Open the page again.',
    });
  }
}

const ownPages =
  /^(?:\/|\/approvals(?:\/\w{1,64}(?:\/ahead)?)?|\/pre-approvals(?:\/\w{1,64})?|\/sessions\/\w{1,64}|\/agents(?:\/[a-z][a-z0-9-]{0,62})?|\/passkeys|\/break-glass(?:\/\w{1,64})?|\/locks|\/logins)(?:\?[a-z_]{1,20}=[\w%.~:-]{1,600})?$/;

/**
 * A path of ours to return to after sign-in, `/` for anything else: never another origin, never an endpoint
 * that does something.
 */
export function localReturn(target: unknown): string {
  return typeof target === 'string' && ownPages.test(target) ? target : '/';
}

type CookieName = 'writ_login' | `writ_signin_${string}` | 'writ_passkey';

function cookieName(deps: { publicUrl: string }, name: CookieName): string {
  return secure(deps) ? `__Host-${name}` : name;
}

function secure(deps: { publicUrl: string }): boolean {
  return deps.publicUrl.startsWith('https:');
}

/**
 * Sets one of our cookies, or deletes it when `seconds` is 0. `Lax`, because people arrive from links and
 * from the identity provider.
 */
export function setCookie(
  deps: { publicUrl: string },
  res: Response,
  name: CookieName,
  value: string,
  seconds: number,
): void {
  const options = { httpOnly: true, sameSite: 'lax', secure: secure(deps), path: '/' } as const;
  res.cookie(cookieName(deps, name), value, { ...options, maxAge: seconds * 1000 });
}

/** The first cookie of that name. */
export function readCookie(deps: { publicUrl: string }, req: Request, name: CookieName): string | undefined {
  const prefix = `${cookieName(deps, name)}=`;
  const pairs = (req.get('cookie') ?? '').split(';').map((pair) => pair.trim());
  return pairs.find((pair) => pair.startsWith(prefix))?.slice(prefix.length);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function hash(token: string): string {
  return digest(token).toString('hex');
}

/** Which sign-ins are under way in this browser, the oldest first: their cookies' names. */
export function signInCookies(deps: { publicUrl: string }, req: Request): `writ_signin_${string}`[] {
  const prefix = cookieName(deps, 'writ_signin_');
  const names = (req.get('cookie') ?? '').split(';').map((pair) => pair.trim().split('=', 1)[0] ?? '');
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => `writ_signin_${name.slice(prefix.length)}` as const);
}
