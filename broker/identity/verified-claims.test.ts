import assert from 'node:assert/strict';
import { constants, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { test } from 'node:test';
import { compactVerify, errors, SignJWT } from 'jose';
import type { JsonObject } from '../core/vocabulary.ts';
import { openCompactJws } from './compact-jws.ts';
import { refusalReason } from './refusal.ts';
import { type SigningAlgorithm, signingAlgorithms } from './trust-schema.ts';
import { verifiedClaims } from './verified-claims.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const curve = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' } as const;

function pairFor(algorithm: SigningAlgorithm): { privateKey: KeyObject; publicKey: KeyObject } {
  if (algorithm.startsWith('ES'))
    return generateKeyPairSync('ec', { namedCurve: curve[algorithm as keyof typeof curve] });
  return algorithm.startsWith('Ed') ? generateKeyPairSync('ed25519') : rsa;
}

const now = new Date('2026-01-01T00:00:00Z');
const seconds = now.getTime() / 1000;
const claims = { iss: 'https://issuer.example', aud: 'writ', sub: 'a', iat: seconds, exp: seconds + 60 };
const rules = { issuer: claims.iss, audience: claims.aud, requiredClaims: ['exp'], currentDate: now };
const max = 10_000;

const signed = (algorithm: SigningAlgorithm, key: KeyObject, payload: JsonObject = claims) =>
  new SignJWT(payload).setProtectedHeader({ alg: algorithm }).sign(key);
const badSignature = (error: unknown) => refusalReason(error) === 'bad_signature';

/** A token whose signature is made by hand, as `make` makes it. */
function handmade(algorithm: SigningAlgorithm, make: (text: Buffer) => Buffer): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: algorithm })}.${part(claims)}`;
  return `${text}.${make(Buffer.from(text)).toString('base64url')}`;
}

for (const algorithm of signingAlgorithms) {
  test(`${algorithm}: a token that jose signed holds, and no other`, async () => {
    const { privateKey, publicKey } = pairFor(algorithm);
    const token = await signed(algorithm, privateKey);
    const key = { algorithm, key: publicKey };
    assert.deepEqual(await verifiedClaims(openCompactJws(token, max), key, rules), claims);

    const other = pairFor(algorithm).publicKey;
    const strangers = { algorithm, key: other === publicKey ? otherRsa.publicKey : other };
    await assert.rejects(verifiedClaims(openCompactJws(token, max), strangers, rules), badSignature);

    // Whatever is done to it, jose and this say the same.
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    for (let at = 1; at < token.length; at += 7) {
      const letter = letters[(letters.indexOf(token[at]!) + at) % 64]!;
      for (const changed of [token.slice(0, at) + letter + token.slice(at + 1), token.slice(0, -at)]) {
        const theirs = await compactVerify(changed, publicKey, { algorithms: [algorithm] }).then(
          () => true,
          () => false,
        );
        const ours = await Promise.resolve()
          .then(() => verifiedClaims(openCompactJws(changed, max), key, rules))
          .then(
            () => true,
            () => false,
          );
        assert.equal(ours, theirs, changed);
      }
    }
  });
}

test('an algorithm is only itself: what another hash, salt or form signed does not hold', async () => {
  const refuses = async (algorithm: SigningAlgorithm, key: KeyObject, make: (text: Buffer) => Buffer) =>
    assert.rejects(
      verifiedClaims(openCompactJws(handmade(algorithm, make), max), { algorithm, key }, rules),
      badSignature,
      algorithm,
    );
  const { privateKey, publicKey } = rsa;
  await refuses('RS256', publicKey, (text) => sign('sha512', text, privateKey));
  await refuses('RS512', publicKey, (text) => sign('sha256', text, privateKey));
  const pss = (saltLength: number) => ({ key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
  await refuses('PS256', publicKey, (text) => sign('sha256', text, privateKey));
  await refuses('RS256', publicKey, (text) => sign('sha256', text, pss(32)));
  for (const salt of [0, 20, 31, 33, 64]) await refuses('PS256', publicKey, (text) => sign('sha256', text, pss(salt)));
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await refuses('ES256', ec.publicKey, (text) => sign('sha256', text, ec.privateKey));
  await refuses('ES256', ec.publicKey, () => Buffer.alloc(64));
  await refuses('ES256', ec.publicKey, (text) =>
    Buffer.concat([sign('sha256', text, { key: ec.privateKey, dsaEncoding: 'ieee-p1363' }), Buffer.alloc(1)]),
  );
  // What verifies by hand as it should: the other cases fail for what they change.
  const right = handmade('PS256', (text) => sign('sha256', text, pss(32)));
  assert.deepEqual(await verifiedClaims(openCompactJws(right, max), { algorithm: 'PS256', key: publicKey }, rules), {
    ...claims,
  });
});

test('claims are checked, after the signature', async () => {
  const key = { algorithm: 'RS256', key: createPublicKey(rsa.privateKey) } as const;
  const told = async (payload: JsonObject, privateKey = rsa.privateKey) =>
    verifiedClaims(openCompactJws(await signed('RS256', privateKey, payload), max), key, rules);
  await assert.rejects(told({ ...claims, exp: seconds - 1 }), errors.JWTExpired);
  await assert.rejects(told({ ...claims, nbf: seconds + 60 }), {
    code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
    claim: 'nbf',
  });
  for (const [claim, value] of [
    ['iss', 'https://another.example'],
    ['aud', ['another']],
    ['exp', 'soon'],
  ] as const) {
    await assert.rejects(told({ ...claims, [claim]: value }), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED', claim });
  }
  const { exp: _, ...endless } = claims;
  await assert.rejects(told(endless), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED', claim: 'exp' });
  await assert.rejects(told({ ...claims, exp: seconds - 1 }, otherRsa.privateKey), badSignature);
});
