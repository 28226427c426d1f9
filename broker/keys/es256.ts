/**
 * ES256 (RFC 7518 section 3.4) with node:crypto: several times on every grant, so what it costs counts (docs/performance.md). Answers as promises, and signs in this thread
 * all the same: handing a hundred microseconds to the thread pool was measured to cost more in wake-ups than it saves, on machines with few cores.
 */
import { type KeyObject, sign, verify } from 'node:crypto';

/**
 * JOSE's signatures are the two numbers side by side, not DER. Node reads that wish from a member of the key it is given; the documented wrapping, `{ key, dsaEncoding }`,
 * costs as much as the signature itself (Node 24 finds out that the wrapping is no key by an exception). A test holds it against another implementation.
 */
function inJoseEncoding(key: KeyObject): KeyObject {
  return Object.assign(key, { dsaEncoding: 'ieee-p1363' });
}

/** @returns the 64 bytes of the signature over the text */
export async function signEs256(text: string, privateKey: KeyObject): Promise<Buffer> {
  return sign('sha256', Buffer.from(text), inJoseEncoding(privateKey));
}

/** False for whatever is not this key's signature over this text. */
export async function verifyEs256(text: string, signature: Uint8Array, publicKey: KeyObject): Promise<boolean> {
  return verify('sha256', Buffer.from(text), inJoseEncoding(publicKey), signature);
}
