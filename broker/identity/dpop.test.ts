import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { before, describe, it } from 'node:test';
import { base64url, type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import * as client from 'openid-client';
import { manualClock, systemClock } from '../core/clock.ts';
import { WritError } from '../core/errors.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { checkDpopProof, type DpopCheck } from './dpop.ts';
import { refusalReason } from './refusal.ts';

const url = 'https://writ.example.com/v1/grants';
const now = manualClock(new Date('2026-01-01T00:00:00Z')).now();
const nowSeconds = now.getTime() / 1000;
const accessToken = 'an.access.token';
// SHA-256 of the text above, computed apart from the code under test.
const ath = base64url.encode(
  new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(accessToken))),
);

interface Holder {
  alg: string;
  privateKey: CryptoKey;
  jwk: JWK;
}

async function holderOf(alg: string): Promise<Holder> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { alg, privateKey, jwk: await exportJWK(publicKey) };
}

let agent: Holder;
let thief: Holder;
before(async () => {
  [agent, thief] = await Promise.all([holderOf('ES256'), holderOf('ES256')]);
});

function prove(holder: Holder, claims: JsonObject = {}, header: JsonObject = {}): Promise<string> {
  return new SignJWT({ htm: 'POST', htu: url, iat: nowSeconds, jti: 'p-1', ...claims })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: holder.alg, jwk: holder.jwk, ...header })
    .sign(holder.privateKey);
}
const check = (proof: string, more: Partial<DpopCheck> = {}) =>
  checkDpopProof({ proof, method: 'POST', url, now, ...more });

async function refuses(proof: string, reason: string, more: Partial<DpopCheck> = {}): Promise<void> {
  await assert.rejects(check(proof, more), (error: unknown) => {
    assert.ok(error instanceof WritError);
    assert.equal(refusalReason(error), reason);
    assert.equal(error.code, 'invalid_dpop_proof');
    return true;
  });
}

const encode = (value: unknown) => base64url.encode(JSON.stringify(value));

