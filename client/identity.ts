/** Who the agent is: a token of the platform it runs on, or a signature of its own (RFC 7523). */
import { createPrivateKey, KeyObject, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type CryptoKey, type JWK, SignJWT } from 'jose';
import { WritError } from './errors.ts';

/** A platform token, or a function that gets one for the audience it is given (the broker's issuer URL). */
export type SubjectToken = string | ((audience: string) => string | Promise<string>);

/** For agents without a platform: a key whose public half is in the broker's trust file (`clients`). */
export interface ClientKey {
  clientId: string;
  /**
   * Private key: PKCS#8 PEM, JWK, or a key object. EC (ES256/384/512), RSA (RS256, or the JWK's `alg`) or
   * Ed25519 (EdDSA).
   */
  key: string | JWK | CryptoKey | KeyObject;
  /** Default: the JWK's. */
  kid?: string;
}

/**
 * The ID token of a GitHub Actions job with `permissions: { id-token: write }`. Any platform that answers
 * like GitHub will do.
 *
 * @example
 * const subjectToken = githubActionsToken();
 * await Writ.openSession({ url, subjectToken, taskType: 'review-pull-request', inputs: { number: 7 } });
 */
export function githubActionsToken(env: { [name: string]: string | undefined } = process.env): SubjectToken {
  return async (audience) => {
    const url = env.ACTIONS_ID_TOKEN_REQUEST_URL;
    const requestToken = env.ACTIONS_ID_TOKEN_REQUEST_TOKEN;
    if (!url || !requestToken) {
      throw new WritError(
        'no_identity',
        'No ID token is offered here: the job needs `permissions: { id-token: write }`',
      );
    }
    const asked = new URL(url);
    asked.searchParams.set('audience', audience);
    const headers = { authorization: `Bearer ${requestToken}`, accept: 'application/json' };
    const response = await fetch(asked, { headers, redirect: 'error' }).catch((cause) => {
      throw new WritError('no_identity', 'The platform did not answer when asked for an ID token', { cause });
    });
    const { value } = (await response.json().catch(() => ({}))) as { value?: unknown };
    if (!response.ok || typeof value !== 'string') {
      throw new WritError('no_identity', `The platform gave no ID token (status ${response.status})`);
    }
    return value;
  };
}

/**
 * A token that the platform keeps fresh in a file: a Kubernetes projected service account token, a SPIFFE
 * JWT-SVID. Its audience is set where it is mounted and must be the broker's issuer URL.
 */
export function fileToken(path: string): SubjectToken {
  return async () => {
    const text = await readFile(path, 'utf8').catch((cause) => {
      throw new WritError('no_identity', `The token file ${path} cannot be read`, { cause });
    });
    if (text.trim() === '') throw new WritError('no_identity', `The token file ${path} is empty`);
    return text.trim();
  };
}

/** The assertion a client signs for one token request: for this broker only, good for a minute. */
export async function clientAssertion({ clientId, key, kid }: ClientKey, audience: string, now: Date): Promise<string> {
  const { alg, signer } = signerOf(key);
  const keyId = kid ?? (isJwk(key) ? key.kid : undefined);
  const issuedAt = Math.floor(now.getTime() / 1000);
  return new SignJWT({})
    .setProtectedHeader({ alg, typ: 'JWT', ...(keyId === undefined ? {} : { kid: keyId }) })
    .setIssuer(clientId)
    .setSubject(clientId)
    .setAudience(audience)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + 60)
    .setJti(randomUUID())
    .sign(signer);
}

const isJwk = (key: ClientKey['key']): key is JWK => typeof key === 'object' && 'kty' in key;

function signerOf(key: ClientKey['key']): { alg: string; signer: KeyObject | CryptoKey } {
  const signer = typeof key === 'string' || isJwk(key) ? readKey(key) : key;
  const alg = isJwk(key) && key.alg !== undefined ? key.alg : algorithmOf(signer);
  if (alg === undefined)
    throw new WritError('no_identity', 'The client key must be EC (P-256, P-384, P-521), RSA or Ed25519');
  return { alg, signer };
}

const byCurve: { [curve: string]: string } = {
  'P-256': 'ES256',
  'P-384': 'ES384',
  'P-521': 'ES512',
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
};

function algorithmOf(key: KeyObject | CryptoKey): string | undefined {
  if (key instanceof KeyObject) {
    if (key.asymmetricKeyType === 'ec') return byCurve[key.asymmetricKeyDetails?.namedCurve ?? ''];
    return { rsa: 'RS256', ed25519: 'EdDSA' }[key.asymmetricKeyType as string];
  }
  const { name, namedCurve, hash } = key.algorithm as { name: string; namedCurve?: string; hash?: { name: string } };
  if (name === 'ECDSA') return byCurve[namedCurve ?? ''];
  const bits = hash?.name.replace('SHA-', '');
  return { Ed25519: 'EdDSA', 'RSASSA-PKCS1-v1_5': `RS${bits}`, 'RSA-PSS': `PS${bits}` }[name];
}

function readKey(key: string | JWK): KeyObject {
  try {
    return typeof key === 'string' ? createPrivateKey(key) : createPrivateKey({ key: key as never, format: 'jwk' });
  } catch {
    // The reason may quote the key.
    throw new WritError('no_identity', 'The client key cannot be read');
  }
}
