/** Whether the key that signs now really signs, and what it signs is verified with what is published. */
import { createPublicKey, sign, verify } from 'node:crypto';
import type { KeyRing } from './ring.ts';

/** @returns what is wrong, in words; null = it signs */
export function signingFault(ring: KeyRing): string | null {
  try {
    const { kid, privateKey } = ring.current();
    const published = ring.jwks().keys.find((key) => key.kid === kid);
    if (published === undefined) return `the signing key ${kid} is not published`;
    const probe = Buffer.from('ready');
    const publicKey = createPublicKey({ key: published as never, format: 'jwk' });
    if (verify('sha256', probe, publicKey, sign('sha256', probe, privateKey))) return null;
    return `what the signing key ${kid} signs does not verify with what is published`;
  } catch {
    return 'no signing key can be used';
  }
}
