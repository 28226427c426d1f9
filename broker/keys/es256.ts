/**
 * ES256 (RFC 7518 section 3.4) with node:crypto: several times on every grant, so what it costs counts (docs/performance.md). The work is done by Node's thread pool: the
 * one thread that serves everybody does not wait for it.
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
export function signEs256(text: string, privateKey: KeyObject): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    sign('sha256', Buffer.from(text), inJoseEncoding(privateKey), (error, signature) => {
      if (error === null) resolve(signature);
      else reject(error);
    });
  });
}

/** False for whatever is not this key's signature over this text. */
export function verifyEs256(text: string, signature: Uint8Array, publicKey: KeyObject): Promise<boolean> {
  return new Promise((resolve, reject) => {
    verify('sha256', Buffer.from(text), inJoseEncoding(publicKey), signature, (error, valid) => {
      if (error === null) resolve(valid);
      else reject(error);
    });
  });
}
