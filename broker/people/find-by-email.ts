/**
 * Who somebody is here who is known elsewhere by a verified e-mail address alone (in a chat, say): the person
 * of a login that stands, and every name of the accounts that ever signed in with that address.
 */
import { canonicalEmail, type Identifier } from '../core/identifier.ts';
import type { Statement } from '../store/open.ts';
import { type Identity, provenEmail } from './identity.ts';
import { currentLogin, type LoginDeps } from './login.ts';

export interface KnownByEmail {
  /** As the identity provider last confirmed it; null when nobody, or more than one, is signed in with it. */
  signedIn: Identity | null;
  /** Of all accounts, their subjects among them. */
  names: Identifier[];
}

const namesStatement: Statement = {
  name: 'account_names_by_email',
  text: `
    SELECT n.issuer, n.subject, n.kind, n.value
    FROM account_name e JOIN account_name n ON n.issuer = e.issuer AND n.subject = e.subject
    WHERE e.kind = 'email' AND e.value = $1::text`,
};

const loginsStatement: Statement = {
  name: 'logins_by_email',
  text: `
    SELECT l.token_hash FROM login l
    WHERE l.expires_at > $2::timestamptz AND EXISTS (
      SELECT 1 FROM account_name e WHERE e.kind = 'email' AND e.value = $1::text
        AND e.issuer = l.identity ->> 'issuer' AND e.subject = l.identity ->> 'subject')
    ORDER BY l.created_at DESC LIMIT 10`,
};

/** @throws WritError `unavailable` when the identity provider must be asked and does not answer */
export async function findByEmail(deps: LoginDeps, email: string): Promise<KnownByEmail> {
  const wanted = canonicalEmail(email);
  if (wanted === null) return { signedIn: null, names: [] };
  const rows = await deps.store.run<{ issuer: string; subject: string; kind: string; value: string }>(namesStatement, [
    wanted,
  ]);
  const logins = await deps.store.run<{ token_hash: string }>(loginsStatement, [wanted, deps.clock.now()]);
  const people: Identity[] = [];
  for (const { token_hash } of logins) {
    const login = await currentLogin(deps, token_hash);
    // The address may have been another person's before.
    if (login === null || canonicalEmail(provenEmail(login.identity) ?? '') !== wanted) continue;
    people.push({ ...login.identity, former: login.former });
  }
  const [first] = people;
  const one = people.every(({ issuer, subject }) => issuer === first?.issuer && subject === first?.subject);
  return {
    signedIn: first !== undefined && one ? first : null,
    names: rows.flatMap(({ issuer, subject, kind, value }) => [
      { kind, value },
      { kind: 'subject', value: subject, issuer },
    ]),
  };
}
