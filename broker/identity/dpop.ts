/**
 * DPoP proofs (RFC 9449 section 4.3): the sender of a token proves, for this request, possession of the key
 * that the token is bound to.
 *
 * Hot path: `node:crypto` rather than jose because it costs half, and keys that verified once are kept
 * imported. The order is cheap checks first; the signature is checked last, so that nonsense costs nothing.
 */
import { constants, createPublicKey, hash, type JsonWebKey, type KeyObject, verify } from 'node:crypto';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import { verifyEs256 } from '../keys/es256.ts';
import { openCompactJws, sha256 } from './compact-jws.ts';
import { Refusal, refused } from './refusal.ts';

const maxProofLength = 4_096;
const maxJtiLength = 256;
const windowSeconds = 60;
/** Beyond the proof's last acceptable moment, for a replica whose clock is behind. */
const replayMarginSeconds = 10;
const maxCachedKeys = 2_000;

/** What the metadata documents list as `dpop_signing_alg_values_supported`. */
export const dpopAlgorithms = ['ES256', 'EdDSA', 'Ed25519', 'RS256', 'PS256'] as const;

export interface DpopCheck {
  /** The `DPoP` header as received. Two headers arrive joined by a comma, which no proof contains. */
  proof: string;
  method: string;
  /** Absolute URL as the client must have signed it. */
  url: string;
  /** The access token sent along; the proof must then carry its hash as `ath`. */
  accessToken?: string;
  /** Thumbprint (RFC 7638) of the key the token is bound to, its `cnf.jkt`. */
  expectedJkt?: string;
  now: Date;
}

export interface CheckedProof {
  jkt: string;
  /** To be recorded atomically by the caller, who refuses when it is there already. */
  replayKey: string;
  replayExpiresAt: Date;
}

/** @throws WritError `invalid_dpop_proof`; its cause is a `Refusal` with the reason */
export async function checkDpopProof(check: DpopCheck): Promise<CheckedProof> {
  try {
    return verifyProof(check);
  } catch (error) {
    const refusal =
      error instanceof Refusal ? error : new Refusal('bad_signature', 'the proof could not be checked', error);
    throw refused('invalid_dpop_proof', refusal.reason, publicDetail(refusal), refusal.message, refusal.cause);
  }
}

function verifyProof(check: DpopCheck): CheckedProof {
  const { header, payload, signedPart, signature } = openCompactJws(check.proof, maxProofLength);
  if (header.typ !== 'dpop+jwt') throw new Refusal('malformed', '`typ` is not dpop+jwt');
  const key = publicKey(header.jwk, header.alg);
  const jkt = hash('sha256', JSON.stringify(key), 'base64url');
  if (check.expectedJkt !== undefined && jkt !== check.expectedJkt) {
    throw new Refusal('wrong_key', 'the token is bound to another key');
  }

  const { htm, htu, iat, jti, ath } = payload;
  if (htm !== check.method) throw new Refusal('wrong_method', '`htm` is another method');
  if (typeof htu !== 'string' || !sameAddress(htu, check.url))
    throw new Refusal('wrong_url', '`htu` is another address');
  if (typeof jti !== 'string' || jti === '' || jti.length > maxJtiLength) {
    throw new Refusal('bad_claim', `\`jti\` is not a text of at most ${maxJtiLength} characters`);
  }
  if (typeof iat !== 'number' || !Number.isFinite(iat)) throw new Refusal('bad_claim', '`iat` is not a number');
  if (Math.abs(check.now.getTime() / 1000 - iat) > windowSeconds) {
    throw new Refusal('stale_proof', `\`iat\` is more than ${windowSeconds} s off`);
  }
  if (check.accessToken !== undefined && ath !== sha256(check.accessToken)) {
    throw new Refusal('wrong_token_hash', '`ath` is not the hash of this token');
  }

  let imported = importedKeys.get(jkt);
  if (imported === undefined) imported = importKey(key);
  if (!signatureHolds(imported, header.alg, signedPart, signature))
    throw new Refusal('bad_signature', 'the signature does not hold');
  remember(jkt, imported);
  return {
    jkt,
    // The thumbprint has a fixed length, so the pair cannot be read two ways.
    replayKey: `dpop:${sha256(`${jkt}:${jti}`)}`,
    replayExpiresAt: new Date((iat + windowSeconds + replayMarginSeconds) * 1000),
  };
}

