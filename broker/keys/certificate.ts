/**
 * A signing key as a self-signed certificate (RFC 5280): some verifiers read a JWKS by its `x5c` alone
 * (Ceph's radosgw). It says nothing that the key beside it does not say, and nobody is asked to trust it as a
 * certificate; so it is one fixed shape, written here, and no general writer is needed.
 */
import { createHash, type KeyObject, sign } from 'node:crypto';

/** Universal tags of DER (X.690) that a certificate of this shape has. */
const tag = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** `[n]`, explicit and constructed. */
const context = (n: number) => 0xa0 + n;

function der(type: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([type, ...size]), body]);
}

const oid = (hex: string) => der(tag.oid, Buffer.from(hex, 'hex'));

/** ecdsa-with-SHA256, 1.2.840.10045.4.3.2 (RFC 5758 section 3.2). */
const ecdsaWithSha256 = der(tag.sequence, oid('2a8648ce3d040302'));
/** id-ce-keyUsage, 2.5.29.15. */
const keyUsage = oid('551d0f');
/** id-at-commonName, 2.5.4.3. */
const commonName = oid('550403');

/** In whole seconds; two digits of the year until 2049, as RFC 5280 section 4.1.2.5 demands. */
function time(at: Date): Buffer {
  const text = `${at.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
  return at.getUTCFullYear() < 2050 ? der(tag.utcTime, Buffer.from(text.slice(2))) : der(tag.time, Buffer.from(text));
}

/** How a certificate says that it has no end (RFC 5280 section 4.1.2.5). */
const never = der(tag.time, Buffer.from('99991231235959Z'));

/**
 * @param kid the key's id, which the certificate is named by
 * @param from when it begins to be valid
 * @returns base64 of its DER, as `x5c` wants it (RFC 7517 section 4.7)
 */
export function selfSigned(kid: string, pair: { publicKey: KeyObject; privateKey: KeyObject }, from: Date): string {
  const name = der(tag.sequence, der(tag.set, der(tag.sequence, commonName, der(tag.utf8, Buffer.from(kid)))));
  // Begins with 1, so that it is positive and has no leading zeros.
  const serial = Buffer.concat([Buffer.from([1]), createHash('sha256').update(kid).digest().subarray(0, 15)]);
  // One bit, digitalSignature: seven of the byte's eight are unused.
  const usage = der(tag.octets, der(tag.bits, Buffer.from([7, 0x80])));
  const critical = der(tag.boolean, Buffer.from([0xff]));
  const body = der(
    tag.sequence,
    der(context(0), der(tag.integer, Buffer.from([2]))),
    der(tag.integer, serial),
    ecdsaWithSha256,
    name,
    der(tag.sequence, time(from), never),
    name,
    pair.publicKey.export({ type: 'spki', format: 'der' }),
    der(context(3), der(tag.sequence, der(tag.sequence, keyUsage, critical, usage))),
  );
  const signature = der(tag.bits, Buffer.from([0]), sign('sha256', body, pair.privateKey));
  return der(tag.sequence, body, ecdsaWithSha256, signature).toString('base64');
}
