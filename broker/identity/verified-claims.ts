/**
 * The claims of a signed token, once its signature and they themselves have been checked: what every way in
 * for a foreign token goes through.
 */
import { constants, type KeyObject, type SigningOptions, verify } from 'node:crypto';
import { type JWTClaimVerificationOptions, type JWTPayload, UnsecuredJWT } from 'jose';
import type { OpenedJws } from './compact-jws.ts';
import { Refusal } from './refusal.ts';
import type { SigningAlgorithm } from './trust-schema.ts';

/** A key that fits a token, and the one algorithm it is used with. */
export interface VerificationKey {
  algorithm: SigningAlgorithm;
  key: KeyObject;
}

/** What RFC 7518 section 3 and RFC 8037 section 3.1 say of each algorithm, in node's words. */
interface Scheme {
  hash: string | null;
  /** Null: what node does by itself with a key of this type, which costs a third less than saying so. */
  options: SigningOptions | null;
}

// RFC 7518 section 3.5: the salt is as long as the hash, and no other length is looked for.
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
const ecdsa = { dsaEncoding: 'ieee-p1363' } as const;
const schemes: Readonly<Record<SigningAlgorithm, Scheme>> = {
  RS256: { hash: 'sha256', options: null },
  RS384: { hash: 'sha384', options: null },
  RS512: { hash: 'sha512', options: null },
  PS256: { hash: 'sha256', options: pss },
  PS384: { hash: 'sha384', options: pss },
  PS512: { hash: 'sha512', options: pss },
  ES256: { hash: 'sha256', options: ecdsa },
  ES384: { hash: 'sha384', options: ecdsa },
  ES512: { hash: 'sha512', options: ecdsa },
  EdDSA: { hash: null, options: null },
  Ed25519: { hash: null, options: null },
};

/**
 * @throws Refusal `bad_signature`; an error of jose for a claim that does not hold (`asRefusal` knows them)
 */
export async function verifiedClaims(
  opened: OpenedJws,
  key: VerificationKey,
  claims: JWTClaimVerificationOptions,
): Promise<JWTPayload> {
  if (!(await isSigned(opened, key))) throw new Refusal('bad_signature', 'the signature is not that key’s');
  // Of signed tokens jose checks claims with the signature only; of one without, by the same rules.
  const [, payload] = opened.signedPart.split('.');
  return UnsecuredJWT.decode(`${unsecuredHeader}.${payload}.`, claims).payload;
}

const unsecuredHeader = Buffer.from('{"alg":"none"}').toString('base64url');

/**
 * RSA is verified here and now: the way to another thread and back costs more than the verification
 * (docs/performance.md). The others take three times as long, and go there.
 */
function isSigned({ signedPart, signature }: OpenedJws, { algorithm, key }: VerificationKey): Promise<boolean> {
  const { hash, options } = schemes[algorithm];
  const text = Buffer.from(signedPart);
  const bytes = Buffer.from(signature, 'base64url');
  const how = options === null ? key : { key, ...options };
  if (key.asymmetricKeyType === 'rsa') return Promise.resolve(verify(hash, text, how, bytes));
  return new Promise((resolve, reject) => {
    verify(hash, text, how, bytes, (error, good) => (error === null ? resolve(good) : reject(error)));
  });
}
