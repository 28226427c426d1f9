/** Whether the keys that sign now really sign, and what they sign is verified with what is published. */
import { createPublicKey, sign, verify } from 'node:crypto';
import { type KeyRing, type RingAlgorithm, ringAlgorithms } from './ring.ts';

/** @returns what is wrong, in words; null = each signs */
export function signingFault(ring: KeyRing): string | null {
  try {
    return ringAlgorithms.map((alg) => faultOf(ring, alg)).find((fault) => fault !== null) ?? null;
  } catch {
    return 'no signing key can be used';
  }
}

function faultOf(ring: KeyRing, alg: RingAlgorithm): string | null {
  const { kid, privateKey } = ring.current(alg);
  const published = ring.jwks().keys.find((key) => key.kid === kid);
  if (published === undefined) return `the signing key ${kid} is not published`;
  const probe = Buffer.from('ready');
  const publicKey = createPublicKey({ key: published as never, format: 'jwk' });
  if (verify('sha256', probe, publicKey, sign('sha256', probe, privateKey))) return null;
  return `what the signing key ${kid} signs does not verify with what is published`;
}
