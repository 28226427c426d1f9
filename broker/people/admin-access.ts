/**
 * Who is an admin: a person of the OIDC group, by the console's login; or the holder of the bootstrap token,
 * which the first start prints once and of which only the SHA-256 is kept (256 random bits need no slow
 * hash). It is for the time before there is an admin: when one signs in, it ends.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { type Admin, type Identity, personRef } from './identity.ts';

const prefix = 'writ_admin_';

const makeStatement: Statement = {
  name: 'bootstrap_make',
  text: `
    WITH made AS (
      INSERT INTO bootstrap (id, token_hash, created_at, proof) SELECT 1, $1, $2::timestamptz, $3
      -- A row that is gone makes no start the first one.
      WHERE NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = 'system' AND e.type = ${event('admin.bootstrap')})
      ON CONFLICT (id) DO NOTHING RETURNING id),
    event AS (
      ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('admin.bootstrap'), actor: "'system'", payload: "'{}'::json" }, 'made')})
    SELECT id FROM made`,
};

const renewStatement: Statement = {
  name: 'bootstrap_renew',
  text: `
    WITH made AS (
      INSERT INTO bootstrap (id, token_hash, created_at, proof) VALUES (1, $1, $2, $3)
      ON CONFLICT (id) DO UPDATE SET token_hash = EXCLUDED.token_hash, created_at = EXCLUDED.created_at, proof = EXCLUDED.proof, expired_at = NULL RETURNING id
    ), event AS (
      ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('admin.bootstrap'), actor: "'operator'", payload: "'{}'::json" }, 'made')})
    SELECT id FROM made`,
};

/**
 * When an admin signs in. A part of the statement that opens the login. Its proof goes with it: a row that is
 * put back says nothing.
 * @param admin SQL condition
 */
export const expireBootstrap = (admin: string, at: string): string => `
      UPDATE bootstrap SET token_hash = '', proof = '', expired_at = ${at} WHERE expired_at IS NULL AND ${admin} RETURNING id`;

const hash = (token: string) => createHash('sha256').update(token).digest();

/** @returns the token, on the very first start; null when there is one already */
export function makeBootstrapToken(store: Store, clock: Clock): Promise<string | null> {
  return writeToken(store, clock, makeStatement);
}

/** Replaces the bootstrap token, whatever is in its place: for an operator. @returns the new one */
export async function renewBootstrapToken(store: Store, clock: Clock): Promise<string> {
  return (await writeToken(store, clock, renewStatement))!;
}

/** A time far ahead was never ours: whoever adds to the record must not keep a token from being made. */
const lastStatement: Statement = {
  name: 'bootstrap_last',
  text: `SELECT max(at) AS at FROM audit_event WHERE chain = 'system' AND type = ${event('admin.bootstrap')} AND at < $1::timestamptz`,
};

async function writeToken(store: Store, clock: Clock, statement: Statement): Promise<string | null> {
  const token = prefix + randomBytes(32).toString('base64url');
  const now = clock.now().getTime();
  const [last] = await store.run<{ at: Date | null }>(lastStatement, [new Date(now + 86_400_000)]);
  // The record tells tokens apart by their time.
  const created_at = new Date(Math.max(now, (last?.at?.getTime() ?? 0) + 1));
  const row = { id: 1, token_hash: hash(token).toString('hex'), created_at };
  const made = await store.run(statement, [row.token_hash, row.created_at, store.proofs.make('bootstrap', row)]);
  return made.length === 0 ? null : token;
}

/** Whether the bootstrap token on record gives a right, or ended as it should. Logs one that does neither. */
export async function bootstrapHolds(store: Store): Promise<boolean> {
  const row = await store.prisma.bootstrap.findUnique({ where: { id: 1 }, select: { expiredAt: true } });
  if (row !== null && row.expiredAt !== null) return true;
  const known = await proven(store);
  return known !== null && (await standsOnRecord(store, known.createdAt));
}

async function proven(store: Store): Promise<{ hash: Buffer; createdAt: Date } | null> {
  const row = await store.prisma.bootstrap.findUnique({ where: { id: 1 } });
  if (row === null || row.expiredAt !== null) return null;
  const { id, tokenHash: token_hash, createdAt, proof } = row;
  const holds = store.proofs.holds('bootstrap', { id, token_hash, created_at: createdAt }, proof);
  return holds ? { hash: Buffer.from(token_hash, 'hex'), createdAt } : null;
}

/** What the record says of tokens, from the one on that was made then. */
const recordStatement: Statement = {
  name: 'bootstrap_on_record',
  text: `
    SELECT 1 FROM audit_event e WHERE e.chain = 'system' AND e.type IN (${event('admin.bootstrap')}, ${event('admin.bootstrap_expired')})
      AND e.seq >= (SELECT min(m.seq) FROM audit_event m WHERE m.chain = 'system' AND m.type = ${event('admin.bootstrap')} AND m.at = $1::timestamptz)
    LIMIT 2`,
};

/** Whether none was made after it, and no admin signed in: an older copy of its row holds as the row did. */
async function standsOnRecord(store: Store, createdAt: Date): Promise<boolean> {
  return (await store.run(recordStatement, [createdAt])).length === 1;
}

/** Whether there is a bootstrap token that has not ended. */
export async function bootstrapOpens(store: Store): Promise<boolean> {
  return (await store.prisma.bootstrap.count({ where: { expiredAt: null } })) > 0;
}

/** @returns true when the Authorization header carries the bootstrap token */
export async function isBootstrap(store: Store, authorization: string | undefined): Promise<boolean> {
  const [scheme, token] = (authorization ?? '').split(' ');
  if (scheme?.toLowerCase() !== 'bearer' || token?.startsWith(prefix) !== true) return false;
  const known = await proven(store);
  return known !== null && timingSafeEqual(hash(token), known.hash) && standsOnRecord(store, known.createdAt);
}

/**
 * A signed-in person, as the console knows them. `mayAct` is false for a request that another site's page may
 * have sent.
 */
export interface SignedIn {
  identity: Identity;
  mayAct: boolean;
}

/**
 * @param person the signed-in person behind the request's cookie, if there is one
 * @throws WritError `unauthenticated`, `forbidden`
 */
export async function authorizeAdmin(
  store: Store,
  request: { authorization: string | undefined; safe: boolean },
  person: SignedIn | null,
  adminGroup: string | undefined,
): Promise<Admin> {
  if (await isBootstrap(store, request.authorization)) return { name: 'bootstrap token', identity: null };
  if (request.authorization !== undefined || person === null) throw new WritError('unauthenticated');
  if (adminGroup === undefined || !person.identity.groups.includes(adminGroup)) throw new WritError('forbidden');
  // The cookie travels by itself; a change must come from our own origin (or from no browser at all).
  if (!request.safe && !person.mayAct)
    throw new WritError('forbidden', { detail: 'Changes must come from the console’s own origin.' });
  return { name: personRef(person.identity), identity: person.identity };
}
