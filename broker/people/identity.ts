/**
 * Who a signed-in person is, and what they are to a request: a party to it, an approver, or neither. Pure.
 */
import { claimAt, saysYes } from '../core/claims.ts';
import {
  canonicalEmail,
  type Identifier,
  isName,
  isSame,
  maySame,
  maySameTeam,
  type NamedPerson,
  readRota,
  readTeam,
  readUser,
} from '../core/identifier.ts';
import type { JsonObject } from '../core/vocabulary.ts';

/** A person as their identity provider describes them, at sign-in or when it was last asked. */
export interface Identity {
  issuer: string;
  /** Stable at the issuer; the only claim that never changes hands. */
  subject: string;
  email?: string;
  /** True only when the provider says so. */
  emailVerified?: boolean;
  username?: string;
  groups: string[];
  /** The provider named no groups, in no claim or in an unreadable one: the person may be in some. */
  groupsUnknown?: true;
  name?: string;
  /** Other names under which a platform knows this person, each of the kind that the settings give it. */
  aliases: Identifier[];
  /** Names that the same account (issuer and subject) had at earlier sign-ins. Not recorded with it. */
  former?: Identifier[];
  /**
   * Rotas on which the person is on call now, of those that were asked about (`on-call.ts`). No claim says
   * so.
   */
  onCall?: string[];
  /** An issuer where the person may have an account of which nobody here knows. Not recorded with it. */
  subjectUnknownAt?: string;
}

/** An admin as a request shows them: a signed-in person, or whoever holds the bootstrap token. */
export interface Admin {
  /** For the record. */
  name: string;
  /** null = the bootstrap token, which says nothing of who holds it. */
  identity: Identity | null;
}

/** How a text that lists groups is taken apart; an array is never. */
export type GroupsSeparator = 'auto' | 'comma' | 'space' | 'none';

/** A claim of the identity provider whose value is another name of the person, and that name's kind. */
export interface AliasClaim {
  kind: string;
  claim: string;
}

export interface IdentityClaims {
  /** Claim that lists the person's groups: an array of texts, or one text. Dots descend. */
  groupsClaim: string;
  /** Default `auto`: at commas where there are any, else at spaces. */
  groupsSeparator?: GroupsSeparator | undefined;
  /** Claim that is true when the e-mail was verified. Default `email_verified`. */
  emailVerifiedClaim?: string | undefined;
  /** Claims whose values are other names of the person. */
  aliasClaims: readonly AliasClaim[];
}

/** Thrown when the provider says that there are groups, and does not say which. */
export class GroupsNotDelivered extends Error {
  constructor() {
    super('the provider sent a pointer to the groups in place of the groups');
    this.name = 'GroupsNotDelivered';
  }
}

/** Thrown when a name has characters that cannot be stored, or that nobody can see. */
export class UnreadableClaim extends Error {
  readonly claim: string;

  constructor(claim: string) {
    super(`the claim ${claim} has control characters or half a character`);
    this.name = 'UnreadableClaim';
    this.claim = claim;
  }
}

const unreadable = (text: string) => !text.isWellFormed() || /\p{Cc}/u.test(text);

/** @throws UnreadableClaim for the first text in it, at any depth, that is no name */
function checkReadable(claim: string, value: unknown): void {
  if (typeof value === 'string' && unreadable(value)) throw new UnreadableClaim(claim);
  if (Array.isArray(value)) for (const item of value) checkReadable(claim, item);
}

/**
 * Maps verified OIDC claims to an identity. Claims of the wrong type are left out, never guessed.
 * @param signed of the ID token
 * @param more of userinfo: what the signed token says wins
 * @throws TypeError when `iss` or `sub` is missing; `GroupsNotDelivered`, `UnreadableClaim`
 */
