/**
 * The ring of signing keys (ES256), kept in the database so that every process signs with the same one and
 * publishes the same JWKS.
 *
 * Life of a key: created → published in the JWKS → signs from `active_from` → no longer signs once a newer
 * key is active → leaves the JWKS when the last token it can have signed has expired. A key that may be in
 * other hands is withdrawn: it leaves at once, and what it signed is refused.
 *
 * Of a row only the sealed part is believed, and it says everything: the key, of which the public half is
 * computed, its times, and which keys it retires and when. The columns beside it are for people and for SQL;
 * the one that counts, `retired_at`, can only take a key away earlier.
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { exportJWK, type JWK } from 'jose';
import { z } from 'zod';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { selfSigned } from './certificate.ts';
import { type OwnSignatures, ownSignatures } from './own-signatures.ts';
import type { Seal } from './seal.ts';

export interface SigningKey {
  kid: string;
  publicJwk: JWK;
  privateKey: KeyObject;
  publicKey: KeyObject;
  own: OwnSignatures;
  activeFrom: Date;
  /** Keys that leave the JWKS because of this one, and when. */
  retires: ReadonlyMap<string, Date>;
}

export interface KeyRing {
  /** The key that signs now. @throws Error when there is none: then nothing may be issued */
  current(): SigningKey;
  /** A key that may still verify, by its id. */
  find(kid: string): SigningKey | undefined;
  /** Every key that may still verify. */
  published(): SigningKey[];
  /**
   * Public keys, `kid`, `alg`, `use` and `x5c` set (RFC 7517). The one that signs now is the first: radosgw
   * 16 looks at no other.
   */
  jwks(): { keys: JWK[] };
  /** Reads the ring again; called on a timer and when an unknown kid turns up. */
  reload(): Promise<void>;
  /**
   * Adds a key that will sign after `leadSeconds`, and sets when the present one leaves the JWKS.
   * @returns the new kid
   */
  rotate(leadSeconds: number, actor: string): Promise<string>;
  /**
   * Withdraws a key at once; where no other may sign now, the next signs from now on.
   * @returns the key that signs now; null when there is no such key, or it was withdrawn before
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
const sealedKey = z.strictObject({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: z.string(),
  y: z.string(),
  d: z.string(),
  /** Absent in keys that are older than it. */
  x5c: z.array(z.base64()).length(1).optional(),
  active_from: z.iso.datetime(),
  retires: z.record(z.string(), z.iso.datetime()),
});

const insertKey: Statement = {
  name: 'keys_insert',
  text: `
    WITH old AS (
      UPDATE signing_key SET retired_at = $7::timestamptz WHERE retired_at IS NULL AND $8::text = 'rotate' RETURNING kid
    ), new AS (
      INSERT INTO signing_key (kid, public_jwk, private_jwe, created_at, active_from)
      SELECT $1::text, $2::jsonb, $3::text, $4::timestamptz, $5::timestamptz WHERE $8::text = 'rotate' OR NOT EXISTS (
        SELECT 1 FROM signing_key WHERE retired_at IS NULL AND kid <> ALL($9::text[]))
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
    const { active_from, retires, x5c, ...jwk } = sealedKey.parse(JSON.parse(text));
    const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
    const publicKey = createPublicKey(privateKey);
    return {
      kid: row.kid,
      publicJwk: {
        ...(await exportJWK(publicKey)),
        kid: row.kid,
        alg: 'ES256',
        use: 'sig',
        ...(x5c === undefined ? {} : { x5c }),
      },
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

/** Opens the ring; the very first start makes the first key. */
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
    keys = usable.toSorted((a, b) => a.activeFrom.getTime() - b.activeFrom.getTime());
    for (const key of keys) for (const [kid, at] of key.retires) retire(kid, at);
    for (const { kid, retiredAt } of rows) if (retiredAt !== null) retire(kid, retiredAt);
  }

  /** @param retires keys that leave the JWKS because of this one, and when: sealed in it */
  async function newPair(activeFrom: Date, retires: readonly (readonly [string, Date])[]) {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const kid = randomBytes(12).toString('base64url');
    const publicJwk = { ...(await exportJWK(pair.publicKey)), kid, alg: 'ES256', use: 'sig' };
    const sealed: z.input<typeof sealedKey> = {
      ...((await exportJWK(pair.privateKey)) as Pick<z.input<typeof sealedKey>, 'kty' | 'crv' | 'x' | 'y' | 'd'>),
      // Signed once and kept: every process publishes the same one, whose fingerprint can be registered.
      x5c: [selfSigned(kid, pair, clock.now())],
      active_from: activeFrom.toISOString(),
      retires: Object.fromEntries(retires.map(([old, at]) => [old, at.toISOString()])),
    };
    const privateJwe = await seal.seal(JSON.stringify(sealed), kid);
    return { kid, publicJwk: JSON.stringify(publicJwk), privateJwe };
  }

  async function create(purpose: 'first' | 'rotate', leadSeconds: number, actor: string): Promise<string> {
    const now = clock.now();
    const activeFrom = new Date(now.getTime() + leadSeconds * 1000);
    const retireOld = new Date(activeFrom.getTime() + options.longestTokenSeconds * 1000);
    if (purpose === 'rotate') await reload();
    const old = keys.filter((key) => !publishedUntil.has(key.kid)).map((key): [string, Date] => [key.kid, retireOld]);
    const { kid, publicJwk, privateJwe } = await newPair(activeFrom, purpose === 'rotate' ? old : []);
    const values = [kid, publicJwk, privateJwe, now, activeFrom, actor, retireOld, purpose, [...leftOut]];
    await store.run(insertKey, values);
    await reload();
    return kid;
  }

  async function withdraw(kid: string, actor: string, requestId: string | null): Promise<string | null> {
    const now = clock.now();
    const next = await newPair(now, [[kid, now]]);
    const values = [kid, now, actor, next.kid, next.publicJwk, next.privateJwe, requestId];
    const gone = await store.run(withdrawKey, values);
    await reload();
    return gone.length === 0 ? null : current().kid;
  }

  const published = () => {
    const now = clock.now();
    return keys.filter((key) => {
      const until = publishedUntil.get(key.kid);
      return until === undefined || until > now;
    });
  };

  const signing = () => {
    const now = clock.now();
    return published().findLast((candidate) => candidate.activeFrom <= now);
  };

  const current = () => {
    const key = signing();
    if (key === undefined) throw new Error('no signing key is active');
    return key;
  };

  await reload();
  if (published().length === 0) await create('first', 0, 'system');
  return {
    current,
    published,
    find: (kid) => published().find((key) => key.kid === kid),
    jwks: () => {
      const first = signing()?.kid;
      const keys = published().toSorted((a, b) => Number(b.kid === first) - Number(a.kid === first));
      return { keys: keys.map((key) => key.publicJwk) };
    },
    reload,
    rotate: (leadSeconds, actor) => create('rotate', leadSeconds, actor),
    withdraw,
  };
}
