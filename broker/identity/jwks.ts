/**
 * Public keys of those we trust: fetched from a place the admin listed, kept for a while, never from a place
 * a token names.
 *
 * - Fresh for 10 minutes; a `kid` that is not there causes a new fetch, at most one per 30 seconds and
 *   source, so made-up `kid`s cannot hammer an issuer.
 * - In an outage the last good keys serve for 6 hours, then verification fails closed. Issuers' outages last
 *   hours, so a day's margin would buy nothing but time for whoever stole a key and can keep us from learning
 *   that it was withdrawn.
 * - One fetch at a time per source; everybody who needs it waits for the same one.
 * - No redirects, 5 seconds, 256 KiB, at most 100 keys; only the public members of signature keys that fit a
 *   pinned algorithm are kept.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { JWK } from 'jose';
import { certificateFault } from '../core/certificate-fault.ts';
import { readJson } from '../core/read-json.ts';
import type { Clock, JsonObject } from '../core/vocabulary.ts';
import { Refusal } from './refusal.ts';
import { addressProblem, type KeyLocation, type KeySource } from './trust.ts';
import type { SigningAlgorithm } from './trust-schema.ts';
import type { VerificationKey } from './verified-claims.ts';

const freshMs = 10 * 60_000;
const cooldownMs = 30_000;
const maxStaleMs = 6 * 3_600_000;
const timeoutMs = 5_000;
const maxBytes = 256 * 1024;
const maxKeys = 100;
const minRsaBits = 2_048;

export interface KeyResolver {
  /**
   * The one key of `source` that fits the header.
   * @throws Refusal `algorithm_not_allowed`, `unknown_key`, or `issuer_unavailable` when there are no keys
   *   recent enough to judge by
   */
  resolve(source: KeySource, header: { alg: string; kid?: unknown }): Promise<VerificationKey>;
}

export interface KeyResolverDeps {
  clock: Clock;
  /** Defaults to the platform's. */
  fetch?: typeof fetch;
}

interface Entry {
  keys: PublishedKey[];
  /** When `keys` were fetched; null before the first success. */
  fetchedAt: number | null;
  /** When the last attempt ended, well or not. */
  triedAt: number | null;
  /** Why the last attempt failed; null when it did not. */
  failure: unknown;
  inFlight: Promise<void> | null;
}

interface PublishedKey {
  kid: string | null;
  alg: string | null;
  jwk: JWK;
  /** Null until it is needed. */
  imported: KeyObject | null;
}

/**
 * One cache for all sources; a source's identity is the object itself, so a reloaded trust file starts
 * afresh.
 */
export function openKeyResolver(deps: KeyResolverDeps): KeyResolver {
  const entries = new WeakMap<KeySource, Entry>();
  const now = () => deps.clock.now().getTime();

  const entryOf = (source: KeySource): Entry => {
    let entry = entries.get(source);
    if (entry === undefined) {
      entry = { keys: [], fetchedAt: null, triedAt: null, failure: null, inFlight: null };
      if (source.location.kind === 'inline') entry.keys = publishedKeys({ keys: source.location.keys });
      entries.set(source, entry);
    }
    return entry;
  };

  const refresh = (source: KeySource, entry: Entry): Promise<void> => {
    entry.inFlight ??= fetchKeys(source, deps)
      .then(
        (keys) => {
          entry.keys = keys;
          entry.fetchedAt = now();
          entry.failure = null;
        },
        (failure: unknown) => {
          entry.failure = failure;
        },
      )
      .finally(() => {
        entry.triedAt = now();
        entry.inFlight = null;
      });
    return entry.inFlight;
  };
  const mayTry = (entry: Entry) =>
    entry.inFlight !== null || entry.triedAt === null || now() - entry.triedAt >= cooldownMs;
  const age = (entry: Entry) => (entry.fetchedAt === null ? Number.POSITIVE_INFINITY : now() - entry.fetchedAt);

  return {
    resolve: async (source, header) => {
      const alg = source.algorithms.find((allowed) => allowed === header.alg);
      if (alg === undefined)
        throw new Refusal('algorithm_not_allowed', `${source.name} does not sign with this algorithm`);
      const entry = entryOf(source);
      const remote = source.location.kind !== 'inline';
      if (remote && age(entry) >= freshMs && mayTry(entry)) await refresh(source, entry);
      if (remote && age(entry) >= maxStaleMs) throw unavailable(source, entry);
      let key = pick(entry.keys, alg, header.kid);
      if (key === null && remote && mayTry(entry)) {
        await refresh(source, entry);
        key = pick(entry.keys, alg, header.kid);
      }
      if (key !== null) return { algorithm: alg, key: imported(key) };
      // An unreachable issuer does not prove that the key does not exist: the agent may try again.
      if (remote && entry.failure !== null) throw unavailable(source, entry);
      throw new Refusal('unknown_key', `${source.name} has no single key that fits the token`);
    },
  };
}

