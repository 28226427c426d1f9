/**
 * The ring of signing keys, kept in the database so that every process signs with the same ones and publishes
 * the same JWKS. One line of keys for each algorithm: ES256 for all that the broker verifies itself, RS256
 * beside it for verifiers that read no other.
 *
 * Life of a key: created → published in the JWKS → signs from `active_from` → no longer signs once a newer
 * key is active → leaves the JWKS when the last token it can have signed has expired. A key that may be in
 * other hands is withdrawn: it leaves at once, and what it signed is refused.
 *
 * Of a row only the sealed part is believed, and it says everything: the key, of which the public half is
 * computed, its times, and which keys it retires and when. The columns beside it are for people and for SQL;
 * the one that counts, `retired_at`, can only take a key away earlier.
 */

import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { exportJWK, type JWK } from 'jose';
import { z } from 'zod';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { selfSigned } from './certificate.ts';
import { type OwnSignatures, ownSignatures } from './own-signatures.ts';
import type { Seal } from './seal.ts';

export const ringAlgorithms = ['ES256', 'RS256'] as const;
export type RingAlgorithm = (typeof ringAlgorithms)[number];

export interface SigningKey {
  kid: string;
  alg: RingAlgorithm;
  publicJwk: JWK;
  privateKey: KeyObject;
  publicKey: KeyObject;
  own: OwnSignatures;
  activeFrom: Date;
  /** Keys that leave the JWKS because of this one, and when. */
  retires: ReadonlyMap<string, Date>;
}

export interface KeyRing {
  /**
   * The key that signs now; ES256 when nothing is said. @throws Error when there is none: then nothing may be
   * issued
   */
  current(alg?: RingAlgorithm): SigningKey;
  /** A key of ES256 that may still verify, by its id. */
  find(kid: string): SigningKey | undefined;
  /** Every key of ES256 that may still verify. */
  published(): SigningKey[];
  /**
   * Public keys, `kid`, `alg`, `use` set (RFC 7517), and `x5c` for ES256. The one of ES256 that signs now is
   * the first: radosgw 16 looks at no other.
   */
  jwks(): { keys: JWK[] };
  /** Reads the ring again; called on a timer and when an unknown kid turns up. */
  reload(): Promise<void>;
  /**
   * Adds a key of each algorithm that will sign after `leadSeconds`, and sets when the present ones leave the
   * JWKS.
   * @returns the new kid of ES256
   */
  rotate(leadSeconds: number, actor: string): Promise<string>;
  /**
   * Withdraws a key at once; where no other may sign now, the next signs from now on.
   * @returns the key that signs in its place; null when there is no such key, or it was withdrawn before
   */
  withdraw(kid: string, actor: string, requestId: string | null): Promise<string | null>;
}

export interface RingOptions {
  clock: Clock;
  seal: Seal;
  /** Lifetime of the longest-lived token these keys sign, in seconds: how long an old key stays published. */
  longestTokenSeconds: number;
  /** Told of rows that are left out. */
  log?: { error(fields: object, message: string): void };
}

/** What is sealed in a row: a private JWK with members of ours (RFC 7517 section 4). */
const times = { active_from: z.iso.datetime(), retires: z.record(z.string(), z.iso.datetime()) };
const part = z.base64url();
const sealedKey = z.discriminatedUnion('kty', [
  z.strictObject({
    kty: z.literal('EC'),
    crv: z.literal('P-256'),
    x: part,
    y: part,
    d: part,
    /** Absent in keys that are older than it. */
    x5c: z.array(z.base64()).length(1).optional(),
    ...times,
  }),
  z.strictObject({
    kty: z.literal('RSA'),
    n: part,
    e: part,
    d: part,
    p: part,
    q: part,
    dp: part,
    dq: part,
    qi: part,
    ...times,
  }),
]);

const newPairs: { [Alg in RingAlgorithm]: () => Promise<{ publicKey: KeyObject; privateKey: KeyObject }> } = {
  ES256: () => promisify(generateKeyPair)('ec', { namedCurve: 'P-256' }),
  RS256: () => promisify(generateKeyPair)('rsa', { modulusLength: 2048 }),
};

const insertKey: Statement = {
  name: 'keys_insert',
  text: `
    WITH old AS (
      UPDATE signing_key SET retired_at = $7::timestamptz
      WHERE retired_at IS NULL AND $8::text = 'rotate' AND public_jwk ->> 'alg' = $10::text RETURNING kid
    ), new AS (
      INSERT INTO signing_key (kid, public_jwk, private_jwe, created_at, active_from)
      SELECT $1::text, $2::jsonb, $3::text, $4::timestamptz, $5::timestamptz WHERE $8::text = 'rotate' OR NOT EXISTS (
        SELECT 1 FROM signing_key WHERE retired_at IS NULL AND kid <> ALL($9::text[]) AND public_jwk ->> 'alg' = $10::text)
      RETURNING kid
    ), event AS (
      ${appendEvent({ chain: "'system'", at: '$4::timestamptz', type: event('key.created'), actor: '$6::text', payload: "json_build_object('kid', kid, 'active_from', $5::timestamptz)" }, 'new')}
    )
    SELECT kid FROM new`,
};

