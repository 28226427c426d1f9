import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { base64url, type CryptoKey, exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose';
import * as client from 'openid-client';
import { manualClock, systemClock } from '../core/clock.ts';
import { WritError } from '../core/errors.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { clientAssertionType, verifyClientAssertion } from './client-assertion.ts';
import { openKeyResolver } from './jwks.ts';
import { refusalReason } from './refusal.ts';
import { parseTrust, type Trust } from './trust.ts';

const issuer = 'https://writ.example.com';
const audiences = [issuer, `${issuer}/oauth/token`];
const clock = manualClock(new Date('2026-01-01T00:00:00Z'));
const nowSeconds = clock.now().getTime() / 1000;

let trust: Trust;
let bot: { privateKey: CryptoKey; publicKey: CryptoKey };
let other: CryptoKey;

before(async () => {
  bot = await generateKeyPair('ES256', { extractable: true });
  const otherPair = await generateKeyPair('ES256', { extractable: true });
  other = otherPair.privateKey;
  const parsed = parseTrust(
    JSON.stringify({
      clients: [
        { agent: 'invoice-bot', client_id: 'bot', jwks: { keys: [await exportJWK(bot.publicKey)] } },
        { agent: 'other-bot', client_id: 'other', jwks: { keys: [await exportJWK(otherPair.publicKey)] } },
      ],
    }),
  );
  assert.ok(parsed.ok, JSON.stringify(parsed));
  trust = parsed.trust;
});

const good = (): JsonObject => ({
  iss: 'bot',
  sub: 'bot',
  aud: issuer,
  jti: 'a-1',
  iat: nowSeconds,
  exp: nowSeconds + 60,
});
const sign = (claims: JsonObject, key: CryptoKey = bot.privateKey, header: JsonObject = {}) =>
  new SignJWT(claims).setProtectedHeader({ alg: 'ES256', ...header }).sign(key);
const verify = (assertion: unknown, more: { type?: unknown; clientId?: string } = {}) =>
  verifyClientAssertion({ type: clientAssertionType, assertion, ...more }, trust.clients, {
    clock,
    keys: openKeyResolver({ clock }),
    audiences,
  });

async function refuses(assertion: unknown, reason: string, more = {}): Promise<void> {
  await assert.rejects(verify(assertion, more), (error: unknown) => {
    assert.ok(error instanceof WritError);
    assert.equal(refusalReason(error), reason);
    assert.equal(error.code, 'invalid_client');
    return true;
  });
}

describe('a client assertion', () => {
  it('is accepted for the issuer and for the token endpoint', async () => {
    const verified = await verify(await sign(good()), { clientId: 'bot' });
    assert.equal(verified.client.agent, 'invoice-bot');
    assert.equal(verified.client.clientId, 'bot');
    assert.ok(verified.replayExpiresAt > verified.expiresAt);
    await verify(await sign({ ...good(), aud: [`${issuer}/oauth/token`] }));
  });

  it('has a replay key of its client and its jti', async () => {
    const key = async (claims: JsonObject, signer?: CryptoKey) => (await verify(await sign(claims, signer))).replayKey;
    const first = await key(good());
    assert.equal(await key({ ...good(), exp: nowSeconds + 90 }), first);
    assert.notEqual(await key({ ...good(), jti: 'a-2' }), first);
    assert.notEqual(await key({ ...good(), iss: 'other', sub: 'other' }, other), first);
  });

  it('is refused from another key, another client or for another client', async () => {
    await refuses(await sign(good(), other), 'bad_signature');
    await refuses(await sign({ ...good(), sub: 'other' }, other), 'wrong_issuer');
    await refuses(await sign({ ...good(), iss: 'nobody', sub: 'nobody' }), 'unknown_client');
    await refuses(await sign(good()), 'unknown_client', { clientId: 'other' });
  });

  it('is refused for other audiences, alone or besides ours', async () => {
    await refuses(await sign({ ...good(), aud: 'https://other.example.com' }), 'wrong_audience');
    await refuses(await sign({ ...good(), aud: [issuer, 'https://other.example.com'] }), 'wrong_audience');
  });

  it('is refused expired, without exp or jti, living longer than an hour, or from the future', async () => {
    const { exp, ...noExp } = good();
    const { jti, ...noJti } = good();
    await refuses(await sign(noExp), 'missing_claim');
    await refuses(await sign(noJti), 'missing_claim');
    await refuses(await sign({ ...good(), exp: nowSeconds - 10 }), 'expired');
    await refuses(await sign({ ...good(), exp: nowSeconds + 3_700 }), 'lives_too_long');
    await refuses(await sign({ ...good(), exp: 1e300 }), 'lives_too_long');
    await refuses(await sign({ ...good(), iat: nowSeconds + 10 }), 'not_yet_valid');
    await refuses(await sign({ ...good(), nbf: nowSeconds + 10 }), 'not_yet_valid');
    await refuses(await sign({ ...good(), jti: 'x'.repeat(257) }), 'bad_claim');
    assert.ok(exp && jti);
  });

  it('is refused with alg none, with the public key as a secret, with crit and with another type', async () => {
    const encode = (value: unknown) => base64url.encode(JSON.stringify(value));
    await refuses(`${encode({ alg: 'none' })}.${encode(good())}.AAAA`, 'algorithm_not_allowed');
    const secret = new TextEncoder().encode(await exportSPKI(bot.publicKey));
    await refuses(await new SignJWT(good()).setProtectedHeader({ alg: 'HS256' }).sign(secret), 'algorithm_not_allowed');
    const [, body, signature] = (await sign(good())).split('.');
    await refuses(`${encode({ alg: 'ES256', crit: ['exp'] })}.${body}.${signature}`, 'malformed');
    await refuses(await sign(good(), bot.privateKey, { typ: 'dpop+jwt' }), 'malformed');
    await refuses(await sign(good()), 'unsupported_assertion_type', {
      type: 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer',
    });
    await refuses(undefined, 'malformed');
    await refuses(await sign({ ...good(), padding: 'x'.repeat(8_000) }), 'malformed');
  });

  it('is accepted as openid-client makes it', async () => {
    let assertion: string | null = null;
    const config = new client.Configuration(
      { issuer, token_endpoint: `${issuer}/oauth/token` },
      'bot',
      undefined,
      client.PrivateKeyJwt(bot.privateKey),
    );
    config[client.customFetch] = async (_url, options) => {
      const form = new URLSearchParams(String(options.body));
      assert.equal(form.get('client_assertion_type'), clientAssertionType);
      assertion = form.get('client_assertion');
      return Response.json({ access_token: 'x', token_type: 'Bearer' });
    };
    await client.clientCredentialsGrant(config);
    // The library signs by the system's time, so it is checked by the same.
    const verified = await verifyClientAssertion({ type: clientAssertionType, assertion }, trust.clients, {
      clock: systemClock,
      keys: openKeyResolver({ clock: systemClock }),
      audiences,
    });
    assert.equal(verified.client.agent, 'invoice-bot');
  });
});
