/**
 * A claim of a binding that names a person: of which kind the name is, and whether sign-in gives anything
 * that it can be compared with. Where it does not, nobody could ever tell that the person at the approval
 * page is not the one who started the run: the file is refused.
 */
import { claimAt, saysYes } from '../core/claims.ts';
import { canonicalEmail, type Identifier, isName, readUser } from '../core/identifier.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { FaultPath, Report } from './file-faults.ts';
import { refused } from './refusal.ts';

export interface PersonClaim {
  claim: string;
  kind: string;
}

/** The names of a person that sign-in gives. */
export interface SignInNames {
  issuer: string;
  /** Kinds, besides the subject. */
  kinds: readonly string[];
  /** Those among them that the admin added. */
  added: readonly string[];
}

/** What these claims hold wherever they come from; the last part of a nested name counts. */
const kindByClaim: { [claim: string]: string } = { email: 'email', user_email: 'email', sub: 'subject', oid: 'oid' };

interface Asked {
  field: 'started_by' | 'on_behalf_of';
  entry: { [member in `${'started_by' | 'on_behalf_of'}_${'claim' | 'kind'}`]?: string | undefined };
  at: FaultPath;
  issuer: string;
  signIn: SignInNames | null;
  report: Report;
}

export function personClaim({ field, entry, at, issuer, signIn, report }: Asked): PersonClaim | null {
  const claim = entry[`${field}_claim`];
  const stated = entry[`${field}_kind`];
  if (claim === undefined) {
    if (stated !== undefined)
      report([...at, `${field}_kind`], `Says the kind of \`${field}_claim\`, which is not there`);
    return null;
  }
  const kind = stated ?? kindOf(claim, issuer, signIn);
  if (kind === null) {
    report([...at, `${field}_claim`], `Say with \`${field}_kind\` which kind of name it holds: ${known(signIn)}`);
    return null;
  }
  if (signIn !== null && !comparable(kind, issuer, signIn)) {
    report([...at, stated === undefined ? `${field}_claim` : `${field}_kind`], nothingToCompare(kind, issuer, signIn));
  }
  return { claim, kind };
}

function kindOf(claim: string, issuer: string, signIn: SignInNames | null): string | null {
  const last = claim.slice(claim.lastIndexOf('.') + 1);
  const told = Object.hasOwn(kindByClaim, claim) ? kindByClaim[claim] : kindByClaim[last];
  if (told !== undefined) return told;
  // Nobody signs in, so nothing is ever compared.
  if (signIn === null) return 'username';
  if (claim === 'preferred_username' && issuer === signIn.issuer) return 'username';
  return signIn.added.length === 1 ? (signIn.added[0] ?? null) : null;
}

function comparable(kind: string, issuer: string, signIn: SignInNames): boolean {
  return kind === 'subject' ? issuer === signIn.issuer : signIn.kinds.includes(kind);
}

/** Who is named as responsible must be somebody whom sign-in can tell from others. */
export function checkResponsible(
  who: string | undefined,
  signIn: SignInNames | null,
  at: FaultPath,
  report: Report,
): void {
  const person = who === undefined ? null : readUser(who);
  if (person === null || person.kind === null || person.kind === 'subject' || signIn === null) return;
  if (!signIn.kinds.includes(person.kind)) report(at, nothingToCompare(person.kind, '', signIn));
}

const known = (signIn: SignInNames | null) =>
  [
    ...(signIn?.kinds ?? ['email']),
    'subject (of WRIT_OIDC_ISSUER)',
    'or one that WRIT_OIDC_ALIAS_CLAIMS adds (kind=claim)',
  ].join(', ');

function nothingToCompare(kind: string, issuer: string, signIn: SignInNames): string {
  const why = 'whoever started a run could approve it, because nothing that sign-in gives can be compared with this';
  if (kind === 'subject')
    return `Refused: ${why}. Subjects of ${issuer} are not those of WRIT_OIDC_ISSUER (${signIn.issuer})`;
  if (kind === 'email') return `Refused: ${why}. Add \`email\` to WRIT_OIDC_SCOPE`;
  return `Refused: ${why}. Add the claim with a person’s \`${kind}\` to WRIT_OIDC_ALIAS_CLAIMS (\`${kind}=<claim>\`); sign-in gives ${known(signIn)}`;
}

/**
 * The person that a verified token names.
 * @throws WritError `invalid_grant` with reason `missing_claim` or `bad_claim`
 */
export function personIn(claims: JsonObject, { claim, kind }: PersonClaim, issuer: string): Identifier {
  const found = claimAt(claims, claim);
  if (found === undefined || found === null)
    throw refused('invalid_grant', 'missing_claim', 'The subject token lacks a claim that its binding needs.', claim);
  const text = Number.isSafeInteger(found) ? String(found) : found;
  const odd = () =>
    refused('invalid_grant', 'bad_claim', 'A claim of the subject token does not name a person.', claim);
  if (typeof text !== 'string') throw odd();
  const value = text.replace(/^user:/i, '');
  if (!isName(value)) throw odd();
  if (kind === 'subject') return { issuer, kind, value };
  if (kind !== 'email') return { kind, value };
  const email = canonicalEmail(value);
  // An address that the platform itself calls unverified is whatever its holder wrote.
  const verified = claim.endsWith('email') ? claimAt(claims, `${claim}_verified`) : undefined;
  if (email === null || !(verified === undefined || saysYes(verified))) throw odd();
  return { kind, value: email };
}