/**
 * One statement, so that no process ever finds the ring without a key that may sign. The successor is made in
 * any case: what is sealed in it keeps the withdrawn key out, whatever becomes of that one's row.
 */
const withdrawKey: Statement = {
  name: 'keys_withdraw',
  text: `
    WITH gone AS (
      UPDATE signing_key SET retired_at = $2::timestamptz, withdrawn_at = $2::timestamptz WHERE kid = $1::text AND withdrawn_at IS NULL RETURNING kid
    ), new AS (
      INSERT INTO signing_key (kid, public_jwk, private_jwe, created_at, active_from)
      SELECT $4::text, $5::jsonb, $6::text, $2::timestamptz, $2::timestamptz FROM gone
      RETURNING kid
    ), event AS (
      ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('key.withdrawn'), actor: '$3::text', request: '$7::text', payload: "json_build_object('kid', kid)" }, 'gone')}
    ), successor AS (
      ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('key.created'), actor: '$3::text', request: '$7::text', payload: "json_build_object('kid', kid, 'active_from', $2::timestamptz)" }, 'new')}
    )
    SELECT kid FROM gone`,
};

/** The successor's sealed part keeps a withdrawn key out; where its row is gone, the record does. */
const withdrawnStatement: Statement = {
  name: 'keys_withdrawn',
  text: `SELECT payload ->> 'kid' AS kid, at FROM audit_event WHERE chain = 'system' AND type = ${event('key.withdrawn')}`,
};

/**
 * The last of those that are active signs. Of two made in the same moment it is one that no other retires;
 * failing that any, as long as every process takes the same.
 */
function inOrder(keys: readonly SigningKey[]): SigningKey[] {
  const retired = retiredBy(keys);
  return keys.toSorted(
    (a, b) =>
      a.activeFrom.getTime() - b.activeFrom.getTime() ||
      Number(retired.has(b.kid)) - Number(retired.has(a.kid)) ||
      (a.kid < b.kid ? -1 : 1),
  );
}

/** Keys that another retires, as it is sealed. */
const retiredBy = (keys: readonly SigningKey[]) => new Set(keys.flatMap((key) => [...key.retires.keys()]));

interface LeftOut {
  kid: string;
  leftOut: 'does not open' | 'is not of our making';
}

/** What a row's sealed part says; or why the row is left out. */
async function openKey(seal: Seal, row: { kid: string; privateJwe: string }): Promise<SigningKey | LeftOut> {
  let text: string;
  try {
    text = await seal.open(row.privateJwe, row.kid);
  } catch {
    return { kid: row.kid, leftOut: 'does not open' };
  }
  try {
    const { active_from, retires, ...jwk } = sealedKey.parse(JSON.parse(text));
    const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
    const publicKey = createPublicKey(privateKey);
    const alg = jwk.kty === 'EC' ? 'ES256' : 'RS256';
    const x5c = jwk.kty === 'EC' && jwk.x5c !== undefined ? { x5c: jwk.x5c } : {};
    return {
      kid: row.kid,
      alg,
      publicJwk: { ...(await exportJWK(publicKey)), kid: row.kid, alg, use: 'sig', ...x5c },
      privateKey,
      publicKey,
      own: ownSignatures(),
      activeFrom: new Date(active_from),
      retires: new Map(Object.entries(retires).map(([kid, at]) => [kid, new Date(at)])),
    };
  } catch {
    return { kid: row.kid, leftOut: 'is not of our making' };
  }
}

