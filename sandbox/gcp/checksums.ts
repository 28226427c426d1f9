/** The two checksums that Cloud Storage keeps of every object, each in base64 as its API shows them. */
import { createHash } from 'node:crypto';

export interface Checksums {
  crc32c: string;
  md5: string;
}

export function checksumsOf(bytes: Buffer): Checksums {
  return { crc32c: crc32c(bytes), md5: createHash('md5').update(bytes).digest('base64') };
}

/**
 * RFC 3720 section 12.1: the Castagnoli polynomial, bits reflected. Node's own `zlib.crc32` is another one.
 */
const crcPolynomial = 0x82f63b78;

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ crcPolynomial : value >>> 1;
  return value;
});

/** Big-endian, as documented for `crc32c` of the objects resource. */
function crc32c(bytes: Buffer): string {
  let value = 0xffffffff;
  for (const byte of bytes) value = crcTable[(value ^ byte) & 0xff]! ^ (value >>> 8);
  const result = Buffer.alloc(4);
  result.writeUInt32BE((value ^ 0xffffffff) >>> 0);
  return result.toString('base64');
}
