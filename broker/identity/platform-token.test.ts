import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { base64url } from 'jose';
import { type PlatformIssuer, startPlatformIssuer } from '../../sandbox/oidc/platform-issuer.ts';
import { manualClock } from '../core/clock.ts';
import { WritError } from '../core/errors.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { openKeyResolver } from './jwks.ts';
import { verifyPlatformToken } from './platform-token.ts';
import { refusalReason } from './refusal.ts';
import { parseTrust, type Trust } from './trust.ts';

const audience = 'https://writ.example.com';
const clock = manualClock(new Date('2026-01-01T00:00:00Z'));
const nowSeconds = clock.now().getTime() / 1000;
const good = { sub: 'job-1', aud: audience };

let platform: PlatformIssuer;
let stranger: PlatformIssuer;
let spiffe: PlatformIssuer;
let wide: PlatformIssuer;
let trust: Trust;

before(async () => {
  platform = await startPlatformIssuer({ clock });
  stranger = await startPlatformIssuer({ clock });
  wide = await startPlatformIssuer({ clock });
  spiffe = await startPlatformIssuer({ clock, algorithm: 'ES256', keyUse: 'jwt-svid' });
  const parsed = parseTrust(
    `issuers:
  - { name: ci, issuer: "${platform.issuer}" }
  - { name: wide, issuer: "${wide.issuer}", audience: [${audience}, writ-two], other_audiences: true, single_use: true }
  - { name: mesh, issuer: "${spiffe.issuer}", kind: spiffe, audience: writ-mesh }`,
    { allowInsecureLoopback: true },
  );
  assert.ok(parsed.ok);
  trust = parsed.trust;
});
after(() => Promise.all([platform.close(), stranger.close(), spiffe.close(), wide.close()]));

const deps = () => ({ clock, keys: openKeyResolver({ clock }), audience });
const verify = (token: unknown) => verifyPlatformToken(token, trust, deps());

async function refuses(token: unknown, reason: string): Promise<void> {
  await assert.rejects(verify(token), (error: unknown) => {
    assert.ok(error instanceof WritError);
    assert.equal(refusalReason(error), reason);
    assert.equal(error.code, 'invalid_grant');
    assert.equal(error.detail, 'The subject token was not accepted.');
    return true;
  });
}

const encode = (value: unknown) => base64url.encode(JSON.stringify(value));

