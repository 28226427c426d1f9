/**
 * DPoP (RFC 9449): a key that never leaves this process, and a fresh proof of it for every request. A stolen
 * token alone is then worth nothing.
 */
import { createHash, randomUUID } from 'node:crypto';
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';

export interface DpopKey {
  privateKey: CryptoKey;
  publicJwk: JWK;
  /** RFC 7638; what a token is bound to (`cnf.jkt`). */
  thumbprint: string;
}

export interface ProofSubject {
  method: string;
  /** Absolute; query and fragment are left out of the proof (section 4.2). */
  url: string;
  now: Date;
  /** The token sent along, which the proof then names by its hash. */
  accessToken?: string;
  /** What the server asked to have repeated (section 8). */
  nonce?: string;
}

/** A P-256 key whose private half cannot be exported, not even by us. */
export async function newDpopKey(): Promise<DpopKey> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: false });
  const publicJwk = await exportJWK(publicKey);
  return { privateKey, publicJwk, thumbprint: await calculateJwkThumbprint(publicJwk, 'sha256') };
}

/** One proof for one request: never sent twice. */
export function dpopProof(key: DpopKey, { method, url, now, accessToken, nonce }: ProofSubject): Promise<string> {
  const { origin, pathname } = new URL(url);
  return new SignJWT({
    htm: method,
    htu: origin + pathname,
    ...(accessToken === undefined ? {} : { ath: createHash('sha256').update(accessToken).digest('base64url') }),
    ...(nonce === undefined ? {} : { nonce }),
  })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.publicJwk })
    .setIssuedAt(Math.floor(now.getTime() / 1000))
    .setJti(randomUUID())
    .sign(key.privateKey);
}