describe('a DPoP proof', () => {
  it('is accepted with every listed algorithm, and gives the thumbprint of RFC 7638', async () => {
    for (const alg of ['ES256', 'EdDSA', 'Ed25519', 'RS256', 'PS256']) {
      const holder = await holderOf(alg);
      const { jkt } = await check(await prove(holder));
      assert.equal(jkt, await calculateJwkThumbprint(holder.jwk), alg);
      await check(await prove(holder, { ath }), { accessToken, expectedJkt: jkt });
    }
  });

  it('has a replay key that a second sending repeats, and that lasts longer than the proof', async () => {
    const proof = await prove(agent);
    const [first, again] = [await check(proof), await check(proof)];
    assert.equal(first.replayKey, again.replayKey);
    assert.ok(first.replayExpiresAt.getTime() > (nowSeconds + 60) * 1000);
    assert.notEqual((await check(await prove(agent, { jti: 'p-2' }))).replayKey, first.replayKey);
    assert.notEqual((await check(await prove(thief))).replayKey, first.replayKey);
    // The same jti for another request is a replay as well.
    const elsewhere = `${url}/elsewhere`;
    assert.equal((await check(await prove(agent, { htu: elsewhere }), { url: elsewhere })).replayKey, first.replayKey);
  });

  it('is refused stale or from the future', async () => {
    await check(await prove(agent, { iat: nowSeconds - 60 }));
    await check(await prove(agent, { iat: nowSeconds + 60 }));
    await refuses(await prove(agent, { iat: nowSeconds - 61 }), 'stale_proof');
    await refuses(await prove(agent, { iat: nowSeconds + 61 }), 'stale_proof');
    for (const iat of ['0', null, true]) await refuses(await raw(agent, { iat }), 'bad_claim');
  });

  it('is refused for another method', async () => {
    for (const htm of ['GET', 'post', 'POST ', '']) await refuses(await prove(agent, { htm }), 'wrong_method');
  });

  it('is refused for another URL', async () => {
    for (const htu of [
      `${url}/`,
      `${url}/1`,
      'http://writ.example.com/v1/grants',
      'https://writ.example.com:8443/v1/grants',
      'https://evil.example.com/v1/grants',
      'https://writ.example.com@evil.example.com/v1/grants',
      'https://me@writ.example.com/v1/grants',
      'https://writ.example.com/V1/grants',
      'https://writ.example.com/v1%2Fgrants',
      '/v1/grants',
      '',
      7,
    ]) {
      await refuses(await prove(agent, { htu }), 'wrong_url');
    }
  });

  it('is accepted however the URL is written: query, fragment, case, default port, dots, escapes (RFC 3986)', async () => {
    for (const htu of [
      `${url}?wait=30`,
      `${url}#part`,
      'HTTPS://WRIT.example.com/v1/grants',
      'https://writ.example.com:443/v1/grants',
      'https://writ.example.com/x/../v1/./grants',
      'https://writ.example.com/v1/%67rants',
    ]) {
      await check(await prove(agent, { htu }));
    }
    await check(await prove(agent), { url: `${url}?wait=30` });
    await check(await prove(agent, { htu: `${url}/%c3%a9` }), { url: `${url}/%C3%A9` });
  });

  it('is refused when another key signed it: a stolen token is of no use', async () => {
    const { jkt } = await check(await prove(agent));
    await refuses(await prove(thief, { ath }), 'wrong_key', { accessToken, expectedJkt: jkt });
    await refuses(await prove({ ...thief, jwk: agent.jwk }, { ath }), 'bad_signature', {
      accessToken,
      expectedJkt: jkt,
    });
    await refuses(await prove({ ...thief, jwk: agent.jwk }), 'bad_signature');
  });

  it('is refused with the hash of another token, or none', async () => {
    await refuses(await prove(agent), 'wrong_token_hash', { accessToken });
    await refuses(await prove(agent, { ath: ath.toUpperCase() }), 'wrong_token_hash', { accessToken });
    await refuses(await prove(agent, { ath }), 'wrong_token_hash', { accessToken: `${accessToken}x` });
  });

  it('is refused without a jti, or with one that is too long or no text', async () => {
    await check(await prove(agent, { jti: 'x'.repeat(256) }));
    await refuses(await prove(agent, { jti: 'x'.repeat(257) }), 'bad_claim');
    await refuses(await prove(agent, { jti: '' }), 'bad_claim');
    await refuses(await raw(agent, { jti: 7 }), 'bad_claim');
    await refuses(await raw(agent, { jti: undefined }), 'bad_claim');
  });

  it('is refused when its type is not dpop+jwt', async () => {
    for (const typ of ['JWT', 'at+jwt', 'DPOP+JWT']) await refuses(await prove(agent, {}, { typ }), 'malformed');
  });

  it('is refused with alg none, a shared secret, or an algorithm that is not the key’s', async () => {
    const body = encode({ htm: 'POST', htu: url, iat: nowSeconds, jti: 'p-1' });
    const head = (alg: string, jwk: unknown) => encode({ typ: 'dpop+jwt', alg, jwk });
    await refuses(`${head('none', agent.jwk)}.${body}.`, 'malformed');
    await refuses(`${head('none', agent.jwk)}.${body}.AAAA`, 'algorithm_not_allowed');
    await refuses(`${head('HS256', { kty: 'oct', k: 'AAAA' })}.${body}.AAAA`, 'malformed');
    await refuses(`${head('HS256', agent.jwk)}.${body}.AAAA`, 'algorithm_not_allowed');
    await refuses(`${head('RS256', agent.jwk)}.${body}.AAAA`, 'algorithm_not_allowed');
    await refuses(`${head('ES384', agent.jwk)}.${body}.AAAA`, 'algorithm_not_allowed');
    // r = s = 0: the signature that broken verifiers take for everything.
    await refuses(`${head('ES256', agent.jwk)}.${body}.${base64url.encode(new Uint8Array(64))}`, 'bad_signature');
    await refuses(`${head('ES256', agent.jwk)}.${body}.AAAA`, 'bad_signature');
  });

  it('is refused when the key it brings is private, missing, off the curve, too small or too large', async () => {
    const body = encode({ htm: 'POST', htu: url, iat: nowSeconds, jti: 'p-1' });
    const withKey = (alg: string, jwk: unknown) =>
      `${encode({ typ: 'dpop+jwt', alg, jwk })}.${body}.${base64url.encode(new Uint8Array(64))}`;
    const secret = await exportJWK(agent.privateKey);
    await refuses(withKey('ES256', secret), 'malformed');
    for (const jwk of [undefined, null, 'x', [], { ...agent.jwk, x: 'AAAA' }, { ...agent.jwk, x: agent.jwk.y }]) {
      await refuses(withKey('ES256', jwk), 'malformed');
    }
    for (const n of ['A'.repeat(171), 'A'.repeat(1_366)])
      await refuses(withKey('RS256', { kty: 'RSA', e: 'AQAB', n }), 'malformed');
    await refuses(withKey('RS256', { kty: 'RSA', e: 'A'.repeat(342), n: 'A'.repeat(342) }), 'malformed');
  });

  it('takes its key from nowhere but `jwk`: kid, jku and x5u are ignored, crit is refused', async () => {
    let asked = 0;
    const server = createServer((_request, response) => {
      asked += 1;
      response.end(JSON.stringify({ keys: [thief.jwk] }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const jku = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
    const { jkt } = await check(await prove(agent, {}, { jku, x5u: jku, kid: 'k' }));
    assert.equal(jkt, await calculateJwkThumbprint(agent.jwk));
    await refuses(await prove({ ...thief, jwk: agent.jwk }, {}, { jku, x5u: jku }), 'bad_signature');
    assert.equal(asked, 0);
    server.closeAllConnections();
    server.close();
    const [, body, signature] = (await prove(agent)).split('.');
    await refuses(
      `${encode({ typ: 'dpop+jwt', alg: 'ES256', jwk: agent.jwk, crit: ['b64'], b64: false })}.${body}.${signature}`,
      'malformed',
    );
  });

  it('is refused when two headers were joined, or it is too long', async () => {
    const proof = await prove(agent);
    await refuses(`${proof}, ${proof}`, 'malformed');
    await refuses(await prove(agent, { padding: 'x'.repeat(4_096) }), 'malformed');
  });

  it('is refused once the key was seen and the payload changed: the key cache trusts no signature', async () => {
    const proof = await prove(agent);
    await check(proof);
    const [head, , signature] = proof.split('.');
    await refuses(
      `${head}.${encode({ htm: 'POST', htu: url, iat: nowSeconds, jti: 'p-9' })}.${signature}`,
      'bad_signature',
    );
  });

  it('keeps accepting a key after thousands of others', async () => {
    await check(await prove(agent));
    for (let i = 0; i < 2_100; i += 1) await check(await prove(await holderOf('EdDSA'), { jti: `k-${i}` }));
    await check(await prove(agent));
  });

  it('is accepted as openid-client makes it', async () => {
    const config = new client.Configuration({ issuer: 'https://writ.example.com' }, 'bot', undefined, client.None());
    const handle = client.getDPoPHandle(config, await client.randomDPoPKeyPair());
    let proof = '';
    config[client.customFetch] = async (_url, options) => {
      proof = new Headers(options.headers as HeadersInit).get('dpop') ?? '';
      return Response.json({});
    };
    await client.fetchProtectedResource(config, accessToken, new URL(`${url}?x=1`), 'POST', '{}', undefined, {
      DPoP: handle,
    });
    // The library signs by the system's time, so it is checked by the same.
    const { jkt } = await check(proof, { accessToken, now: systemClock.now() });
    assert.equal(jkt, await handle.calculateThumbprint());
  });
});

/** Signs what jose's own builder would refuse to. */
async function raw(holder: Holder, claims: Record<string, unknown>): Promise<string> {
  const head = encode({ typ: 'dpop+jwt', alg: holder.alg, jwk: holder.jwk });
  const body = encode({ htm: 'POST', htu: url, iat: nowSeconds, jti: 'p-1', ...claims });
  const signature = await crypto.subtle.sign(
    { name: 'ECDSA', hash: 'SHA-256' },
    holder.privateKey,
    new TextEncoder().encode(`${head}.${body}`),
  );
  return `${head}.${body}.${base64url.encode(new Uint8Array(signature))}`;
}
