/**
 * The trust file: whose tokens the broker believes, and which agent each stands for. Read once at start; a
 * file with any fault is refused whole.
 *
 * The rules that a schema cannot hold are here: patterns compile (RE2, linear time, matched whole), plain
 * http only on loopback and only when asked for, and a binding must say something that strangers at the same
 * issuer do not satisfy.
 */
import { LineCounter, parseDocument } from 'yaml';
import type { FieldFault } from '../core/errors.ts';
import { didYouMean } from '../core/field-words.ts';
import { isLoopback } from '../core/loopback.ts';
import { readShape } from '../core/shape-faults.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { type ClaimMatcher, claimMatchers } from './claim-rules.ts';
import { type FaultPath, pathText, positionOf, type Report } from './file-faults.ts';
import { ownerHint, pinsOwner, wellKnownKind } from './owner-claims.ts';
import { checkResponsible, type PersonClaim, personClaim, type SignInNames } from './person-claim.ts';
import { type IssuerKind, type SigningAlgorithm, type TrustFile, trustFileSchema } from './trust-schema.ts';

/** Where public keys come from: exactly one of these. The last is that of signals, and in no trust file. */
export type KeyLocation =
  | { kind: 'inline'; keys: JsonObject[] }
  | { kind: 'jwks_uri'; url: string }
  | { kind: 'discovery'; issuer: string }
  | { kind: 'ssf_discovery'; issuer: string };

/** What jwks.ts needs to know of an issuer or client. Its identity (the object) is the cache key. */
export interface KeySource {
  name: string;
  location: KeyLocation;
  algorithms: readonly SigningAlgorithm[];
  allowInsecureLoopback: boolean;
  /** Certificates (PEM) that its address is held to; null = those the system trusts. */
  ca: string | null;
}

export interface TrustedIssuer extends KeySource {
  issuer: string;
  kind: IssuerKind;
  /** The `aud` expected of it, one of these; null = the broker's own. */
  audiences: readonly string[] | null;
  /** A token that is for others as well is taken. */
  otherAudiences: boolean;
  maxTokenAgeSeconds: number;
  /** A token opens one session, with whatever key. */
  singleUse: boolean;
}

export interface Binding {
  issuerName: string;
  claims: readonly ClaimMatcher[];
  agent: string;
  startedBy: PersonClaim | null;
  onBehalfOf: PersonClaim | null;
  /** `team:…` or `user:…` that counts as the starter of its runs. */
  responsible: string | null;
}

export interface TrustedClient extends KeySource {
  agent: string;
  clientId: string;
  /** As of a binding: nothing else says who started its runs. */
  responsible: string | null;
}

/** A service that takes session tokens: it may ask whether they are alive. */
export interface ResourceServer extends KeySource {
  clientId: string;
}

export interface Trust {
  /** By the `iss` of its tokens. */
  issuers: ReadonlyMap<string, TrustedIssuer>;
  bindings: readonly Binding[];
  /** By `client_id`. */
  clients: ReadonlyMap<string, TrustedClient>;
  /** By `client_id`. */
  resourceServers: ReadonlyMap<string, ResourceServer>;
}

export interface TrustOptions {
  /** Accept `http://` addresses on loopback: for the sandbox and tests, never for production. */
  allowInsecureLoopback?: boolean;
  /** Which names sign-in gives of a person; null (the default) = nobody signs in, so nobody approves. */
  signIn?: SignInNames | null;
}

export type ParsedTrust = { ok: true; trust: Trust } | { ok: false; faults: FieldFault[] };

/** Trusts nobody: for a broker without a trust file. */
export const emptyTrust: Trust = {
  issuers: new Map(),
  bindings: [],
  clients: new Map(),
  resourceServers: new Map(),
};

/**
 * Parses a trust file (YAML). All faults are reported together, each with its path and, where it has one, its
 * line and column.
 */
