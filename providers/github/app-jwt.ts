/** The App's own identity at GitHub: a JWT that mints tokens and is no grant's credential. */

import { type KeyObject, sign } from 'node:crypto';

/**
 * One signature costs a millisecond, more than everything else in a mint, so a JWT serves for a minute of its
 * nine.
 */
const reuseMs = 60_000;

/**
 * Returns a function that gives a JWT valid for at least eight more minutes.
 *
 * GitHub: RS256, `iat` 60 seconds back against clock drift, `exp` at most 10 minutes ahead
 * (docs.github.com, "Generating a JSON Web Token (JWT) for a GitHub App").
 *
 * @param now GitHub's own time, as far as it was measured: a JWT by a clock that is off is signed anew
 */
export function appJwtSigner(appId: string, privateKey: KeyObject, now: () => Date): () => string {
  let current: { jwt: string; signedAt: number } | null = null;
  return () => {
    const signedAt = now().getTime();
    if (current !== null && signedAt >= current.signedAt && signedAt < current.signedAt + reuseMs) return current.jwt;
    const seconds = Math.floor(signedAt / 1000);
    const text = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode({ iss: appId, iat: seconds - 60, exp: seconds + 540 })}`;
    const jwt = `${text}.${sign('RSA-SHA256', Buffer.from(text), privateKey).toString('base64url')}`;
    current = { jwt, signedAt };
    return jwt;
  };
}

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