export function identityFromClaims(
  signed: Record<string, unknown>,
  names: IdentityClaims,
  more: Record<string, unknown> = {},
): Identity {
  const claims = { ...more, ...signed };
  const { iss, sub } = claims;
  if (typeof iss !== 'string' || typeof sub !== 'string' || sub === '') throw new TypeError('claims lack iss or sub');
  for (const claim of [
    'sub',
    'oid',
    'email',
    'preferred_username',
    'name',
    ...names.aliasClaims.map((alias) => alias.claim),
  ])
    checkReadable(claim, claimAt(claims, claim));
  const groups = claimAt(claims, names.groupsClaim);
  checkReadable(names.groupsClaim, groups);
  if (groups === undefined && pointsToGroups(claims, names.groupsClaim)) throw new GroupsNotDelivered();
  const aliases = names.aliasClaims.flatMap(({ kind, claim }) =>
    texts(claimAt(claims, claim)).map((value) => ({ kind, value })),
  );
  // Entra's id of a person, the same for every application (its `sub` is not).
  if (typeof claims.oid === 'string' && isName(claims.oid) && !aliases.some(({ kind }) => kind === 'oid'))
    aliases.push({ kind: 'oid', value: claims.oid });
  const identity: Identity = {
    issuer: iss,
    subject: sub,
    groups: groupNames(groups, names.groupsSeparator ?? 'auto'),
    aliases,
  };
  if (namesNoGroups(groups)) identity.groupsUnknown = true;
  if (typeof claims.email === 'string') identity.email = claims.email;
  // "Verified" is said of the address beside it: where the two name different ones, of that one alone.
  const verifiedBy = sameAddress(signed.email, more.email) ? claims : signed;
  const verified = claimAt(verifiedBy, names.emailVerifiedClaim ?? 'email_verified');
  if (verified !== undefined) identity.emailVerified = saysYes(verified);
  if (typeof claims.preferred_username === 'string') identity.username = claims.preferred_username;
  if (typeof claims.name === 'string') identity.name = claims.name;
  return identity;
}

/** True too where one of them names none. */
const sameAddress = (one: unknown, other: unknown): boolean =>
  typeof one !== 'string' ||
  typeof other !== 'string' ||
  one === other ||
  isSame({ kind: 'email', value: one }, { kind: 'email', value: other });

/**
 * A provider that has too many groups for a token sends a pointer instead: `_claim_names` (OpenID Connect
 * Core 5.6.2, what Entra does) or `hasgroups`. Read as "in no group" it would be a lie.
 */
function pointsToGroups(claims: Record<string, unknown>, groupsClaim: string): boolean {
  const pointers = claims._claim_names;
  const named = typeof pointers === 'object' && pointers !== null ? Object.keys(pointers) : [];
  const outer = groupsClaim.split('.', 1)[0];
  return (
    named.some((name) => name === groupsClaim || name === outer || name === 'groups') ||
    claims.hasgroups === true ||
    claims.hasgroups === 'true'
  );
}

/** Whether nothing was said of groups, or nothing with a name: objects, numbers. An empty list says all. */
function namesNoGroups(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0 && !value.some((item) => typeof item === 'string');
  return typeof value !== 'string';
}

function groupNames(value: unknown, separator: GroupsSeparator): string[] {
  const split = (text: string): string[] => {
    const by = separator === 'auto' ? (text.includes(',') ? 'comma' : 'space') : separator;
    if (by === 'none') return [text];
    return text.split(by === 'comma' ? ',' : /\s+/).map((part) => part.trim());
  };
  const names = typeof value === 'string' ? split(value) : Array.isArray(value) ? value : [];
  const wanted = names.filter((name) => typeof name === 'string' && name !== '') as string[];
  return [...new Set(wanted.map((name) => name.normalize('NFC')))];
}

/** The e-mail as far as it proves anything: absent unless the provider says that it verified it. */
export function provenEmail(identity: Identity): string | undefined {
  return identity.emailVerified === true ? identity.email : undefined;
}

/**
 * How the person is named in audit rows and on pages: `user:<e-mail>`, or the subject when there is no proven
 * e-mail.
 */
export function personRef(identity: Identity): string {
  return `user:${provenEmail(identity) ?? identity.subject}`;
}

const subjectOf = ({ issuer, subject }: Identity): Identifier => ({ kind: 'subject', value: subject, issuer });

/** Names of the person that hold now and that a right may hang on. */
function provenNames(identity: Identity): Identifier[] {
  const email = provenEmail(identity);
  return [
    subjectOf(identity),
    ...(email === undefined || canonicalEmail(email) === null ? [] : [{ kind: 'email', value: email }]),
    ...identity.aliases,
  ];
}

/** Every name the person has or had, proven or not: what bars. */
export function allNames(identity: Identity): Identifier[] {
  return [
    subjectOf(identity),
    ...(identity.email === undefined ? [] : [{ kind: 'email', value: identity.email }]),
    ...(identity.username === undefined ? [] : [{ kind: 'username', value: identity.username }]),
    ...identity.aliases,
    ...(identity.former ?? []),
  ];
}

/**
 * What the person is to somebody who is named: the same, surely another, or nobody can tell, because the
 * person's sign-in gives no name of that kind.
 */
export type Likeness = 'same' | 'other' | 'unknown';

/**
 * Compares within one kind only. Errs towards `same`: names that the account had before count, and an
 * unverified e-mail does. `other` takes a proven name of the very kind.
 */
