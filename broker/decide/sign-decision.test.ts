import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { compactVerify } from 'jose';
import { ownSignatures } from '../keys/own-signatures.ts';
import {
  type DecisionPayload,
  DecisionRefused,
  signDecision,
  type VerifyingKey,
  verifyDecision,
} from './sign-decision.ts';

const key = { kid: 'k1', ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
const other = { kid: 'k2', ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
const now = new Date('2026-03-01T12:00:00Z');
const later = (seconds: number) => new Date(now.getTime() + seconds * 1000);
const payload: DecisionPayload = {
  grant_id: 'grant-1',
  lease_id: 'lease-1',
  session_id: 'session-1',
  agent: 'invoice-bot',
  capability: 'read-customer-files',
  plan_digest: `sha256:${'0a'.repeat(32)}`,
  tier: 1,
  effect: 'allow',
  ttl_seconds: 300,
  manifest_version: 7,
  policy_ids: ['read-customer-files.permit'],
};
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const iat = now.getTime() / 1000;

/** Signs anything with the right key: what a careless or older signer might produce. */
function signed(
  claims: object,
  header: object = { alg: 'ES256', typ: 'writ-decision+jwt', kid: 'k1' },
  by = key,
): string {
  const input = `${part(header)}.${part({ ...payload, iat, exp: iat + 60, ...claims })}`;
  return `${input}.${sign('sha256', Buffer.from(input), { key: by.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

function refusal(jws: string, at = now, keys: VerifyingKey[] = [key, other]): string {
  try {
    verifyDecision(jws, keys, at);
    return 'accepted';
  } catch (error) {
    assert.ok(error instanceof DecisionRefused);
    return error.reason;
  }
}

test('a decision is verified as it was signed, for a minute', async () => {
  const jws = signDecision(payload, key, now);
  assert.deepEqual(verifyDecision(jws, [other, key], later(59)), { ...payload, iat, exp: iat + 60 });
  assert.equal(refusal(jws, later(60)), 'expired');
  assert.equal(refusal(jws, later(-6)), 'not_yet_valid');
  const { protectedHeader } = await compactVerify(jws, key.publicKey);
  assert.deepEqual(protectedHeader, { alg: 'ES256', typ: 'writ-decision+jwt', kid: 'k1' });
});

test('only keys of ours count, each under its own id', async () => {
  assert.equal(refusal(signDecision(payload, key, now), now, [other]), 'unknown_key');
  assert.equal(refusal(signDecision(payload, { ...other, kid: 'k1' }, now)), 'bad_signature');
  assert.equal(refusal(signDecision(payload, key, now), now, []), 'unknown_key');
});

test('what was signed here is known once, under its own key alone, and only while that key counts', () => {
  const mine = { ...key, own: ownSignatures() };
  // A public key that verifies nothing of it: only what was remembered can be accepted.
  const remembering = { ...mine, publicKey: other.publicKey };
  const jws = signDecision(payload, mine, now);
  assert.equal(refusal(jws, now, [other]), 'unknown_key');
  assert.equal(refusal(jws, now, [{ ...remembering, own: ownSignatures() }]), 'bad_signature');
  assert.equal(refusal(jws, now, [remembering]), 'accepted');
  assert.equal(refusal(jws, now, [remembering]), 'bad_signature');
  assert.equal(refusal(jws, now, [mine]), 'accepted', 'the second time it is verified by computing');
  assert.equal(refusal(signDecision(payload, mine, now), later(60), [mine]), 'expired');
  assert.equal(refusal(signDecision({ ...payload, effect: 'deny' }, mine, now), now, [mine]), 'not_an_allow');
});

test('what nobody comes for does not pile up', () => {
  const own = ownSignatures();
  for (let n = 0; n < 1_001; n += 1) own.add(String(n));
  assert.equal(own.take('0'), false);
  assert.equal(own.take('1000'), true);
});

test('every changed character is noticed', async () => {
  const mine = { ...key, own: ownSignatures() };
  const jws = signDecision(payload, mine, now);
  for (let at = 0; at < jws.length; at += 1) {
    const changed = `${jws.slice(0, at)}${jws[at] === 'A' ? 'B' : 'A'}${jws.slice(at + 1)}`;
    assert.notEqual(refusal(changed, now, [mine, other]), 'accepted', `at ${at}`);
  }
  const [header, , signature] = jws.split('.');
  assert.equal(
    refusal(`${header}.${part({ ...payload, ttl_seconds: 9999, iat, exp: iat + 60 })}.${signature}`),
    'bad_signature',
  );
});

test('other algorithms, types and headers are refused', async () => {
  const header = { alg: 'ES256', typ: 'writ-decision+jwt', kid: 'k1' };
  assert.equal(refusal(signed({})), 'accepted', 'the forger of these tests can sign');
  const body = part({ ...payload, iat, exp: iat + 60 });
  const none = part({ ...header, alg: 'none' });
  assert.equal(refusal(`${none}.${body}.`), 'malformed');
  const hs = `${part({ ...header, alg: 'HS256' })}.${body}`;
  const secret = key.publicKey.export({ type: 'spki', format: 'pem' });
  assert.equal(refusal(`${hs}.${createHmac('sha256', secret).update(hs).digest('base64url')}`), 'malformed');
  assert.equal(refusal(signed({}, { ...header, typ: 'at+jwt' })), 'malformed', 'no session token is a decision');
  assert.equal(refusal(signed({}, { ...header, typ: undefined })), 'malformed');
  assert.equal(refusal(signed({}, { ...header, crit: ['b64'], b64: false })), 'malformed');
  assert.equal(refusal(signed({}, { ...header, jwk: other.publicKey.export({ format: 'jwk' }) })), 'malformed');
  for (const junk of [
    '',
    '.',
    '..',
    '...',
    'a.b.c',
    `${signed({})}.x`,
    `${signed({})}=`,
    ` ${signed({})}`,
    'x'.repeat(20_000),
  ]) {
    assert.equal(refusal(junk), 'malformed', junk.slice(0, 20));
  }
  assert.equal(refusal(undefined as unknown as string), 'malformed');
});

test('a well-signed decision that says too much, too little or not "allow" is refused', async () => {
  assert.equal(refusal(signed({ exp: iat + 61 })), 'malformed');
  assert.equal(refusal(signed({ exp: iat })), 'malformed');
  assert.equal(refusal(signed({ iat: iat + 100, exp: iat + 150 })), 'not_yet_valid');
  assert.equal(refusal(signed({ exp: undefined })), 'malformed');
  assert.equal(refusal(signed({ admin: true })), 'malformed');
  assert.equal(refusal(signed({ ttl_seconds: 0 })), 'malformed');
  assert.equal(refusal(signed({ tier: 4 })), 'malformed');
  assert.equal(refusal(signed({ plan_digest: 'sha256:0' })), 'malformed');
  assert.equal(refusal(signed({ effect: 'deny' })), 'not_an_allow');
  assert.equal(refusal(signed({ effect: 'approve' })), 'not_an_allow');
  assert.equal(refusal(signed({ tier: 2 })), 'not_an_allow', 'from tier 2 on, somebody approved');
  assert.equal(refusal(signed({ tier: 2, approved_by: [] })), 'malformed');
  assert.equal(refusal(signed({ tier: 2, approved_by: ['user:a@example.com'] })), 'accepted');
});

test('what could never be verified is not signed', async () => {
  await assert.rejects(async () => signDecision({ ...payload, plan_digest: 'x' }, key, now));
  await assert.rejects(async () => signDecision({ ...payload, secret: 'x' } as DecisionPayload, key, now));
});