/** Opens the ring; the very first start makes the first keys. */
export async function openKeyRing(store: Store, options: RingOptions): Promise<KeyRing> {
  const { clock, seal } = options;
  let keys: SigningKey[] = [];
  let leftOut = new Set<string>();
  /**
   * When each key leaves the JWKS. What this process has once learned it keeps, whatever becomes of the rows.
   */
  const publishedUntil = new Map<string, Date>();
  const retire = (kid: string, at: Date) => {
    const known = publishedUntil.get(kid);
    if (known === undefined || at < known) publishedUntil.set(kid, at);
  };

  /** @throws Error when no key at all opens: most likely another key-encryption key than the database's */
  async function reload(): Promise<void> {
    const rows = await store.prisma.signingKey.findMany({ select: { kid: true, privateJwe: true, retiredAt: true } });
    const known = new Map(keys.map((key) => [key.kid, key]));
    const opened = await Promise.all(rows.map(async (row) => known.get(row.kid) ?? openKey(seal, row)));
    const usable = opened.filter((key): key is SigningKey => !('leftOut' in key));
    const others = opened.filter((key): key is LeftOut => 'leftOut' in key);
    const [closed] = others.filter((key) => key.leftOut === 'does not open');
    if (usable.length === 0 && closed !== undefined) {
      const why =
        'is WRIT_KEY_ENCRYPTION_KEY (or the key file in WRIT_DATA_DIR) the one this database was written with?';
      throw new Error(`signing key ${closed.kid} cannot be opened: ${why}`);
    }
    for (const { kid, leftOut: why } of others)
      if (!leftOut.has(kid)) options.log?.error({ kid, why }, 'a signing key in the database is left out');
    leftOut = new Set(others.map(({ kid }) => kid));
    keys = inOrder(usable);
    for (const key of keys) for (const [kid, at] of key.retires) retire(kid, at);
    for (const { kid, retiredAt } of rows) if (retiredAt !== null) retire(kid, retiredAt);
  }

  /** @param retires keys that leave the JWKS because of this one, and when: sealed in it */
  async function newKey(alg: RingAlgorithm, activeFrom: Date, retires: readonly (readonly [string, Date])[]) {
    const pair = await newPairs[alg]();
    const kid = randomBytes(12).toString('base64url');
    const publicJwk = { ...(await exportJWK(pair.publicKey)), kid, alg, use: 'sig' };
    const sealed = sealedKey.parse({
      ...(await exportJWK(pair.privateKey)),
      // Signed once and kept: every process publishes the same one, whose fingerprint can be registered.
      ...(alg === 'ES256' ? { x5c: [selfSigned(kid, pair, clock.now())] } : {}),
      active_from: activeFrom.toISOString(),
      retires: Object.fromEntries(retires.map(([old, at]) => [old, at.toISOString()])),
    });
    const privateJwe = await seal.seal(JSON.stringify(sealed), kid);
    return { kid, publicJwk: JSON.stringify(publicJwk), privateJwe };
  }

  async function create(
    purpose: 'first' | 'rotate',
    alg: RingAlgorithm,
    leadSeconds: number,
    actor: string,
  ): Promise<string> {
    const now = clock.now();
    const activeFrom = new Date(now.getTime() + leadSeconds * 1000);
    const retireOld = new Date(activeFrom.getTime() + options.longestTokenSeconds * 1000);
    if (purpose === 'rotate') await reload();
    // What a column says of an old key is not enough: it may be changed back.
    const retired = retiredBy(keys);
    const old = keys
      .filter((key) => key.alg === alg && !retired.has(key.kid))
      .map((key): [string, Date] => [key.kid, retireOld]);
    const { kid, publicJwk, privateJwe } = await newKey(alg, activeFrom, purpose === 'rotate' ? old : []);
    const signing = new Set(published().map((key) => key.kid));
    const none = [...leftOut, ...keys.map((key) => key.kid).filter((one) => !signing.has(one))];
    const values = [kid, publicJwk, privateJwe, now, activeFrom, actor, retireOld, purpose, none, alg];
    await store.run(insertKey, values);
    await reload();
    return kid;
  }

  async function withdraw(kid: string, actor: string, requestId: string | null): Promise<string | null> {
    const now = clock.now();
    const alg = keys.find((key) => key.kid === kid)?.alg ?? 'ES256';
    const next = await newKey(alg, now, [[kid, now]]);
    const values = [kid, now, actor, next.kid, next.publicJwk, next.privateJwe, requestId];
    const gone = await store.run(withdrawKey, values);
    await reload();
    return gone.length === 0 ? null : current(alg).kid;
  }

  const published = () => {
    const now = clock.now();
    return keys.filter((key) => {
      const until = publishedUntil.get(key.kid);
      return until === undefined || until > now;
    });
  };
  // What the broker verifies itself is never judged by a key that signs for others.
  const own = () => published().filter(({ alg }) => alg === 'ES256');

  const signing = (alg: RingAlgorithm) => {
    const now = clock.now();
    return published().findLast((candidate) => candidate.alg === alg && candidate.activeFrom <= now);
  };

  const current = (alg: RingAlgorithm = 'ES256') => {
    const key = signing(alg);
    if (key === undefined)
      throw new WritError('unavailable', {
        retryAfterSeconds: 5,
        cause: new Error(`no signing key of ${alg} is active`),
      });
    return key;
  };

  await reload();
  for (const { kid, at } of await store.run<{ kid: string; at: Date }>(withdrawnStatement, [])) retire(kid, at);
  for (const alg of ringAlgorithms)
    if (!published().some((key) => key.alg === alg)) await create('first', alg, 0, 'system');
  return {
    current,
    published: own,
    find: (kid) => own().find((key) => key.kid === kid),
    jwks: () => {
      const first = signing('ES256')?.kid;
      const place = (key: SigningKey) => (key.kid === first ? 0 : 1 + ringAlgorithms.indexOf(key.alg));
      return {
        keys: published()
          .toSorted((a, b) => place(a) - place(b))
          .map((key) => key.publicJwk),
      };
    },
    reload,
    rotate: async (leadSeconds, actor) => {
      const kid = await create('rotate', 'ES256', leadSeconds, actor);
      await create('rotate', 'RS256', leadSeconds, actor);
      return kid;
    },
    withdraw,
  };
}
