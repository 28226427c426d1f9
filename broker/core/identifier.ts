/**
 * Names of people. Each is of a kind (an e-mail address, a subject of an issuer, a login at a code host), and
 * only names of one kind are ever compared: `octo` at a code host and `octo` at an identity provider may be
 * two people, and one person is seldom called the same at both. Pure.
 */
import { domainToASCII } from 'node:url';

/** One name of a person. */
export interface Identifier {
  /**
   * `email`, `subject` (stable at one issuer), `username`, `oid`, or the name that the admin gave a kind of
   * their own (WRIT_OIDC_ALIAS_CLAIMS).
   */
  kind: string;
  value: string;
  /** Of a subject: who issued it. Subjects of two issuers are of two kinds. */
  issuer?: string | undefined;
}

/** A name that somebody other than the agent answers for. */
export interface VouchedPerson extends Identifier {
  /** Who says so: the platform's token today; room for an ID-JAG and for a person who is signed in. */
  by: 'platform_token';
}

/** A name as somebody wrote it: of a known kind, or a bare one that may be of any. */
export type NamedPerson = Identifier | { kind: null; value: string };

export const maxNameLength = 254;
const kindPattern = /^[a-z][a-z0-9_]{0,62}$/;
/** Words before a colon that can be no kind, because they mean something else. */
const reservedKinds = new Set(['team', 'user', 'agent']);

/** Whether `name` may name a kind of identifier. */
export const isKind = (name: string): boolean => kindPattern.test(name) && !reservedKinds.has(name);

/** Short, well-formed, nothing invisible, no space at either end: a name that people can read and compare. */
export function isName(text: string): boolean {
  return (
    text !== '' &&
    text.length <= maxNameLength &&
    text.isWellFormed() &&
    text === text.trim() &&
    !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u.test(text)
  );
}

/**
 * The one spelling of an e-mail address, or null when it is none. The domain in its ASCII form and lower
 * case, without a dot at its end; of the local part the ASCII letters in lower case, the rest in Unicode's
 * normal form C. Nothing else is folded: not dots, not `+tags`, not two domains of one provider.
 */
export function canonicalEmail(text: string): string | null {
  const at = text.lastIndexOf('@');
  const local = text.slice(0, at);
  const domain = asciiDomain(text.slice(at + 1).replace(/\.$/, ''));
  if (at < 1 || !isName(text) || local.length > 64 || /[\s@"(),:;<>[\\\]]/.test(local)) return null;
  if (!/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(domain) || domain.includes('..')) return null;
  return `${asciiLower(local.normalize('NFC'))}@${domain}`;
}

/**
 * Letters, digits and hyphens in lower case, the last label not numeric: what `domainToASCII` gives back as
 * it is. It parses a whole URL, for every run that somebody started.
 */
const plainDomain = /^(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*$/;

const asciiDomain = (domain: string): string =>
  plainDomain.test(domain) && !domain.includes('xn--') ? domain : domainToASCII(domain);

/**
 * A person as `user:…` says it: `user:a@example.com`, `user:<kind>:<value>`, or `user:<name>` of no stated
 * kind.
 * @returns null when it is not well-formed
 */
export function readUser(text: string): NamedPerson | null {
  if (!text.startsWith('user:') || !isName(text)) return null;
  const value = text.slice('user:'.length);
  if (!isName(value)) return null;
  const colon = value.indexOf(':');
  const kind = value.slice(0, colon);
  if (colon < 0) {
    if (!value.includes('@')) return { kind: null, value };
    const email = canonicalEmail(value);
    return email === null ? null : { kind: 'email', value: email };
  }
  const rest = value.slice(colon + 1);
  if (!isKind(kind) || !isName(rest)) return null;
  if (kind !== 'email') return { kind, value: rest };
  const email = canonicalEmail(rest);
  return email === null ? null : { kind, value: email };
}

/**
 * Whether a name is surely that of no person: an app or a token at a code host, a cloud's service account.
 * Whoever had it start a run is named by nobody.
 */
export function isMachine({ kind, value }: Identifier): boolean {
  const account = kind === 'email' && /\.gserviceaccount\.com$/i.test(canonicalEmail(value) ?? '');
  return account || /\[bot\]$/i.test(value) || /^(?:project|group)_\d+_bot(?:_|\d|$)/i.test(value);
}

/** `team:<group>` as the identity provider spells the group; null when it is not well-formed. */
export function readTeam(text: string): string | null {
  const group = text.startsWith('team:') ? text.slice('team:'.length) : '';
  return isName(group) ? group.normalize('NFC') : null;
}

/** Whether it names who answers for something: `team:<group>`, `user:<e-mail>` or `user:<kind>:<value>`. */
export function isOwnerName(text: string): boolean {
  const person = readUser(text);
  return readTeam(text) !== null || (person !== null && person.kind !== null);
}

/** `oncall:<rota>`, whoever is on call there; null when it is not well-formed. */
export function readRota(text: string): string | null {
  const name = text.startsWith('oncall:') ? text.slice('oncall:'.length) : '';
  return isRotaName(name) ? name : null;
}

export const isRotaName = (name: string): boolean => /^[a-z0-9][a-z0-9_-]{0,62}$/.test(name);

/** Whether it names whose approvals may count: an owner's name, or a rota. */
export const isApproverName = (text: string): boolean => isOwnerName(text) || readRota(text) !== null;

/** An identifier as people read it and `readUser` reads it back. */
export function userText({ kind, value }: NamedPerson): string {
  return kind === null || kind === 'email' ? `user:${value}` : `user:${kind}:${value}`;
}

/**
 * Whether two names are certainly one person's: what a right may hang on. An e-mail in its one spelling, all
 * else letter by letter.
 */
export function isSame(one: Identifier, other: Identifier): boolean {
  if (one.kind !== other.kind || !sameIssuer(one, other)) return false;
  if (one.kind !== 'email') return one.value.normalize('NFC') === other.value.normalize('NFC');
  const email = canonicalEmail(one.value);
  return email !== null && email === canonicalEmail(other.value);
}

/**
 * Whether two names may be one person's: what bars. Errs towards yes: letter case, width, and what is
 * invisible make no difference.
 */
export function maySame(one: Identifier, other: NamedPerson): boolean {
  if (other.kind === null) return one.kind !== 'email' && fold(one.value) === fold(other.value);
  if (one.kind !== other.kind || !sameIssuer(one, other)) return false;
  return isSame(one, other) || foldAs(one) === foldAs(other);
}

/** Whether two groups may be one, as `maySame` has it of people; nor does a leading slash tell them apart. */
export function maySameTeam(one: string, other: string): boolean {
  return foldTeam(one) === foldTeam(other);
}

/** Keycloak's groups begin with a slash where it is told to send their whole path. */
const foldTeam = (group: string): string => fold(group).replace(/^\//, '');

function sameIssuer(one: Identifier, other: Identifier): boolean {
  // A subject without an issuer is one of the only identity provider that people sign in at.
  return one.issuer === undefined || other.issuer === undefined || one.issuer === other.issuer;
}

function foldAs({ kind, value }: Identifier): string {
  const plain = fold(value);
  return kind === 'email' ? (canonicalEmail(plain) ?? plain) : plain;
}

function fold(name: string): string {
  return name
    .normalize('NFKC')
    .toLowerCase()
    .normalize('NFKC')
    .replace(/[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu, '')
    .trim();
}

const asciiLower = (text: string) => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
