/**
 * ES256 (RFC 7518 section 3.4) with node:crypto: several times on every grant, so what it costs counts
 * (docs/performance.md).
 *
 * JOSE's signatures are the two numbers side by side, node's are DER. Node would translate (`dsaEncoding`),
 * for half as much again as the signature costs; these few lines do it for next to nothing, and the tests
 * hold them against another implementation.
 */
import { type KeyObject, sign, verify } from 'node:crypto';

/** Bytes of each of the two numbers on P-256. */
const size = 32;

/** @returns the 64 bytes of the signature over the text */
export function signEs256(text: string, privateKey: KeyObject): Buffer {
  return fromDer(sign('sha256', Buffer.from(text), privateKey));
}

/**
 * Signs in node's thread pool: for a caller that has other work to do during one signature. For two in a row,
 * the cost of scheduling is higher than the gain.
 */
export function signEs256Aside(text: string, privateKey: KeyObject): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    sign('sha256', Buffer.from(text), privateKey, (error, der) => {
      if (error === null) resolve(fromDer(der));
      else reject(error);
    });
  });
}

/** False for whatever is not this key's signature over this text. */
export function verifyEs256(text: string, signature: Uint8Array, publicKey: KeyObject): boolean {
  return signature.length === 2 * size && verify('sha256', Buffer.from(text), publicKey, toDer(signature));
}

/**
 * SEQUENCE { r INTEGER, s INTEGER } (RFC 3279 section 2.2.3): at most 72 bytes, so that every length is one
 * byte.
 */
function toDer(signature: Uint8Array): Buffer {
  const numbers = [integer(signature.subarray(0, size)), integer(signature.subarray(size))];
  const body = Buffer.concat(numbers);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
}

/** Shortest form: no leading zeros, but the one that keeps a number from looking negative. */
function integer(bytes: Uint8Array): Buffer {
  let first = 0;
  while (first < size - 1 && bytes[first] === 0) first += 1;
  const sign = (bytes[first] ?? 0) >= 0x80 ? 1 : 0;
  const length = sign + size - first;
  const der = Buffer.alloc(2 + length);
  der[0] = 0x02;
  der[1] = length;
  der.set(bytes.subarray(first), 2 + sign);
  return der;
}

function fromDer(der: Buffer): Buffer {
  const signature = Buffer.alloc(2 * size);
  let at = 2;
  for (const end of [size, 2 * size]) {
    const next = at + 2 + (der[at + 1] ?? 0);
    const number = der.subarray(Math.max(at + 2, next - size), next);
    signature.set(number, end - number.length);
    at = next;
  }
  return signature;
}