describe('a platform token', () => {
  it('is accepted when everything holds', async () => {
    const subject = await verify(await platform.mint({ ...good, jti: 'j-1', repository_id: '4711' }));
    assert.equal(subject.issuerName, 'ci');
    assert.equal(subject.issuer, platform.issuer);
    assert.equal(subject.subject, 'job-1');
    assert.equal(subject.claims.repository_id, '4711');
    assert.equal(subject.expiresAt.getTime(), (nowSeconds + 300) * 1000);
    assert.ok(subject.replayExpiresAt > subject.expiresAt);
  });

  it('is accepted for several audiences where the trust file says so, and as a SPIFFE JWT-SVID whose key says `jwt-svid`', async () => {
    await verify(await platform.mint({ ...good, aud: [audience] }));
    await verify(await wide.mint({ ...good, aud: ['other', audience] }));
    await verify(await wide.mint({ ...good, aud: 'writ-two' }));
    await refuses(await platform.mint({ ...good, aud: ['other', audience] }), 'wrong_audience');
    await verify(await spiffe.mint({ sub: 'spiffe://example.org/bot', aud: 'writ-mesh' }));
    await refuses(await spiffe.mint({ sub: 'bot', aud: 'writ-mesh' }), 'bad_claim');
    await refuses(await spiffe.mint({ sub: 'spiffe://example.org/bot', aud: audience }), 'wrong_audience');
  });

  it('is accepted as a JWT-SVID without iss and iat, of the trust domain that its subject names', async () => {
    const parsed = parseTrust(
      `issuers: [{ name: one, issuer: "spiffe://one.example", jwks_uri: "${platform.issuer}/keys", audience: writ-mesh }]`,
      { allowInsecureLoopback: true },
    );
    assert.ok(parsed.ok, JSON.stringify(parsed));
    const svid = async (sub: string, more: JsonObject = {}) =>
      verifyPlatformToken(
        await platform.mint({ sub, aud: 'writ-mesh', ...more }, { without: ['iss', 'iat'] }),
        parsed.trust,
        deps(),
      );
    const { issuer, subject } = await svid('spiffe://one.example/bot');
    assert.deepEqual([issuer, subject], ['spiffe://one.example', 'spiffe://one.example/bot']);
    for (const [sub, more] of [
      ['spiffe://two.example/bot', {}],
      ['spiffe://one.example', {}],
      ['bot', {}],
      ['spiffe://one.example/bot', { exp: nowSeconds + 4_000 }],
      ['spiffe://one.example/bot', { aud: audience }],
    ] as [string, JsonObject][])
      await assert.rejects(svid(sub, more), (error: unknown) => error instanceof WritError, sub);
    // With an `iss` it is somebody else's token.
    await assert.rejects(
      verifyPlatformToken(
        await platform.mint({ sub: 'spiffe://one.example/bot', aud: 'writ-mesh' }),
        parsed.trust,
        deps(),
      ),
      (error: unknown) => refusalReason(error) === 'unknown_issuer',
    );
    assert.equal(parseTrust('issuers: [{ name: a, issuer: "spiffe://one.example" }]').ok, false);
  });

  it('has a replay key that stays the same for the same jti and differs for every other', async () => {
    const token = await platform.mint({ ...good, jti: 'j-1' });
    const [first, again] = [await verify(token), await verify(token)];
    assert.equal(first.replayKey, again.replayKey);
    assert.match(first.replayKey ?? '', /^jti:http:\/\/127\.0\.0\.1:\d+:[A-Za-z0-9_-]{43}$/);
    assert.equal((await verify(await platform.mint({ ...good, jti: 'j-1', more: 1 }))).replayKey, first.replayKey);
    assert.notEqual((await verify(await platform.mint({ ...good, jti: 'j-2' }))).replayKey, first.replayKey);
    assert.deepEqual([first.singleUse, (await verify(await wide.mint(good))).singleUse], [false, true]);
    const plain = await platform.mint(good, { without: ['jti'] });
    assert.match((await verify(plain)).replayKey, /^token:/);
    assert.equal((await verify(plain)).replayKey, (await verify(plain)).replayKey);
    const other = await platform.mint({ ...good, more: 1 }, { without: ['jti'] });
    assert.notEqual((await verify(other)).replayKey, (await verify(plain)).replayKey);
  });

  it('is refused with alg none, signed or not', async () => {
    await refuses(await platform.mint(good, { forge: 'alg_none' }), 'malformed');
    const claims = { iss: platform.issuer, ...good, iat: nowSeconds, exp: nowSeconds + 300 };
    await refuses(`${encode({ alg: 'none' })}.${encode(claims)}.AAAA`, 'algorithm_not_allowed');
    await refuses(`${encode({ alg: 'nOnE' })}.${encode(claims)}.AAAA`, 'algorithm_not_allowed');
  });

  it('is refused when the public key was used as a shared secret', async () => {
    await refuses(await platform.mint(good, { forge: 'hs256_with_public_key' }), 'algorithm_not_allowed');
  });

  it('is refused when another key signed it or the payload was changed', async () => {
    await refuses(await platform.mint(good, { forge: 'foreign_key' }), 'bad_signature');
    await refuses(await platform.mint(good, { forge: 'tampered_payload' }), 'bad_signature');
  });

  it('is refused from an issuer that is not listed, and when it only claims to be from a listed one', async () => {
    await refuses(await stranger.mint(good), 'unknown_issuer');
    await refuses(await stranger.mint({ ...good, iss: platform.issuer }), 'unknown_key');
    await refuses(await platform.mint({ ...good, iss: `${platform.issuer}/` }), 'unknown_issuer');
    await refuses(await platform.mint({ ...good, iss: '__proto__' }), 'unknown_issuer');
  });

  it('is refused for another audience', async () => {
    await refuses(await platform.mint({ ...good, aud: 'sts.amazonaws.com' }), 'wrong_audience');
    await refuses(await platform.mint({ ...good, aud: [`${audience}/`, `${audience}.example.com`] }), 'wrong_audience');
  });

  it('is refused without exp, iat, sub or aud', async () => {
    for (const claim of ['exp', 'iat', 'sub', 'aud'])
      await refuses(await platform.mint(good, { without: [claim] }), 'missing_claim');
  });

  it('is refused expired, not yet valid, issued in the future, or too old however long it lives', async () => {
    await refuses(await platform.mint(good, { lifetimeSeconds: -6 }), 'expired');
    await verify(await platform.mint(good, { lifetimeSeconds: -4 }));
    await refuses(await platform.mint({ ...good, nbf: nowSeconds + 6 }), 'not_yet_valid');
    await refuses(await platform.mint({ ...good, iat: nowSeconds + 6 }), 'not_yet_valid');
    await refuses(await platform.mint({ ...good, iat: nowSeconds - 3_700, exp: nowSeconds + 3_600 }), 'too_old');
  });

  it('is refused with claims of odd types', async () => {
    const odd: JsonObject[] = [
      { exp: '9999999999' },
      { exp: 1e300 },
      { iat: 'now' },
      { sub: 7 },
      { sub: '' },
      { sub: 'a\u0000b' },
      { sub: 'a\u202eb' },
      { jti: 7 },
      { jti: '' },
    ];
    for (const claims of odd) await refuses(await platform.mint({ ...good, ...claims }), 'bad_claim');
  });

  it('is refused with `crit`, and as a token made for another purpose', async () => {
    const [, body, signature] = (await platform.mint(good)).split('.');
    await refuses(`${encode({ alg: 'RS256', crit: ['b64'], b64: false })}.${body}.${signature}`, 'malformed');
    for (const typ of ['dpop+jwt', 'logout+jwt', 'secevent+jwt'])
      await refuses(await platform.mint(good, { header: { typ } }), 'malformed');
  });

  it('is never verified with a key that its own header brings or points to', async () => {
    const before = stranger.keyRequests();
    const header = { jku: `${stranger.issuer}/keys`, x5u: `${stranger.issuer}/keys` };
    await verify(await platform.mint(good, { header }));
    await refuses(await stranger.mint({ ...good, iss: platform.issuer }, { header }), 'unknown_key');
    const keys = (await (await fetch(`${stranger.issuer}/keys`)).json()) as { keys: JsonObject[] };
    const jwk = keys.keys[0] ?? {};
    await refuses(await stranger.mint({ ...good, iss: platform.issuer }, { header: { jwk } }), 'unknown_key');
    assert.equal(stranger.keyRequests(), before + 1);
  });

  it('is refused when it is no token at all', async () => {
    const token = await platform.mint(good);
    for (const nonsense of [
      '',
      'a.b',
      'a.b.c',
      `${token}.x`,
      `${token} `,
      ` ${token}`,
      `${token}=`,
      7,
      null,
      undefined,
      [token],
      `[${token}]`,
    ]) {
      await refuses(nonsense, 'malformed');
    }
    await refuses(await platform.mint({ ...good, padding: 'x'.repeat(20_000) }), 'malformed');
    await refuses(`${encode([])}.${encode({})}.AAAA`, 'malformed');
  });

  it('is answered with 503, not with a refusal, when the issuer cannot be asked', async () => {
    platform.behave('outage');
    const token = await platform.mint(good);
    await assert.rejects(verify(token), (error: unknown) => {
      assert.ok(error instanceof WritError);
      assert.equal(error.code, 'unavailable');
      assert.equal(refusalReason(error), 'issuer_unavailable');
      assert.equal(error.retryAfterSeconds, 30);
      return true;
    });
    platform.behave('well');
  });

  it('appears in no error', async () => {
    const token = await platform.mint(good, { forge: 'tampered_payload' });
    const error = await verify(token).catch((caught: unknown) => caught);
    const seen: string[] = [];
    for (let at = error; at instanceof Error; at = at.cause) seen.push(at.message, at.stack ?? '', JSON.stringify(at));
    for (const part of token.split('.')) assert.ok(!seen.join('\n').includes(part));
  });
});
