import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import { type PlatformIssuer, startPlatformIssuer } from '../../sandbox/oidc/platform-issuer.ts';
import { manualClock } from '../core/clock.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { openKeyResolver } from './jwks.ts';
import { refusalReason } from './refusal.ts';
import type { KeyLocation, KeySource } from './trust.ts';

const minute = 60_000;
let clock: ReturnType<typeof manualClock>;
let platform: PlatformIssuer;

beforeEach(async () => {
  clock = manualClock(new Date('2026-01-01T00:00:00Z'));
  platform = await startPlatformIssuer({ clock, algorithm: 'ES256' });
});
afterEach(() => platform.close());

const refusedAs = (reason: string) => (error: unknown) => refusalReason(error) === reason;
const source = (location?: KeyLocation, algorithms: KeySource['algorithms'] = ['ES256']): KeySource => ({
  name: 'ci',
  location: location ?? { kind: 'discovery', issuer: platform.issuer },
  algorithms,
  allowInsecureLoopback: true,
  ca: null,
});

/** The header of a token signed now. */
async function header(): Promise<{ alg: string; kid: string }> {
  const [head = ''] = (await platform.mint({ sub: 'x' })).split('.');
  return JSON.parse(Buffer.from(head, 'base64url').toString());
}

describe('keys of an issuer', () => {
  it('are fetched once for many callers at once, and kept for ten minutes', async () => {
    const keys = openKeyResolver({ clock });
    const from = source();
    const head = await header();
    await Promise.all(Array.from({ length: 20 }, () => keys.resolve(from, head)));
    clock.advance(9 * minute);
    await keys.resolve(from, head);
    assert.equal(platform.keyRequests(), 1);
    clock.advance(2 * minute);
    await keys.resolve(from, head);
    assert.equal(platform.keyRequests(), 2);
  });

  it('follow a rotation after the cooldown, and drop the withdrawn key', async () => {
    const keys = openKeyResolver({ clock });
    const from = source();
    const old = await header();
    await keys.resolve(from, old);
    await platform.rotate();
    const fresh = await header();
    await assert.rejects(keys.resolve(from, fresh), refusedAs('unknown_key'));
    clock.advance(30_000);
    await keys.resolve(from, fresh);
    await assert.rejects(keys.resolve(from, old), refusedAs('unknown_key'));
  });

  it('are both known while both are published', async () => {
    const keys = openKeyResolver({ clock });
    const from = source();
    const old = await header();
    await platform.rotate({ keepOld: true });
    await keys.resolve(from, old);
    await keys.resolve(from, await header());
    // Without a kid two keys fit, and a token may not choose.
    await assert.rejects(keys.resolve(from, { alg: 'ES256' }), refusedAs('unknown_key'));
  });

  it('are not fetched again and again for made-up kids', async () => {
    const keys = openKeyResolver({ clock });
    const from = source();
    for (let i = 0; i < 50; i += 1)
      await assert.rejects(keys.resolve(from, { alg: 'ES256', kid: `k${i}` }), refusedAs('unknown_key'));
    assert.equal(platform.keyRequests(), 1);
  });

  it('serve on through an outage for six hours, then fail closed, then recover', async () => {
    const keys = openKeyResolver({ clock });
    const from = source();
    const head = await header();
    await keys.resolve(from, head);
    platform.behave('outage');
    clock.advance(5 * 60 * minute);
    await keys.resolve(from, head);
    await assert.rejects(keys.resolve(from, { alg: 'ES256', kid: 'new' }), refusedAs('issuer_unavailable'));
    clock.advance(61 * minute);
    await assert.rejects(keys.resolve(from, head), refusedAs('issuer_unavailable'));
    platform.behave('well');
    clock.advance(minute);
    await keys.resolve(from, head);
  });

  it('are not asked for more than once per cooldown while the issuer is down', async () => {
    const keys = openKeyResolver({ clock });
    const from = source({ kind: 'jwks_uri', url: `${platform.issuer}/keys` });
    platform.behave('outage');
    for (let i = 0; i < 10; i += 1)
      await assert.rejects(keys.resolve(from, await header()), refusedAs('issuer_unavailable'));
    assert.equal(platform.keyRequests(), 1);
  });

  it('are not taken from a redirect, another issuer’s document, nonsense or a flood', async () => {
    const head = await header();
    for (const mood of ['redirect', 'impostor', 'not_json', 'huge', 'outage'] as const) {
      platform.behave(mood);
      await assert.rejects(openKeyResolver({ clock }).resolve(source(), head), refusedAs('issuer_unavailable'), mood);
    }
  });

  it('are given up on after five seconds', async () => {
    platform.behave('slow');
    const asked = Promise.withResolvers<void>();
    const sending: typeof fetch = (...args) => {
      const answer = fetch(...args);
      asked.resolve();
      return answer;
    };
    const attempt = assert.rejects(
      openKeyResolver({ clock, fetch: sending }).resolve(source(), await header()),
      refusedAs('issuer_unavailable'),
    );
    await asked.promise;
    clock.advance(5_000);
    await attempt;
  });

  it('are not fetched from plain http that a discovery document names, unless allowed', async () => {
    const from = { ...source(), allowInsecureLoopback: false };
    await assert.rejects(openKeyResolver({ clock }).resolve(from, await header()), refusedAs('issuer_unavailable'));
    assert.equal(platform.keyRequests(), 0);
  });

  it('are not fetched from another host that a discovery document names, until the trust file names it', async () => {
    const elsewhere = 'https://keys.example/keys';
    const asked: string[] = [];
    const sending: typeof fetch = async (address) => {
      asked.push(String(address));
      return String(address) === elsewhere
        ? fetch(`${platform.issuer}/keys`)
        : Response.json({ issuer: platform.issuer, jwks_uri: elsewhere });
    };
    await assert.rejects(openKeyResolver({ clock, fetch: sending }).resolve(source(), await header()), (error: Error) =>
      /jwks_uri: https:\/\/keys\.example\/keys/.test(String((error.cause as Error).message)),
    );
    assert.ok(!asked.includes(elsewhere));
    const named = source({ kind: 'jwks_uri', url: elsewhere });
    assert.equal((await openKeyResolver({ clock, fetch: sending }).resolve(named, await header())).key.type, 'public');
  });

  it('are not asked for when the algorithm is not pinned', async () => {
    await assert.rejects(
      openKeyResolver({ clock }).resolve(source(undefined, ['RS256']), await header()),
      refusedAs('algorithm_not_allowed'),
    );
    assert.equal(platform.keyRequests(), 0);
  });
});

