/**
 * Who a signed-in person is, and what they are to a request: a party to it, an approver, or neither. Pure.
 */
import type { JsonObject } from '../core/vocabulary.ts';

/** A person as their identity provider describes them, frozen at sign-in. */
export interface Identity {
  issuer: string;
  /** Stable at the issuer; the only claim that never changes hands. */
  subject: string;
  email?: string;
  /** False only when the provider said so; absent when it said nothing. */
  emailVerified?: boolean;
  username?: string;
  groups: string[];
  name?: string;
  /**
   * Values of the configured alias claims (a GitHub login, say): other names under which a platform knows
   * this person.
   */
  aliases: string[];
}

export interface IdentityClaims {
  /** Claim that lists the person's groups: an array of strings, or one string. */
  groupsClaim: string;
  /** Claims whose values are other names of the person. */
  aliasClaims: readonly string[];
}

/**
 * Maps verified OIDC claims to an identity. Claims of the wrong type are left out, never guessed.
 * @throws TypeError when `iss` or `sub` is missing
 */
export function identityFromClaims(claims: Record<string, unknown>, names: IdentityClaims): Identity {
  const { iss, sub } = claims;
  if (typeof iss !== 'string' || typeof sub !== 'string' || sub === '') throw new TypeError('claims lack iss or sub');
  const identity: Identity = {
    issuer: iss,
    subject: sub,
    groups: strings(claims[names.groupsClaim]),
    aliases: names.aliasClaims.flatMap((claim) => strings(claims[claim])),
  };
  if (typeof claims.email === 'string') identity.email = claims.email;
  if (typeof claims.email_verified === 'boolean') identity.emailVerified = claims.email_verified;
  // Some providers send the boolean as a string; only an explicit "false" must not read as verified.
  else if (claims.email_verified !== undefined) identity.emailVerified = claims.email_verified === 'true';
  if (typeof claims.preferred_username === 'string') identity.username = claims.preferred_username;
  if (typeof claims.name === 'string') identity.name = claims.name;
  return identity;
}

/** The e-mail as far as it proves anything: absent when the provider says that it is not verified. */
export function provenEmail(identity: Identity): string | undefined {
  return identity.emailVerified === false ? undefined : identity.email;
}

/**
 * How the person is named in audit rows and on pages: `user:<e-mail>`, or the subject when there is no proven
 * e-mail.
 */
export function personRef(identity: Identity): string {
  return `user:${provenEmail(identity) ?? identity.subject}`;
}

/**
 * Whether the person is one of `parties` (`user:owner@example.com`, `owner`, a subject), compared under every
 * name the provider gives them.
 *
 * Errs towards yes: an unverified e-mail counts here, so that unverifying one's address does not open the way
 * to one's own request, and spelling (case, width, invisible characters, the `user:` prefix) makes no
 * difference.
 */
export function isParty(identity: Identity, parties: readonly string[]): boolean {
  const names = [identity.subject, identity.email, identity.username, ...identity.aliases];
  const mine = new Set(names.filter((name) => name !== undefined).map(fold));
  mine.delete('');
  return parties.some((party) => mine.has(fold(party)));
}

/**
 * Whether the person is in the approver set. Errs towards no: groups match exactly, `user:` matches a proven
 * e-mail only (user names can often be changed by their holder), and an entry of any other form matches
 * nobody.
 */
export function isApprover(identity: Identity, approvers: readonly string[]): boolean {
  const email = provenEmail(identity)?.toLowerCase();
  return approvers.some((approver) => {
    if (approver.startsWith('team:')) return identity.groups.includes(approver.slice('team:'.length));
    if (approver.startsWith('user:'))
      return email !== undefined && approver.slice('user:'.length).toLowerCase() === email;
    return false;
  });
}

/** The part of an identity that history keeps: enough to name the person and why they could decide. */
export function identityRecord(identity: Identity): JsonObject {
  const { issuer, subject, groups, email, emailVerified, username, name, aliases } = identity;
  return {
    issuer,
    subject,
    groups,
    aliases,
    ...(email === undefined ? {} : { email }),
    ...(emailVerified === undefined ? {} : { emailVerified }),
    ...(username === undefined ? {} : { username }),
    ...(name === undefined ? {} : { name }),
  };
}

function strings(value: unknown): string[] {
  if (typeof value === 'string') return value === '' ? [] : [value];
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string' && item !== '') : [];
}

/** One spelling per name: compatibility form, lower case, nothing invisible, no `user:` prefix. */
function fold(name: string): string {
  const plain = name
    .normalize('NFKC')
    .toLowerCase()
    .normalize('NFKC')
    .replace(/[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu, '')
    .trim();
  return plain.startsWith('user:') ? plain.slice('user:'.length).trim() : plain;
}
