/**
 * Credentials that Writ issued, recognised where an agent puts them. Of a credential's secret parts keyed
 * digests of short pieces are kept with its lease, and wiped when it ends; of a text, digests of the same
 * pieces are looked for. Which pieces, both sides tell by the same rule ("winnowing", Schleimer, Wilkerson
 * and Aiken 2003): any sixteen characters in a row that a text shares with a secret give one piece at least,
 * wherever they stand in it. Case, and whatever is neither letter nor digit, make no difference.
 */
import { hash } from 'node:crypto';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { revokeReason } from '../core/reasons.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { secretsOf } from './answer-bounds.ts';
import { startRevoking } from './transitions.ts';

/** Keyed digest of a piece, so that no piece can be guessed from the database. */
export type Mark = (piece: string) => string;

/**
 * Characters of a mark, six bits each: many are kept of every lease, and a false one among a billion pairs is
 * as likely as one in 10^10.
 */
const markLength = 11;

/**
 * Many are made for every mint, and HMAC costs four times as much. Its second pass keeps a text from being
 * made longer under an unknown key; pieces have one length, and a cut-off digest cannot be gone on from.
 * @param key for this use only (`keys/key-encryption-key.ts`)
 */
export function keyedMark(key: Uint8Array): Mark {
  const prefix = Buffer.from(key).toString('base64url');
  return (piece) => hash('sha256', prefix + piece, 'base64url').slice(0, markLength);
}

/** Characters of a piece, and pieces that follow each other of which one is kept. */
const pieceLength = 12;
const windowLength = 5;
export const shortestShared = pieceLength + windowLength - 1;

/** Of longer secrets the middle and the end are looked at: how tokens begin, many have in common. */
const wholeUpTo = 128;
const part = 48;

/**
 * Marks of a credential that was minted. Not of the names of keys: those of one account begin alike, and
 * whoever wrote down its own would end its neighbours’.
 */
export function marksOf(credential: JsonObject, mark: Mark): string[] {
  const parts = secretsOf(credential, false)
    .map(plain)
    .flatMap((secret) => {
      const middle = Math.floor((secret.length - part) / 2);
      return secret.length <= wholeUpTo ? [secret] : [secret.slice(middle, middle + part), secret.slice(-part)];
    });
  return [...new Set(parts.flatMap(piecesOf))].map(mark);
}

/**
 * Marks of what in some texts may be a credential: of words with letters and digits that are long enough.
 * @param texts as written and decoded
 * @param joined the values one after another: what is cut into several is one again
 */
export function marksIn(texts: readonly string[], joined: readonly string[], mark: Mark): string[] {
  const words = texts.flatMap((text) => text.split(/[\s"'`<>(){}[\],;|\\]+/u));
  // Put together are only values that look like a piece of a token each: sentences are none.
  const pieces = joined.filter((value) => /^[\w+/=.~-]{4,}$/.test(value) && mayBeToken(value));
  const together = pieces.length > 1 ? [pieces.join('')] : [];
  const tokens = [...words, ...together].map((word) => ({ word, text: plain(word) }));
  const likely = tokens.filter(({ word, text }) => text.length >= shortestShared && mayBeToken(word));
  return [...new Set(likely.flatMap(({ text }) => piecesOf(text)))].map(mark);
}

/**
 * Random letters and digits have a digit, or both cases, where there are sixteen of them; one in some hundred
 * tokens has letters alone, with the two signs of base64 between them, and its case may be gone. No word of a
 * language is that long, and few are put together so.
 */
const mayBeToken = (word: string) =>
  /[0-9]|(?:[A-Za-z][-_+/]*){32}/.test(word) || (/[a-z]/.test(word) && /[A-Z]/.test(word));

const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, '');

/** The pieces that the rule chooses: of each five that follow each other the one with the least hash. */
function piecesOf(text: string): string[] {
  const hashes = hashesOf(text);
  const chosen = new Set<number>();
  for (let from = 0; from + windowLength <= hashes.length; from += 1) {
    let least = from;
    for (let at = from + 1; at < from + windowLength; at += 1) if (hashes[at]! <= hashes[least]!) least = at;
    chosen.add(least);
  }
  return [...chosen].map((at) => text.slice(at, at + pieceLength));
}

/** A hash of each piece, rolled on from the one before. */
function hashesOf(text: string): number[] {
  const base = 0x01000193;
  let top = 1;
  for (let n = 1; n < pieceLength; n += 1) top = Math.imul(top, base);
  const hashes: number[] = [];
  let hash = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (at >= pieceLength) hash = (hash - Math.imul(text.charCodeAt(at - pieceLength), top)) | 0;
    hash = (Math.imul(hash, base) + text.charCodeAt(at)) | 0;
    // Mixed: the hashes of pieces that differ in their last character only would be neighbours.
    if (at >= pieceLength - 1) hashes.push(Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0);
  }
  return hashes;
}

const foundStatement: Statement = {
  name: 'lease_marked',
  text: `
    SELECT id FROM lease WHERE marks && $1::text[] AND cardinality(marks) > 0 AND status IN ('issuing', 'active', 'revoking') ORDER BY id`,
};

/** Leases whose credential is among the marks, of whichever session. */
export async function leasesMarked(store: Store, marks: readonly string[]): Promise<string[]> {
  const rows = await store.run<{ id: string }>(foundStatement, [[...marks]]);
  return rows.map(({ id }) => id);
}

/**
 * @param tell SQL that tells people of what is in `telling`: `session_id`, `at`, `tells`. Whoever leases does
 *   not know how
 */
export const leakedStatement = (tell: string): Statement => ({
  name: 'lease_leaked',
  text: `
    WITH due AS (
      SELECT id FROM lease WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE
    ), l AS (
${startRevoking({
  where: 'id IN (SELECT id FROM due)',
  reason: revokeReason('credential_leaked'),
  dueAt: '$2::timestamptz',
})}
      RETURNING id, session_id, grant_id
    ), revoking AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('lease.revoking'), actor: "'system'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', ${revokeReason('credential_leaked')})` }, 'l ORDER BY session_id, id')}
    ), leaked AS (
      ${appendEvent({ chain: '$3::text', at: '$2::timestamptz', type: event('credential.leaked'), actor: '$4::text', request: '$5::text', payload: '$6::json' })}
    ), telling AS (
      SELECT $3::text AS session_id, $2::timestamptz AS at, $7::jsonb AS tells
    ), told AS (${tell}
    )
    SELECT id FROM l`,
});

export interface Leak {
  leases: readonly string[];
  /** The session in which it was seen, which need not be the one that holds it. */
  session: string;
  agent: string;
  at: Date;
  requestId: string | null;
  where: { tool: string; seen_in: 'arguments' | 'output' };
  /** Who is told of it. */
  telling: object;
}

/** Begins to revoke the leases, and puts the leak on the record of the session in which it was seen. */
export async function revokeLeaked(
  store: Store,
  statement: Statement,
  { leases, session, agent, at, requestId, where, telling }: Leak,
): Promise<void> {
  const payload = JSON.stringify({ ...where, leases });
  await store.run(statement, [[...leases], at, session, agent, requestId, payload, JSON.stringify(telling)]);
}
