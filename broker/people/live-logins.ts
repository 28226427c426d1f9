/** Who is signed in, as an admin sees it; and an admin ends logins. */
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { type Identifier, readUser } from '../core/identifier.ts';
import type { Statement, Store } from '../store/open.ts';
import { accountsOf, type NamedAccount } from './account-names.ts';
import { forgetConfirmed, forgettable } from './confirmed-person.ts';
import { type Admin, personRef } from './identity.ts';
import { type LoginDeps, lastSeen, loginHolds } from './login.ts';
import { endedOnRecord, loginEnded } from './login-ends.ts';
import type { LoginMethod } from './login-method.ts';
import type { LoginRow } from './recheck.ts';

/** Times as ISO 8601. */
export interface LiveLogin {
  /** Names it, and opens nothing. */
  id: string;
  /** `user:…` */
  person: string;
  /** How it was made. */
  method: LoginMethod;
  since: string;
  /** When its browser last asked for something; to the minute. */
  last_seen: string;
  until: string;
  /** Whether it lets anybody do anything: not while it is idle, or made under another configuration. */
  stands: boolean;
}

const listStatement: Statement = {
  name: 'logins_live',
  text: `
    SELECT l.token_hash, l.identity, l.csrf, l.created_at, l.checked_at, l.sealed, l.expires_at, l.method, l.idp, l.seen_at, l.seen_proof, l.proof,
      '[]'::jsonb AS former
    FROM login l
    WHERE l.expires_at > $1::timestamptz AND NOT ${endedOnRecord('l.token_hash')} AND ($2::text IS NULL OR (l.identity ->> 'issuer' = $2::text AND l.identity ->> 'subject' = $3::text))
    ORDER BY l.created_at DESC, l.token_hash LIMIT $4::int`,
};

/** The youngest first. @param account of whom; null = of everybody */
export async function liveLogins(
  deps: LoginDeps,
  account: { issuer: string; subject: string } | null,
  limit: number,
): Promise<LiveLogin[]> {
  const now = deps.clock.now();
  const values = [now, account?.issuer ?? null, account?.subject ?? null, limit];
  const rows = await deps.store.run<LoginRow>(listStatement, values);
  return rows.map((row) => {
    const seen = lastSeen(deps.store, row);
    const idle = deps.idleSeconds !== undefined && now.getTime() - seen.getTime() >= deps.idleSeconds * 1000;
    return {
      id: row.token_hash,
      person: personRef(row.identity),
      method: row.method,
      since: row.created_at.toISOString(),
      last_seen: seen.toISOString(),
      until: row.expires_at.toISOString(),
      stands: !idle && loginHolds(deps, row),
    };
  });
}

/**
 * The one account that ever signed in under a name.
 * @param text an e-mail address, or `kind:name`, with or without `user:` before it
 * @throws WritError `bad_request`, `not_found`
 */
export async function findAccount(store: Store, text: unknown, issuer: string | null): Promise<NamedAccount> {
  const name = typeof text === 'string' ? readUser(text.trim().replace(/^(?!user:)/, 'user:')) : null;
  if (name === null || name.kind === null)
    throw new WritError('bad_request', { detail: 'Name the person: an e-mail address, or kind:name.' });
  const of = name.kind === 'subject' && issuer !== null ? { issuer } : {};
  const [account, ...others] = await accountsOf(store, [{ ...(name as Identifier), ...of }]);
  if (account === undefined || others.length > 0)
    throw new WritError('not_found', { detail: 'No account, or more than one, signed in under that name.' });
  return account;
}

const endStatement: Statement = {
  name: 'logins_end',
  text: `
    WITH ended AS (
      DELETE FROM login l
      WHERE l.token_hash = $1::text OR ($1::text IS NULL AND l.identity ->> 'issuer' = $2::text AND l.identity ->> 'subject' = $3::text)
      RETURNING l.token_hash, l.identity ->> 'issuer' AS issuer, l.identity ->> 'subject' AS subject
    ), each AS (
      ${loginEnded('ended', { at: '$4::timestamptz', actor: '$5::text' })}
    ), told AS (
      SELECT issuer, subject, count(*)::int AS logins FROM ended GROUP BY issuer, subject
    ), ${forgetConfirmed("(CASE WHEN $1::text IS NULL THEN $8::text ELSE '[]' END)::jsonb", '$4::timestamptz')}, audited AS (
      ${appendEvent({ chain: "'system'", at: '$4::timestamptz', type: event('person.logins_ended'), actor: '$5::text', request: '$6::text', payload: "($7::jsonb || jsonb_build_object('issuer', issuer, 'subject', subject, 'logins', logins))::json" }, 'told')}
    )
    SELECT logins FROM told`,
};

/**
 * Ends one login, or all of a person; then nobody signs in as them with a passkey either until the identity
 * provider confirms them again.
 * @returns how many ended
 */
export async function endLogins(
  { store, clock }: LoginDeps,
  which: { login: string } | { account: NamedAccount },
  by: { reason: string; admin: Admin; requestId: string | null },
): Promise<number> {
  const account = 'account' in which ? which.account : null;
  const payload = eventPayload('person.logins_ended', { reason: by.reason, issuer: '', subject: '', logins: 0 });
  const [ended] = await store.run<{ logins: number }>(endStatement, [
    'login' in which ? which.login : null,
    account?.issuer ?? null,
    account?.subject ?? null,
    clock.now(),
    by.admin.name,
    by.requestId,
    JSON.stringify(payload),
    account === null ? '[]' : forgettable([account]),
  ]);
  return ended?.logins ?? 0;
}
