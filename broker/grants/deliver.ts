/**
 * The last step: the credential in the answer, or sealed to the agent's own key, so that no proxy or log
 * between the two can read it.
 */
import { CompactEncrypt, importJWK } from 'jose';
import { WritError } from '../core/errors.ts';
import type { JsonObject } from '../core/vocabulary.ts';

export type Delivery = { credential: JsonObject } | { credential_jwe: string };

/**
 * Public key members of an EC or OKP key (RFC 7518 section 6.2.1, RFC 8037 section 2); everything else, `d`
 * first of all, is refused.
 */
const allowedMembers = new Set(['kty', 'crv', 'x', 'y', 'kid', 'use', 'alg', 'key_ops']);
const curves = new Set(['P-256', 'P-384', 'P-521', 'X25519']);

/**
 * Checks `credential_jwk` before anything is minted.
 * @throws WritError `bad_request` with path `credential_jwk`
 */
export async function checkCredentialJwk(jwk: JsonObject): Promise<void> {
  const refuse = (message: string) => new WritError('bad_request', { errors: [{ path: 'credential_jwk', message }] });
  if (typeof jwk.crv !== 'string' || !curves.has(jwk.crv))
    throw refuse('must be a public key on P-256, P-384, P-521 or X25519');
  if (Object.keys(jwk).some((name) => !allowedMembers.has(name)))
    throw refuse('must have no members but those of a public key');
  if (jwk.use !== undefined && jwk.use !== 'enc') throw refuse('must have `use` enc, or none');
  try {
    // Sealed to once: a point of small order, say, makes a key that nothing can be encrypted to.
    await deliver({}, jwk);
  } catch {
    throw refuse('is not a key that a credential can be encrypted to');
  }
}

/** ECDH-ES with A256GCM (RFC 7518 section 4.6) to the agent's key; in the clear without one. */
export async function deliver(credential: JsonObject, jwk: JsonObject | null): Promise<Delivery> {
  if (jwk === null) return { credential };
  const key = await importJWK({ ...jwk, key_ops: [], use: 'enc' } as never, 'ECDH-ES');
  const jwe = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(credential)))
    .setProtectedHeader({
      alg: 'ECDH-ES',
      enc: 'A256GCM',
      cty: 'json',
      ...(typeof jwk.kid === 'string' ? { kid: jwk.kid } : {}),
    })
    .encrypt(key);
  return { credential_jwe: jwe };
}
