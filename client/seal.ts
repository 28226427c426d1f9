/**
 * Sealed delivery: the credential comes encrypted to a key of this one grant, so that nothing between minting
 * and here can read it.
 */
import { type CryptoKey, compactDecrypt, exportJWK, generateKeyPair, type JWK } from 'jose';
import { WritError } from './errors.ts';

export interface SealingKey {
  /** Sent as `credential_jwk`. */
  publicJwk: JWK;
  /** @throws WritError `not_sealed` */
  open(jwe: unknown): Promise<unknown>;
}

/** A key pair for one grant; it is gone with the closure. */
export async function newSealingKey(): Promise<SealingKey> {
  const { privateKey, publicKey } = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: false });
  const publicJwk = await exportJWK(publicKey);
  return { publicJwk, open: (jwe) => open(jwe, privateKey) };
}

async function open(jwe: unknown, key: CryptoKey): Promise<unknown> {
  if (typeof jwe !== 'string') {
    throw new WritError(
      'not_sealed',
      'The credential was asked for sealed and did not come so: take it as seen by others',
    );
  }
  try {
    const { plaintext } = await compactDecrypt(jwe, key, {
      keyManagementAlgorithms: ['ECDH-ES'],
      contentEncryptionAlgorithms: ['A256GCM'],
    });
    return JSON.parse(new TextDecoder().decode(plaintext));
  } catch {
    // The reason may quote what was decrypted.
    throw new WritError('not_sealed', 'The sealed credential cannot be opened with the key of this grant');
  }
}
