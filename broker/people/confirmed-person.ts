/**
 * Whom the identity provider confirmed last, and when: what a sign-in with a passkey goes by while it does
 * not answer. Gone when it confirms them no more; that it is, is in the record too, so that no older copy of
 * the row brings them back.
 */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Identity } from './identity.ts';
import { type Account, passkeyChain } from './passkeys/stored-passkey.ts';

/**
 * Part of a statement that writes what the provider said just now.
 * @param identity SQL of its record
 * @param at SQL of the time
 * @param proof SQL of `proveConfirmed`; null = the provider said nothing
 */
export const rememberConfirmed = (identity: string, at: string, proof: string): string => `
      INSERT INTO confirmed_person (issuer, subject, identity, confirmed_at, proof)
      SELECT ${identity} ->> 'issuer', ${identity} ->> 'subject', ${identity}, ${at}, ${proof} WHERE ${proof} IS NOT NULL
      ON CONFLICT (issuer, subject) DO UPDATE SET identity = excluded.identity, confirmed_at = excluded.confirmed_at, proof = excluded.proof
      WHERE excluded.confirmed_at >= confirmed_person.confirmed_at`;

export const proveConfirmed = (
  { proofs }: Store,
  { issuer, subject }: Account,
  identity: JsonObject,
  at: Date,
): string => proofs.make('confirmed_person', { issuer, subject, identity, confirmed_at: at });

/**
 * Parts of a statement that forgets people: `forgotten`, and its events.
 * @param accounts SQL of the text that `forgettable` gives
 */
export const forgetConfirmed = (accounts: string, at: string): string => `forgotten AS (
      DELETE FROM confirmed_person p USING jsonb_to_recordset(${accounts}) AS f (issuer text, subject text, chain text)
      WHERE p.issuer = f.issuer AND p.subject = f.subject RETURNING f.chain, p.subject
    ), forgetting AS (
      ${appendEvent({ chain: 'chain', at, type: event('person.forgotten'), actor: "'user:' || subject", payload: "'{}'::json" }, 'forgotten ORDER BY chain')}
    )`;

export const forgettable = (accounts: readonly Account[]): string =>
  JSON.stringify(
    accounts.map(({ issuer, subject }) => ({ issuer, subject, chain: passkeyChain({ issuer, subject }) })),
  );

const loadStatement: Statement = {
  name: 'confirmed_person_load',
  text: `
    SELECT p.identity, p.confirmed_at, p.proof
    FROM confirmed_person p WHERE p.issuer = $1::text AND p.subject = $2::text AND p.confirmed_at > $3::timestamptz
      AND NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = $4::text AND e.type = ${event('person.forgotten')} AND e.at >= p.confirmed_at)`,
};

/** @returns the person as the provider confirmed them after `since`, and when; null = it did not */
export async function loadConfirmed(
  store: Store,
  person: Account,
  since: Date,
): Promise<{ identity: Identity; at: Date } | null> {
  const [row] = await store.run<{ identity: Identity & JsonObject; confirmed_at: Date; proof: string }>(loadStatement, [
    person.issuer,
    person.subject,
    since,
    passkeyChain(person),
  ]);
  if (row === undefined) return null;
  const { identity, confirmed_at } = row;
  const proven = { issuer: person.issuer, subject: person.subject, identity, confirmed_at };
  return store.proofs.holds('confirmed_person', proven, row.proof) ? { identity, at: confirmed_at } : null;
}
