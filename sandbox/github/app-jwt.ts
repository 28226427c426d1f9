/** How GitHub authenticates an App: a JWT signed with the App's key, by the sandbox's own clock. */
import { type KeyObject, verify } from 'node:crypto';
import type { Clock } from '../../broker/core/vocabulary.ts';
import { type Answer, problem } from './answers.ts';

const undecodable = () => problem(401, 'A JSON web token could not be decoded');

/**
 * Returns null when the token proves the App, else GitHub's refusal. Lifetime at most ten minutes from now,
 * as GitHub demands.
 */
export function refuseAppJwt(jwt: string, appId: number, publicKey: KeyObject, clock: Clock): Answer | null {
  const [header, payload, signature, ...rest] = jwt.split('.');
  if (header === undefined || payload === undefined || signature === undefined || rest.length > 0) return undecodable();
  const claims = decode(payload);
  if (claims === null || decode(header)?.alg !== 'RS256') return undecodable();
  if (String(claims.iss) !== String(appId)) return problem(401, 'Integration must exist');
  const signed = Buffer.from(`${header}.${payload}`);
  if (!verify('RSA-SHA256', signed, publicKey, Buffer.from(signature, 'base64url'))) return undecodable();
  const now = Math.floor(clock.now().getTime() / 1000);
  const { iat, exp } = claims;
  if (typeof iat !== 'number' || !Number.isInteger(iat) || iat > now)
    return problem(
      401,
      "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
    );
  if (typeof exp !== 'number' || !Number.isInteger(exp) || exp <= now)
    return problem(
      401,
      "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
    );
  if (exp > now + 600) return problem(401, "'Expiration time' claim ('exp') is too far in the future");
  return null;
}

function decode(part: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