export function parseTrust(text: string, options: TrustOptions = {}): ParsedTrust {
  const lines = new LineCounter();
  // Refuse aliases (maxAliasCount 0): a reviewer would not see a rule that is defined elsewhere in the file.
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const faults: FieldFault[] = [];
  const report: Report = (path, message) => {
    faults.push({ path: pathText(path), message, ...positionOf(document.contents, path, lines) });
  };
  for (const error of document.errors) {
    const { line, col } = lines.linePos(error.pos[0]);
    faults.push({ path: '', message: error.message, line, column: col });
  }
  if (faults.length > 0) return { ok: false, faults };

  let plain: unknown;
  try {
    plain = document.toJS({ maxAliasCount: 0 }) ?? {};
  } catch {
    return { ok: false, faults: [{ path: '', message: 'Aliases (*name) are not read here; write the value out.' }] };
  }
  const shape = readShape(plain, trustFileSchema);
  if (!shape.ok) {
    for (const { path, message } of shape.faults) report(path, message);
    return { ok: false, faults };
  }
  const trust = compile(shape.value, options.allowInsecureLoopback === true, options.signIn ?? null, report);
  return faults.length > 0 ? { ok: false, faults } : { ok: true, trust };
}

function compile(file: TrustFile, allowInsecureLoopback: boolean, signIn: SignInNames | null, report: Report): Trust {
  const issuers = new Map<string, TrustedIssuer>();
  const byName = new Map<string, TrustedIssuer>();
  for (const [index, entry] of file.issuers.entries()) {
    const at = ['issuers', index];
    if (!isTrustDomain(entry.issuer)) checkAddress(entry.issuer, allowInsecureLoopback, [...at, 'issuer'], report);
    else if (entry.jwks === undefined && entry.jwks_uri === undefined)
      report(at, 'A trust domain has no address: give `jwks`, or `jwks_uri` of its bundle');
    const known = wellKnownKind(entry.issuer);
    if (known !== undefined && entry.kind !== undefined && entry.kind !== known)
      report([...at, 'kind'], `This issuer is known: it is ${known}`);
    const issuer: TrustedIssuer = {
      name: entry.name,
      issuer: entry.issuer,
      location: keyLocation(entry, entry.issuer, allowInsecureLoopback, at, report),
      algorithms: withBothNames(entry.algorithms),
      kind: known ?? entry.kind ?? 'generic',
      audiences: entry.audience === undefined ? null : [entry.audience].flat(),
      otherAudiences: entry.other_audiences,
      maxTokenAgeSeconds: seconds(entry.max_token_age),
      singleUse: entry.single_use,
      allowInsecureLoopback,
      ca: entry.ca ?? null,
    };
    for (const [i, audience] of (issuer.audiences ?? []).entries()) {
      const where = [...at, 'audience', ...(Array.isArray(entry.audience) ? [i] : [])];
      if (sharedAudiences.has(audience))
        report(where, 'Others accept this audience too: a token meant for them would open a session here');
    }
    if (issuers.has(entry.issuer)) report([...at, 'issuer'], 'Listed twice');
    if (byName.has(entry.name)) report([...at, 'name'], 'Used twice');
    issuers.set(entry.issuer, issuer);
    byName.set(entry.name, issuer);
  }

  const bindings: Binding[] = [];
  for (const [index, entry] of file.bindings.entries()) {
    const at = ['bindings', index];
    const issuer = byName.get(entry.issuer);
    if (issuer === undefined)
      report([...at, 'issuer'], `No issuer has this name${didYouMean(entry.issuer, byName.keys())}`);
    const claims = claimMatchers(entry.claims, [], [...at, 'claims'], report);
    if (issuer !== undefined && !claims.some(({ path, ends }) => pinsOwner(issuer.kind, path, ends))) {
      report([...at, 'claims'], `Nothing here says whose workload it is: hold ${ownerHint(issuer.kind)}`);
    }
    const person = (field: 'started_by' | 'on_behalf_of') =>
      personClaim({ field, entry, at, issuer: issuer?.issuer ?? '', signIn, report });
    checkResponsible(entry.responsible, signIn, [...at, 'responsible'], report);
    bindings.push({
      issuerName: entry.issuer,
      claims,
      agent: entry.agent,
      startedBy: person('started_by'),
      onBehalfOf: person('on_behalf_of'),
      responsible: entry.responsible ?? null,
    });
  }

  const clients = new Map<string, TrustedClient>();
  for (const [index, entry] of file.clients.entries()) {
    const at = ['clients', index];
    if (clients.has(entry.client_id)) report([...at, 'client_id'], 'Used twice');
    checkResponsible(entry.responsible, signIn, [...at, 'responsible'], report);
    clients.set(entry.client_id, {
      name: entry.client_id,
      agent: entry.agent,
      clientId: entry.client_id,
      location: keyLocation(entry, null, allowInsecureLoopback, at, report),
      algorithms: withBothNames(entry.algorithms),
      allowInsecureLoopback,
      ca: entry.ca ?? null,
      responsible: entry.responsible ?? null,
    });
  }

  const resourceServers = new Map<string, ResourceServer>();
  for (const [index, entry] of file.resource_servers.entries()) {
    const at = ['resource_servers', index];
    if (clients.has(entry.client_id) || resourceServers.has(entry.client_id))
      report([...at, 'client_id'], 'Used twice');
    resourceServers.set(entry.client_id, {
      name: entry.client_id,
      clientId: entry.client_id,
      location: keyLocation(entry, null, allowInsecureLoopback, at, report),
      algorithms: withBothNames(entry.algorithms),
      allowInsecureLoopback,
      ca: entry.ca ?? null,
    });
  }
  return { issuers, bindings, clients, resourceServers };
}