/**
 * The public key a proof brings along, rebuilt with the members of RFC 7638 in their order, so that its JSON
 * is what the thumbprint is taken of. RSA keys between 2,048 and 4,096 bits with a small exponent: a larger
 * one would make us compute for the attacker.
 */
function publicKey(jwk: Json | undefined, alg: string): JsonWebKey {
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk))
    throw new Refusal('malformed', 'no `jwk` in the header');
  if (secretMembers.some((member) => Object.hasOwn(jwk, member)))
    throw new Refusal('malformed', '`jwk` is not a public key');
  if (alg === 'ES256' && jwk.kty === 'EC' && jwk.crv === 'P-256') {
    return { crv: 'P-256', kty: 'EC', x: member(jwk, 'x', 43, 43), y: member(jwk, 'y', 43, 43) };
  }
  if ((alg === 'EdDSA' || alg === 'Ed25519') && jwk.kty === 'OKP' && jwk.crv === 'Ed25519') {
    return { crv: 'Ed25519', kty: 'OKP', x: member(jwk, 'x', 43, 43) };
  }
  if ((alg === 'RS256' || alg === 'PS256') && jwk.kty === 'RSA') {
    return { e: member(jwk, 'e', 2, 6), kty: 'RSA', n: member(jwk, 'n', 342, 683) };
  }
  throw new Refusal('algorithm_not_allowed', 'the algorithm is not listed, or the key is not one for it');
}

const secretMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

function member(jwk: JsonObject, name: string, least: number, most: number): string {
  const value = jwk[name];
  if (typeof value !== 'string' || value.length < least || value.length > most || !/^[A-Za-z0-9_-]+$/.test(value)) {
    throw new Refusal('malformed', `\`jwk.${name}\` is not as long as it should be`);
  }
  return value;
}

function signatureHolds(key: KeyObject, alg: string, signedPart: string, signature: string): boolean {
  const bytes = Buffer.from(signature, 'base64url');
  if (alg === 'ES256') return verifyEs256(signedPart, bytes, key);
  const data = Buffer.from(signedPart);
  if (alg === 'EdDSA' || alg === 'Ed25519') return verify(null, data, key, bytes);
  if (alg === 'RS256') return verify('sha256', data, { key, padding: constants.RSA_PKCS1_PADDING }, bytes);
  const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  return alg === 'PS256' && verify('sha256', data, pss, bytes);
}

/** Imported keys by thumbprint, least recently used first. Only keys that signed a proof that held get in. */
const importedKeys = new Map<string, KeyObject>();

function importKey(key: JsonWebKey): KeyObject {
  try {
    return createPublicKey({ key, format: 'jwk' });
  } catch (error) {
    throw new Refusal('malformed', '`jwk` is not a usable key', error);
  }
}

function remember(jkt: string, key: KeyObject): void {
  importedKeys.delete(jkt);
  importedKeys.set(jkt, key);
  if (importedKeys.size <= maxCachedKeys) return;
  const [oldest] = importedKeys.keys();
  if (oldest !== undefined) importedKeys.delete(oldest);
}

/**
 * RFC 9449 section 4.3 item 9: without query and fragment, after the normalisation of RFC 3986 sections 6.2.2
 * and 6.2.3.
 */
function sameAddress(htu: string, url: string): boolean {
  if (htu === url && !/[?#]/.test(url)) return true;
  const theirs = normalised(htu);
  return theirs !== null && theirs === normalised(url);
}

function normalised(address: string): string | null {
  const url = URL.parse(address);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') return null;
  const path = url.pathname.replace(/%([0-9a-f]{2})/gi, (escaped, hex: string) => {
    const char = String.fromCharCode(Number.parseInt(hex, 16));
    return /[A-Za-z0-9._~-]/.test(char) ? char : escaped.toUpperCase();
  });
  return url.origin + path;
}

/** The client may be told which part of its own proof is off: it wrote it. */
function publicDetail(refusal: Refusal): string {
  if (refusal.reason === 'bad_signature') return 'The DPoP proof was not accepted: the signature does not hold.';
  return `The DPoP proof was not accepted: ${refusal.message}.`;
}
