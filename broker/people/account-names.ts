/**
 * The names that an account ever signed in with (table `account_name`), so that whoever changes an e-mail
 * address stays the same person. Pure text: a statement that writes a login takes it.
 */

/**
 * Part of a statement: remembers the names that an account signed in with.
 * @param identity SQL of its record
 * @param names SQL of a json array of `{kind, value}`
 * @param at SQL of the time
 */
export const rememberNames = (identity: string, names: string, at: string): string => `
      INSERT INTO account_name (issuer, subject, kind, value, first_seen)
      SELECT DISTINCT ${identity} ->> 'issuer', ${identity} ->> 'subject', n.kind, n.value, ${at}
      FROM json_to_recordset(${names}) AS n (kind text, value text) ON CONFLICT DO NOTHING`;
