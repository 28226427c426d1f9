import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { selfSigned } from './certificate.ts';

test('OpenSSL reads the certificate of a key, and finds the key in it and its signature good', () => {
  for (let round = 0; round < 20; round += 1) {
    const from = new Date(round % 2 === 0 ? '2026-03-01T12:00:00Z' : '2050-01-01T00:00:00Z');
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const kid = randomBytes(12).toString('base64url');
    const certificate = new X509Certificate(Buffer.from(selfSigned(kid, pair, from), 'base64'));
    assert.ok(certificate.publicKey.equals(pair.publicKey));
    assert.ok(certificate.checkPrivateKey(pair.privateKey));
    assert.ok(certificate.verify(pair.publicKey));
    assert.equal(certificate.subject, `CN=${kid}`);
    assert.equal(certificate.issuer, certificate.subject);
    assert.deepEqual(certificate.validFromDate, from);
    assert.equal(certificate.validToDate.getUTCFullYear(), 9999);
    assert.equal(certificate.ca, false);
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    assert.ok(!certificate.verify(other.publicKey));
  }
});
