/** The broker as an OIDC issuer of its own, for clouds that trust its keys. */
import { SignJWT } from 'jose';
import type { Clock } from '../core/vocabulary.ts';
import type { KeyRing, RingAlgorithm } from './ring.ts';

/** No cloud needs it for longer than one exchange, in seconds. */
const longest = 300;

/**
 * @param issuer the broker's, as clouds know it
 * @param algorithm RS256 for verifiers that read nothing else
 * @returns makes a token for somebody else's token endpoint, good for `ttlSeconds`, 300 at most. Throws for
 *   one that would be for the broker itself. `now` is the time by the verifier's clock; ours when left out.
 */
export function identityTokens(
  ring: KeyRing,
  clock: Clock,
  issuer: string,
  algorithm: RingAlgorithm,
): (claims: { sub: string; aud: string; [claim: string]: unknown }, ttlSeconds: number, now?: Date) => Promise<string> {
  return async ({ sub, aud, ...claims }, ttlSeconds, at) => {
    // Session tokens are for the broker itself: no token that a cloud trusts may be confused with one.
    if (aud === issuer) throw new Error('an identity token must not be for the broker itself');
    const now = Math.floor((at ?? clock.now()).getTime() / 1000);
    const key = ring.current(algorithm);
    return new SignJWT(claims)
      .setProtectedHeader({ alg: key.alg, typ: 'JWT', kid: key.kid })
      .setIssuer(issuer)
      .setSubject(sub)
      .setAudience(aud)
      .setIssuedAt(now)
      .setExpirationTime(now + Math.min(ttlSeconds, longest))
      .setJti(crypto.randomUUID())
      .sign(key.privateKey);
  };
}