describe('keys behind a private authority', () => {
  it('are had with its certificate in the trust file, and with no other', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'writ-ca-'));
    const made = (name: string) => {
      const file = (kind: string) => join(folder, `${name}.${kind}`);
      const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
      const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file('key')];
      execFileSync('openssl', ['req', '-x509', ...key, '-out', file('crt'), ...subject], { stdio: 'ignore' });
      return { key: readFileSync(file('key'), 'utf8'), cert: readFileSync(file('crt'), 'utf8') };
    };
    const [own, other] = [made('own'), made('other')];
    const { publicKey } = await generateKeyPair('ES256', { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), kid: 'one' };
    let status = 200;
    const server = createServer(own, (_req, res) => res.writeHead(status).end(JSON.stringify({ keys: [jwk] })));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
    const from = (ca: string | null): KeySource => ({ ...source({ kind: 'jwks_uri', url }), ca });
    const head = { alg: 'ES256', kid: 'one' };
    try {
      assert.equal((await openKeyResolver({ clock }).resolve(from(own.cert), head)).key.type, 'public');
      for (const ca of [null, other.cert])
        await assert.rejects(openKeyResolver({ clock }).resolve(from(ca), head), (error: Error) => {
          assert.ok(refusedAs('issuer_unavailable')(error));
          assert.match(error.message, /certificate is not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\)/);
          return true;
        });
      status = 302;
      await assert.rejects(openKeyResolver({ clock }).resolve(from(own.cert), head), refusedAs('issuer_unavailable'));
    } finally {
      server.closeAllConnections();
      server.close();
      await rm(folder, { recursive: true });
    }
  });
});

describe('keys written into the trust file', () => {
  const inline = (key: JsonObject) => source({ kind: 'inline', keys: [key] }, ['ES256', 'RS256']);

  it('are used as public signature keys only', async () => {
    const { privateKey } = await generateKeyPair('ES256', { extractable: true });
    const jwk = (await exportJWK(privateKey)) as JsonObject;
    const keys = openKeyResolver({ clock });
    const key = await keys.resolve(inline({ ...jwk, use: 'jwt-svid' }), { alg: 'ES256' });
    assert.equal(key.key.type, 'public');
    await assert.rejects(keys.resolve(inline({ ...jwk, use: 'enc' }), { alg: 'ES256' }), refusedAs('unknown_key'));
    await assert.rejects(
      keys.resolve(inline({ ...jwk, key_ops: ['sign'] }), { alg: 'ES256' }),
      refusedAs('unknown_key'),
    );
    await assert.rejects(keys.resolve(inline({ ...jwk, alg: 'ES384' }), { alg: 'ES256' }), refusedAs('unknown_key'));
    await assert.rejects(keys.resolve(inline(jwk), { alg: 'RS256' }), refusedAs('unknown_key'));
    await assert.rejects(keys.resolve(inline({ ...jwk, x: 'AAAA' }), { alg: 'ES256' }), refusedAs('unknown_key'));
    await assert.rejects(keys.resolve(inline({ kty: 'oct', k: 'AAAA' }), { alg: 'ES256' }), refusedAs('unknown_key'));
    await assert.rejects(keys.resolve(inline({ ...jwk, y: jwk.x! }), { alg: 'ES256' }), refusedAs('unknown_key'));
    const rsa = (modulusLength: number) =>
      inline(generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ format: 'jwk' }) as JsonObject);
    assert.equal((await keys.resolve(rsa(2048), { alg: 'RS256' })).algorithm, 'RS256');
    await assert.rejects(keys.resolve(rsa(1024), { alg: 'RS256' }), refusedAs('unknown_key'));
  });
});
