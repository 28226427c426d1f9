/**
 * The ring of signing keys (ES256), kept in the database so that every process signs with the same one and
 * publishes the same JWKS.
 *
 * Life of a key: created → published in the JWKS → signs from `active_from` → no longer signs once a newer
 * key is active → leaves the JWKS at `retired_at`, when the last token it can have signed has expired. A key
 * that may be in other hands is withdrawn: it leaves at once, and what it signed is refused.
 */

import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from 'node:crypto';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Seal } from './seal.ts';

export interface SigningKey {
  kid: string;
  publicJwk: JWK;
  privateKey: KeyObject;
  publicKey: KeyObject;
  activeFrom: Date;
}

export interface KeyRing {
  /** The key that signs now. @throws Error when there is none: then nothing may be issued */
  current(): SigningKey;
  /** A key that may still verify, by its id. */
  find(kid: string): SigningKey | undefined;
  /** Every key that may still verify. */
  published(): SigningKey[];
  /** Public keys, `kid`, `alg` and `use` set (RFC 7517). */
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
}

const insertKey: Statement = {
  name: 'keys_insert',
  text: `
    WITH old AS (
      UPDATE signing_key SET retired_at = $7::timestamptz WHERE retired_at IS NULL AND $8::text = 'rotate' RETURNING kid
    ), new AS (
      INSERT INTO signing_key (kid, public_jwk, private_jwe, created_at, active_from)
      SELECT $1::text, $2::jsonb, $3::text, $4::timestamptz, $5::timestamptz WHERE $8::text = 'rotate' OR NOT EXISTS (SELECT 1 FROM signing_key WHERE retired_at IS NULL)
      RETURNING kid
    ), event AS (
      ${appendEvent({ chain: "'system'", at: '$4::timestamptz', type: event('key.created'), actor: '$6::text', payload: "json_build_object('kid', kid, 'active_from', $5::timestamptz)" }, 'new')}
    )
    SELECT kid FROM new`,
};

/** One statement, so that no process ever finds the ring without a key that may sign. */
const withdrawKey: Statement = {
  name: 'keys_withdraw',
  text: `
    WITH gone AS (
      UPDATE signing_key SET retired_at = $2::timestamptz, withdrawn_at = $2::timestamptz WHERE kid = $1::text AND withdrawn_at IS NULL RETURNING kid
    ), new AS (
      INSERT INTO signing_key (kid, public_jwk, private_jwe, created_at, active_from)
      SELECT $4::text, $5::jsonb, $6::text, $2::timestamptz, $2::timestamptz FROM gone
      WHERE NOT EXISTS (SELECT 1 FROM signing_key WHERE kid <> $1::text AND retired_at IS NULL AND active_from <= $2::timestamptz)
      RETURNING kid
    ), event AS (
      ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('key.withdrawn'), actor: '$3::text', request: '$7::text', payload: "json_build_object('kid', kid)" }, 'gone')}
    ), successor AS (
      ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('key.created'), actor: '$3::text', request: '$7::text', payload: "json_build_object('kid', kid, 'active_from', $2::timestamptz)" }, 'new')}
    )
    SELECT kid FROM gone`,
};

/**
 * @throws Error that tells an operator what is wrong: most likely another key-encryption key than the
 *   database was written with
 */
async function openKey(seal: Seal, row: { kid: string; privateJwe: string }): Promise<string> {
  try {
    return await seal.open(row.privateJwe, row.kid);
  } catch (cause) {
    const why = 'is WRIT_KEY_ENCRYPTION_KEY (or the key file in WRIT_DATA_DIR) the one this database was written with?';
    throw new Error(`signing key ${row.kid} cannot be opened: ${why}`, { cause });
  }
}

/** Opens the ring; the very first start makes the first key. */
export async function openKeyRing(store: Store, options: RingOptions): Promise<KeyRing> {
  const { clock, seal } = options;
  let keys: SigningKey[] = [];
  let publishedUntil = new Map<string, Date | null>();

  async function reload(): Promise<void> {
    const rows = await store.prisma.signingKey.findMany({ orderBy: { activeFrom: 'asc' } });
    const known = new Map(keys.map((key) => [key.kid, key]));
    keys = await Promise.all(
      rows.map(async (row) => {
        const loaded = known.get(row.kid);
        if (loaded !== undefined) return loaded;
        const jwk = JSON.parse(await openKey(seal, row)) as JWK;
        const privateKey = createPrivateKey({ key: jwk as never, format: 'jwk' });
        return {
          kid: row.kid,
          publicJwk: row.publicJwk as JWK,
          privateKey,
          publicKey: createPublicKey(privateKey),
          activeFrom: row.activeFrom,
        };
      }),
    );
    publishedUntil = new Map(rows.map((row) => [row.kid, row.retiredAt]));
  }

  async function newPair(): Promise<{ kid: string; publicJwk: string; privateJwe: string }> {
    const pair = await generateKeyPair('ES256', { extractable: true });
    const kid = randomBytes(12).toString('base64url');
    const publicJwk = { ...(await exportJWK(pair.publicKey)), kid, alg: 'ES256', use: 'sig' };
    const privateJwe = await seal.seal(JSON.stringify(await exportJWK(pair.privateKey)), kid);
    return { kid, publicJwk: JSON.stringify(publicJwk), privateJwe };
  }

  async function create(purpose: 'first' | 'rotate', leadSeconds: number, actor: string): Promise<string> {
    const now = clock.now();
    const activeFrom = new Date(now.getTime() + leadSeconds * 1000);
    const { kid, publicJwk, privateJwe } = await newPair();
    const retireOld = new Date(activeFrom.getTime() + options.longestTokenSeconds * 1000);
    await store.run(insertKey, [kid, publicJwk, privateJwe, now, activeFrom, actor, retireOld, purpose]);
    await reload();
    return kid;
  }

  async function withdraw(kid: string, actor: string, requestId: string | null): Promise<string | null> {
    const next = await newPair();
    const now = clock.now();
    const values = [kid, now, actor, next.kid, next.publicJwk, next.privateJwe, requestId];
    const gone = await store.run(withdrawKey, values);
    await reload();
    return gone.length === 0 ? null : current().kid;
  }

  const published = () => {
    const now = clock.now();
    return keys.filter((key) => {
      const until = publishedUntil.get(key.kid);
      return until === null || (until !== undefined && until > now);
    });
  };

  const current = () => {
    const now = clock.now();
    const key = published().findLast((candidate) => candidate.activeFrom <= now);
    if (key === undefined) throw new Error('no signing key is active');
    return key;
  };

  await reload();
  if (published().length === 0) await create('first', 0, 'system');
  return {
    current,
    published,
    find: (kid) => published().find((key) => key.kid === kid),
    jwks: () => ({ keys: published().map((key) => key.publicJwk) }),
    reload,
    rotate: (leadSeconds, actor) => create('rotate', leadSeconds, actor),
    withdraw,
  };
}