/** JWT-SVIDs need no `iss`: their `sub` names the trust domain (SPIFFE JWT-SVID section 3). */
export const isTrustDomain = (issuer: string): boolean => /^spiffe:\/\/[a-z0-9._-]{1,247}$/.test(issuer);

/** Audiences that platforms hand out for everybody's use; the broker's must be its own. */
const sharedAudiences = new Set([
  'sts.amazonaws.com',
  'sigstore',
  'api://AzureADTokenExchange',
  'https://kubernetes.default.svc',
  'https://kubernetes.default.svc.cluster.local',
]);

function keyLocation(
  entry: { jwks?: { keys: { [member: string]: unknown }[] } | undefined; jwks_uri?: string | undefined },
  discoverAt: string | null,
  allowInsecureLoopback: boolean,
  at: FaultPath,
  report: Report,
): KeyLocation {
  if (entry.jwks !== undefined && entry.jwks_uri !== undefined) report(at, 'Give `jwks` or `jwks_uri`, not both');
  if (entry.jwks !== undefined) {
    for (const [index, key] of entry.jwks.keys.entries()) {
      if (key.kty === 'oct' || key.d !== undefined || key.k !== undefined) {
        report(
          [...at, 'jwks', 'keys', index],
          'This is a secret key: take it out of the file, replace it, and write its public half here',
        );
      }
    }
    return { kind: 'inline', keys: entry.jwks.keys as JsonObject[] };
  }
  if (entry.jwks_uri !== undefined) {
    checkAddress(entry.jwks_uri, allowInsecureLoopback, [...at, 'jwks_uri'], report);
    return { kind: 'jwks_uri', url: entry.jwks_uri };
  }
  if (discoverAt === null) {
    report(at, 'Give its public keys: `jwks` or `jwks_uri`');
    return { kind: 'inline', keys: [] };
  }
  return { kind: 'discovery', issuer: discoverAt };
}

function checkAddress(address: string, allowInsecureLoopback: boolean, at: FaultPath, report: Report): void {
  const problem = addressProblem(address, allowInsecureLoopback);
  if (problem !== null) report(at, problem);
}

/**
 * Null when keys may be fetched from there; otherwise why not. Also asked of the addresses a discovery
 * document names.
 */
export function addressProblem(address: string, allowInsecureLoopback: boolean): string | null {
  const url = URL.parse(address);
  if (url === null) return 'Not a URL';
  if (url.username !== '' || url.password !== '' || url.hash !== '') return 'No user name, password or fragment here';
  if (url.protocol === 'https:') return null;
  if (url.protocol === 'http:' && isLoopback(url.href) && allowInsecureLoopback) return null;
  return 'An https URL is needed (http only on loopback, for trying things out)';
}

/** `EdDSA` and `Ed25519` (RFC 9864) name the same algorithm: whoever takes one takes the other. */
function withBothNames(algorithms: readonly SigningAlgorithm[]): SigningAlgorithm[] {
  const names: SigningAlgorithm[] = ['EdDSA', 'Ed25519'];
  const others = algorithms.filter((alg) => !names.includes(alg));
  return others.length === algorithms.length ? [...algorithms] : [...others, ...names];
}

function seconds(duration: string): number {
  const unit = { s: 1, m: 60, h: 3600 }[duration.slice(-1)] ?? Number.NaN;
  return Number(duration.slice(0, -1)) * unit;
}
