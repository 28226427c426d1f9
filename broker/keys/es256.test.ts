import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import { compactVerify, SignJWT } from 'jose';
import { signEs256, signEs256Aside, verifyEs256 } from './es256.ts';

const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const header = Buffer.from(JSON.stringify({ alg: 'ES256' })).toString('base64url');

test('another implementation accepts our signatures, and we its', async () => {
  const { privateKey, publicKey } = pair();
  const input = `${header}.e30`;
  await compactVerify(`${input}.${signEs256(input, privateKey).toString('base64url')}`, publicKey);
  const [head, body, signature] = (await new SignJWT({}).setProtectedHeader({ alg: 'ES256' }).sign(privateKey)).split(
    '.',
  );
  assert.equal(verifyEs256(`${head}.${body}`, Buffer.from(signature ?? '', 'base64url'), publicKey), true);
});

test('over 100 random payloads our JWS is one to another implementation, in this thread and aside', async () => {
  const made = pair();
  const again = createPrivateKey(made.privateKey.export({ format: 'pem', type: 'pkcs8' }));
  for (let n = 0; n < 100; n += 1) {
    const payload = randomBytes(n * 7);
    const input = `${header}.${payload.toString('base64url')}`;
    const signature = n % 2 === 0 ? signEs256(input, made.privateKey) : await signEs256Aside(input, again);
    assert.equal(signature.length, 64, 'two numbers of 32 bytes (RFC 7518 section 3.4), leading zeros kept');
    const verified = await compactVerify(`${input}.${signature.toString('base64url')}`, made.publicKey);
    assert.deepEqual(Buffer.from(verified.payload), payload);
    assert.equal(verifyEs256(input, signature, made.publicKey), true);
  }
});

test('the vector of RFC 7515 appendix A.3 is verified, and not with a bit changed', async () => {
  const publicKey = createPublicKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv: 'P-256',
      x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    },
  });
  const input =
    'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ';
  const signature = Buffer.from(
    'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q',
    'base64url',
  );
  assert.equal(verifyEs256(input, signature, publicKey), true);
  signature[40] = (signature[40] ?? 0) ^ 1;
  assert.equal(verifyEs256(input, signature, publicKey), false);
});

test('other texts, other keys and other encodings are refused', async () => {
  const { privateKey, publicKey } = pair();
  const signature = signEs256('text', privateKey);
  assert.equal(signature.length, 64);
  assert.equal(verifyEs256('text', signature, publicKey), true);
  assert.equal(verifyEs256('texts', signature, publicKey), false);
  assert.equal(verifyEs256('text', signature, pair().publicKey), false);
  assert.equal(verifyEs256('text', signature.subarray(0, 63), publicKey), false);
  assert.equal(verifyEs256('text', Buffer.alloc(64), publicKey), false);
  const { privateKey: fresh, publicKey: its } = pair();
  assert.equal(verifyEs256('text', sign('sha256', Buffer.from('text'), fresh), its), false, 'DER');
});

test('numbers that begin with zeros keep them, in both directions', () => {
  const { privateKey, publicKey } = pair();
  const jose = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
  let short = 0;
  for (let n = 0; n < 3000; n += 1) {
    const signature = signEs256(`text ${n}`, privateKey);
    if (signature[0] !== 0 && signature[32] !== 0) continue;
    short += 1;
    assert.equal(verify('sha256', Buffer.from(`text ${n}`), jose, signature), true);
    assert.equal(verifyEs256(`text ${n}`, signature, publicKey), true);
  }
  assert.ok(short > 5, 'of 3000 signatures one in 128 has such a number');
});

test('a key that cannot sign is an error, aside too', async () => {
  const { publicKey } = pair();
  assert.throws(() => signEs256('text', publicKey));
  await assert.rejects(signEs256Aside('text', publicKey));
});