function unavailable(source: KeySource, entry: Entry): Refusal {
  const fault = certificateFault(entry.failure);
  const why =
    fault === null
      ? ''
      : `: its certificate is not trusted (${fault}); \`ca\` in the trust file names a private authority`;
  return new Refusal('issuer_unavailable', `no current keys of ${source.name}${why}`, entry.failure);
}

/**
 * Exactly one key must fit; two that do are as bad as none, because trying keys in turn lets a token choose.
 */
function pick(keys: PublishedKey[], alg: SigningAlgorithm, kid: unknown): PublishedKey | null {
  const fitting = keys.filter(
    (key) =>
      fitsAlgorithm(key.jwk, alg) &&
      (key.alg === null || sameAlgorithm(key.alg, alg)) &&
      (kid === undefined || key.kid === kid),
  );
  return fitting.length === 1 ? (fitting[0] ?? null) : null;
}

/** RFC 9864: `Ed25519` says of `EdDSA` which curve; no other curve is known here. */
function sameAlgorithm(one: string, other: string): boolean {
  const name = (alg: string) => (alg === 'Ed25519' ? 'EdDSA' : alg);
  return name(one) === name(other);
}

function fitsAlgorithm(jwk: JWK, alg: SigningAlgorithm): boolean {
  if (alg.startsWith('RS') || alg.startsWith('PS')) return jwk.kty === 'RSA';
  if (alg === 'EdDSA' || alg === 'Ed25519') return jwk.kty === 'OKP' && jwk.crv === 'Ed25519';
  const curve = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg as 'ES256' | 'ES384' | 'ES512'];
  return jwk.kty === 'EC' && jwk.crv === curve;
}

/** @throws Refusal `unknown_key`: no key, or an RSA key that RFC 7518 section 3.3 calls too short */
function imported(published: PublishedKey): KeyObject {
  published.imported ??= importKey(published.jwk);
  return published.imported;
}

function importKey(jwk: JWK): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ format: 'jwk', key: jwk });
  } catch (error) {
    throw new Refusal('unknown_key', 'the key that fits cannot be used', error);
  }
  if ((key.asymmetricKeyDetails?.modulusLength ?? minRsaBits) < minRsaBits)
    throw new Refusal('unknown_key', `the key that fits has fewer than ${minRsaBits} bits`);
  return key;
}

/**
 * Keeps signature keys only, rebuilt from their public members. `use: "jwt-svid"` (SPIFFE) is that of a
 * signature key too.
 */
function publishedKeys(set: unknown): PublishedKey[] {
  const keys: unknown = (set as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys) || keys.length > maxKeys) throw new Error(`not a key set of at most ${maxKeys} keys`);
  return keys.flatMap((raw: unknown): PublishedKey[] => {
    if (typeof raw !== 'object' || raw === null) return [];
    const key = raw as JsonObject;
    if (key.use !== undefined && key.use !== 'sig' && key.use !== 'jwt-svid') return [];
    if (Array.isArray(key.key_ops) && !key.key_ops.includes('verify')) return [];
    const jwk = publicMembers(key);
    if (jwk === null) return [];
    return [{ kid: text(key.kid), alg: text(key.alg), jwk, imported: null }];
  });
}

