/**
 * Passkeys as they are stored. A row counts when its proof holds and the record, on the person's own chain,
 * does not say that it was removed or disabled: an older copy of a row, put back, is no passkey.
 */
import { createHash } from 'node:crypto';
import { appendEvent, fewRefusals } from '../../audit/append.ts';
import { type EventPayload, event, eventPayload } from '../../audit/events.ts';
import { WritError } from '../../core/errors.ts';
import type { ProvenRows } from '../../core/proven-rows.ts';
import type { PasskeyRefusal } from '../../core/reasons.ts';
import type { Statement, Store } from '../../store/open.ts';

export interface Account {
  issuer: string;
  subject: string;
}

export interface Passkey {
  id: string;
  issuer: string;
  subject: string;
  credential_id: string;
  public_key: string;
  /** The counter it showed last, by its row or by the record, whichever is higher. */
  sign_count: number;
  /** As its row says. */
  stored_count: number;
  transports: string[];
  name: string;
  backed_up: boolean;
  created_at: Date;
  last_used_at: Date | null;
  /** Good for nothing any more; what stands here is for the person to remove. */
  disabled: boolean;
}

type PasskeyRow = Omit<Passkey, 'stored_count'> & {
  proof: string;
  removed: boolean;
  recorded_count: number;
};

/** The chain of the record that says what became of a person's passkeys. */
export const passkeyChain = ({ issuer, subject }: Account): string =>
  `passkeys:${createHash('sha256')
    .update(JSON.stringify([issuer, subject]))
    .digest('hex')
    .slice(0, 32)}`;

const loadStatement: Statement = {
  name: 'passkey_load',
  text: `
    SELECT p.id, p.issuer, p.subject, p.credential_id, p.public_key, p.sign_count, p.transports, p.name, p.backed_up, p.created_at, p.last_used_at, p.proof,
      EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = $3::text AND e.type = ${event('passkey.removed')} AND e.payload ->> 'passkey_id' = p.id) AS removed,
      EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = $3::text AND e.type = ${event('passkey.disabled')} AND e.payload ->> 'passkey_id' = p.id) AS disabled,
      -- The highest: whoever adds to the record may have told it a lower one since.
      coalesce((SELECT max((e.payload ->> 'sign_count')::float8) FROM audit_event e
        WHERE e.chain = $3::text AND e.type = ${event('passkey.used')} AND e.payload ->> 'passkey_id' = p.id AND json_typeof(e.payload -> 'sign_count') = 'number'), 0) AS recorded_count
    FROM passkey p WHERE p.issuer = $1::text AND p.subject = $2::text ORDER BY p.created_at, p.id`,
};

/** @returns the person's passkeys, and the ids of all rows in their name, whoever wrote them */
export async function loadPasskeys(store: Store, person: Account): Promise<{ passkeys: Passkey[]; rows: string[] }> {
  const rows = await store.run<PasskeyRow>(loadStatement, [person.issuer, person.subject, passkeyChain(person)]);
  const passkeys = rows
    .filter((row) => !row.removed && passkeyHolds(store, row))
    .map(({ proof: _, removed: __, recorded_count, ...row }) => ({
      ...row,
      stored_count: row.sign_count,
      sign_count: Math.max(row.sign_count, recorded_count),
    }));
  return { passkeys, rows: rows.map(({ id }) => id) };
}

/** Those that can sign. */
export async function usablePasskeys(store: Store, person: Account): Promise<Passkey[]> {
  return (await loadPasskeys(store, person)).passkeys.filter(({ disabled }) => !disabled);
}

const proven = (row: ProvenRows['passkey']): ProvenRows['passkey'] => {
  const { id, issuer, subject, credential_id, public_key, sign_count, created_at } = row;
  return { id, issuer, subject, credential_id, public_key, sign_count, created_at };
};

export const provePasskey = ({ proofs }: Store, row: ProvenRows['passkey']): string =>
  proofs.make('passkey', proven(row));

const passkeyHolds = ({ proofs }: Store, row: PasskeyRow): boolean => proofs.holds('passkey', proven(row), row.proof);

const refusedStatement: Statement = {
  name: 'passkey_refused',
  text: `
    ${appendEvent(
      {
        chain: '$1::text',
        at: '$2::timestamptz',
        type: event('passkey.refused'),
        actor: '$3::text',
        request: '$4::text',
        payload: '$5::json',
      },
      `(SELECT 1) AS one WHERE ${fewRefusals({ chain: '$1::text', at: '$2::timestamptz', type: event('passkey.refused'), actor: '$3::text' })}`,
    )}`,
};

/** Who did it, and in which request. */
export interface By {
  actor: string;
  requestId: string | null;
}

const refusalWords: { readonly [reason in PasskeyRefusal]?: string } = {
  unknown_challenge: 'That took too long. Try again.',
  other_challenge: 'What your passkey signed is not what is asked now. Open the page again.',
  replayed: 'That was used already. Try again.',
  unknown_passkey: 'That is none of your passkeys.',
  not_verified: 'Your passkey did not check that it is you: it needs a PIN, a fingerprint or the like.',
  counter_went_back:
    'This passkey is disabled: its counter went back, so there may be a copy of it. Remove it, and tell whoever looks after security.',
  not_fresh: 'A first passkey is added right after signing in for it. Sign in once more.',
  not_confirmed:
    'Your identity provider has not confirmed you lately, or no longer does. Sign in there once it answers.',
  registered_already: 'This passkey is registered already.',
};

/** Puts it on record. @returns what to throw */
export async function refusePasskey(
  store: Store,
  person: Account,
  payload: EventPayload<'passkey.refused'>,
  { actor, requestId }: By,
  at: Date,
): Promise<WritError> {
  const text = JSON.stringify(eventPayload('passkey.refused', payload));
  await store.run(refusedStatement, [passkeyChain(person), at, actor, requestId, text]);
  return new WritError('forbidden', {
    detail: refusalWords[payload.reason] ?? 'What your passkey signed does not hold.',
  });
}
