/**
 * The names that an account ever signed in with (table `account_name`), so that whoever changes an e-mail
 * address stays the same person.
 */
import type { Identifier } from '../core/identifier.ts';
import type { Statement, Store } from '../store/open.ts';

/**
 * Part of a statement: remembers the names that an account signed in with, and when each was last proven.
 * @param identity SQL of its record
 * @param names SQL of a json array of `{kind, value, proven}`
 * @param at SQL of the time
 */
export const rememberNames = (identity: string, names: string, at: string): string => `
      INSERT INTO account_name (issuer, subject, kind, value, first_seen, proven_at)
      SELECT ${identity} ->> 'issuer', ${identity} ->> 'subject', n.kind, n.value, ${at}, CASE WHEN bool_or(n.proven) THEN ${at} END
      FROM json_to_recordset(${names}) AS n (kind text, value text, proven boolean) GROUP BY n.kind, n.value
      ON CONFLICT (issuer, subject, kind, value) DO UPDATE SET proven_at = excluded.proven_at
      WHERE excluded.proven_at > coalesce(account_name.proven_at, '-infinity')`;

/** An account of an identity provider, and the names that are surely its own. */
export interface NamedAccount {
  issuer: string;
  subject: string;
  names: Identifier[];
}

/** A name is the account's that proved it last: addresses and logins are handed on. */
const itsOwn = (n: string): string => `${n}.proven_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM account_name later WHERE later.kind = ${n}.kind AND later.value = ${n}.value AND later.proven_at > ${n}.proven_at)`;

const accountsStatement: Statement = {
  name: 'account_names_find',
  text: `
    WITH given AS (
      SELECT n.kind, n.value, n.issuer FROM jsonb_to_recordset($1::jsonb) AS n (kind text, value text, issuer text)
    ), account AS (
      SELECT issuer, value AS subject FROM given WHERE kind = 'subject' AND issuer IS NOT NULL
      UNION
      SELECT a.issuer, a.subject FROM account_name a JOIN given ON given.kind = a.kind AND given.value = a.value WHERE ${itsOwn('a')}
    )
    SELECT account.issuer, account.subject,
      (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', a.kind, 'value', a.value) ORDER BY a.kind, a.value), '[]') FROM account_name a
       WHERE a.issuer = account.issuer AND a.subject = account.subject AND ${itsOwn('a')}) AS names
    FROM account ORDER BY 1, 2`,
};

/**
 * The accounts that these names are: by issuer and subject, whether or not anybody signed in under them; by
 * any other name only where the account signed in with it and the provider vouched for it.
 */
export async function accountsOf(store: Store, names: readonly Identifier[]): Promise<NamedAccount[]> {
  return store.run<NamedAccount>(accountsStatement, [JSON.stringify(names)]);
}