function publicMembers(key: JsonObject): JWK | null {
  const [x, y, n, e, crv] = [text(key.x), text(key.y), text(key.n), text(key.e), text(key.crv)];
  if (key.kty === 'RSA' && n !== null && e !== null) return { kty: 'RSA', n, e };
  if (key.kty === 'EC' && crv !== null && x !== null && y !== null) return { kty: 'EC', crv, x, y };
  if (key.kty === 'OKP' && crv !== null && x !== null) return { kty: 'OKP', crv, x };
  return null;
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

async function fetchKeys(source: KeySource, deps: KeyResolverDeps): Promise<PublishedKey[]> {
  const stop = new AbortController();
  const done = new AbortController();
  deps.clock.sleep(timeoutMs, done.signal).then(
    () => stop.abort(new Error(`no answer within ${timeoutMs} ms`)),
    () => {}, // the fetch ended first
  );
  try {
    return publishedKeys(await fetchJson(await keySetAddress(source, deps, stop.signal), source, deps, stop.signal));
  } finally {
    done.abort();
  }
}

async function keySetAddress(source: KeySource, deps: KeyResolverDeps, signal: AbortSignal): Promise<string> {
  const { location } = source;
  if (location.kind === 'jwks_uri') return location.url;
  if (location.kind === 'inline') throw new Error('these keys are not fetched');
  const address = discoveryAddress(location);
  // OpenID Connect Discovery section 4.3, Shared Signals Framework 1.0 section 7.2: the issuer named inside
  // must be the very same.
  const found = (await fetchJson(address, source, deps, signal)) as { issuer?: unknown; jwks_uri?: unknown } | null;
  if (found?.issuer !== location.issuer) throw new Error('the discovery document is another issuer’s');
  if (typeof found.jwks_uri !== 'string') throw new Error('the discovery document names no jwks_uri');
  const problem = addressProblem(found.jwks_uri, source.allowInsecureLoopback);
  if (problem !== null) throw new Error(`the discovery document’s jwks_uri: ${problem}`);
  // Whoever may write that document must not be able to send us elsewhere for keys; the admin may.
  if (URL.parse(found.jwks_uri)?.host !== URL.parse(location.issuer)?.host) {
    const said =
      location.kind === 'discovery'
        ? `\`jwks_uri: ${found.jwks_uri}\` at ${source.name} in the trust file`
        : `WRIT_SIGNALS_JWKS_URL=${found.jwks_uri}`;
    throw new Error(`the discovery document names keys on another host; if that is right, write ${said}`);
  }
  return found.jwks_uri;
}

/**
 * OpenID Connect Discovery section 4.1 appends the path to the issuer; the Shared Signals Framework 1.0,
 * section 7.2, puts it between host and path.
 */
function discoveryAddress({ kind, issuer }: Extract<KeyLocation, { issuer: string }>): string {
  const base = issuer.replace(/\/$/, '');
  if (kind === 'discovery') return `${base}/.well-known/openid-configuration`;
  const { origin } = new URL(base);
  return `${origin}/.well-known/ssf-configuration${base.slice(origin.length)}`;
}

async function fetchJson(
  address: string,
  { ca }: KeySource,
  deps: KeyResolverDeps,
  signal: AbortSignal,
): Promise<unknown> {
  const headers = { accept: 'application/json' };
  if (ca !== null) return getJsonTrusting(ca, address, headers, signal);
  const response = await (deps.fetch ?? fetch)(address, { redirect: 'manual', signal, headers });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`status ${response.status}`);
  }
  return readJson(response, maxBytes);
}

/** What `fetch` cannot: a request that trusts one authority alone. It follows no redirect. */
async function getJsonTrusting(
  ca: string,
  address: string,
  headers: { [name: string]: string },
  signal: AbortSignal,
): Promise<unknown> {
  const sent = request(address, { ca, headers, signal });
  sent.end();
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  try {
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
    return await readJson({ body: answer }, maxBytes);
  } finally {
    answer.destroy();
  }
}