export function likeness(identity: Identity, party: NamedPerson): Likeness {
  if (allNames(identity).some((name) => maySame(name, party))) return 'same';
  // Everybody has a subject, so a bare name can always be compared with something.
  if (party.kind === null) return 'other';
  const comparable = [
    ...provenNames(identity),
    ...(identity.username === undefined ? [] : [{ kind: 'username', value: identity.username }]),
  ].some((name) => name.kind === party.kind && (party.issuer === undefined || name.issuer === party.issuer));
  return comparable ? 'other' : 'unknown';
}

/** The same for `team:…` or `user:…`: of a team, whether the person is in it, in whatever spelling. */
export function likenessToOwner(identity: Identity, owner: string): Likeness {
  const team = readTeam(owner);
  if (team !== null) {
    if (identity.groups.some((mine) => maySameTeam(mine, team))) return 'same';
    return identity.groupsUnknown === true ? 'unknown' : 'other';
  }
  const person = readUser(owner);
  return person === null ? 'unknown' : likeness(identity, person);
}

/** Whether two sign-ins may be one person's: the same account, or a name in common. */
export function isSamePerson(one: Identity, other: Identity): boolean {
  return allNames(one).some((name) => allNames(other).some((another) => maySame(name, another)));
}

/**
 * Whether two sign-ins are surely one person's: a name in common that both have proven. What opens a page or
 * takes something back; a user name or an unverified e-mail is whatever its holder wrote.
 */
export function isSurelySame(one: Identity, other: Identity): boolean {
  return provenNames(one).some((name) => isProvenName(other, name));
}

/**
 * Whether one is surely another person than the other: no name in common, and accounts of one identity
 * provider, which has one for each person. Accounts of two cannot be told apart.
 */
export function isAnotherPerson(one: Identity, other: Identity): boolean {
  return one.issuer === other.issuer && !isSamePerson(one, other);
}

/** Whether a name that is vouched for is this person's, proven: what opens a page. */
export function isProvenName(identity: Identity, name: Identifier): boolean {
  return provenNames(identity).some((mine) => isSame(mine, name));
}

const inGroup = (identity: Identity, group: string) =>
  identity.groups.some((mine) => mine.normalize('NFC') === group.normalize('NFC'));

/**
 * Whether the person is in the approver set. Errs towards no: groups match exactly, `user:<e-mail>` matches a
 * verified e-mail only, `user:<kind>:<value>` a name of that kind, `oncall:<rota>` whoever was found on call
 * there, and an entry of any other form matches nobody. The user name can often be changed by its holder and
 * proves nothing.
 */
export function isApprover(identity: Identity, approvers: readonly string[]): boolean {
  return approvers.some((approver) => {
    const team = readTeam(approver);
    if (team !== null) return inGroup(identity, team);
    const rota = readRota(approver);
    if (rota !== null) return identity.onCall?.includes(rota) === true;
    const person = readUser(approver);
    return person !== null && person.kind !== null && isProvenName(identity, person);
  });
}

/** The part of an identity that history keeps: enough to name the person and why they could decide. */
export function identityRecord(identity: Identity): JsonObject {
  const { issuer, subject, groups, groupsUnknown, email, emailVerified, username, name, aliases, onCall } = identity;
  return {
    issuer,
    subject,
    groups,
    aliases: aliases.map(({ kind, value }) => ({ kind, value })),
    ...(groupsUnknown === undefined ? {} : { groupsUnknown }),
    ...(email === undefined ? {} : { email }),
    ...(emailVerified === undefined ? {} : { emailVerified }),
    ...(username === undefined ? {} : { username }),
    ...(name === undefined ? {} : { name }),
    ...(onCall === undefined || onCall.length === 0 ? {} : { onCall }),
  };
}

/**
 * Names that may change while the account stays: what is remembered of each sign-in, and which of them the
 * provider vouched for.
 */
export function namesToRemember(identity: Identity): { kind: string; value: string; proven: boolean }[] {
  const proven = provenNames(identity);
  const names = allNames({ ...identity, former: [] }).filter(({ kind }) => kind !== 'subject');
  return names.map(({ kind, value }) => ({
    kind,
    value: (kind === 'email' ? canonicalEmail(value) : null) ?? value,
    proven: proven.some((name) => name.kind === kind && name.value === value),
  }));
}

function texts(value: unknown): string[] {
  const list = Array.isArray(value) ? value : [value];
  return list
    .map((item) => (Number.isSafeInteger(item) ? String(item) : item))
    .filter((item) => typeof item === 'string' && item.trim() !== '') as string[];
}
