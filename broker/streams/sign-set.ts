/**
 * What a receiver is told → a Security Event Token (RFC 8417): without `sub` and `exp`, so that it passes for
 * no other token.
 */
import { SignJWT } from 'jose';
import type { EventStream } from '../core/event-stream.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { Signalled } from './event-of.ts';

/** The same event has the same claims whenever it is signed. */
export function signSet(ring: KeyRing, issuer: string, stream: EventStream, { jti, claims }: Signalled) {
  const key = ring.current(stream.algorithm);
  return new SignJWT({ ...claims, iss: issuer, aud: stream.audience, jti })
    .setProtectedHeader({ alg: key.alg, typ: 'secevent+jwt', kid: key.kid })
    .sign(key.privateKey);
}
