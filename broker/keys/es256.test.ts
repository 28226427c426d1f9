import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { compactVerify, SignJWT } from 'jose';
import { signEs256, verifyEs256 } from './es256.ts';

const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const header = Buffer.from(JSON.stringify({ alg: 'ES256' })).toString('base64url');

test('another implementation accepts our signatures, and we its', async () => {
  const { privateKey, publicKey } = pair();
  const input = `${header}.e30`;
  await compactVerify(`${input}.${(await signEs256(input, privateKey)).toString('base64url')}`, publicKey);
  const [head, body, signature] = (await new SignJWT({}).setProtectedHeader({ alg: 'ES256' }).sign(privateKey)).split(
    '.',
  );
  assert.equal(await verifyEs256(`${head}.${body}`, Buffer.from(signature ?? '', 'base64url'), publicKey), true);
});

test('other texts, other keys and other encodings are refused', async () => {
  const { privateKey, publicKey } = pair();
  const signature = await signEs256('text', privateKey);
  assert.equal(signature.length, 64);
  assert.equal(await verifyEs256('text', signature, publicKey), true);
  assert.equal(await verifyEs256('texts', signature, publicKey), false);
  assert.equal(await verifyEs256('text', signature, pair().publicKey), false);
  assert.equal(await verifyEs256('text', signature.subarray(0, 63), publicKey), false);
  assert.equal(await verifyEs256('text', Buffer.alloc(64), publicKey), false);
  const { privateKey: fresh, publicKey: its } = pair();
  assert.equal(await verifyEs256('text', sign('sha256', Buffer.from('text'), fresh), its), false, 'DER');
});
