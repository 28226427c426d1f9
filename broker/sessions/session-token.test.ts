import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { WritError } from '../core/errors.ts';
import { type Harness, issuer, openHarness } from '../harness.test-support.ts';
import { openKeyRing } from '../keys/ring.ts';
import { testBackends } from '../store/store.test-support.ts';
import { createSessionTokens } from './session-token.ts';

const refused = (error: unknown) => error instanceof WritError && error.code === 'unauthenticated';

for (const backend of await testBackends()) {
  describe(`session tokens on ${backend}`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
    });
    after(() => harness.close());
    const mint = (seconds: number) =>
      harness.tokens.mint({
        id: 'ses_x',
        agent: 'harness-agent',
        taskType: 'work',
        jkt: null,
        act: null,
        expiresAt: new Date(harness.clock.now().getTime() + seconds * 1000),
      });

    test('a verified token is not remembered past its end, nor lives past its session', async () => {
      const short = await mint(40);
      assert.equal(short.expires_in, 40);
      assert.equal((await mint(4000)).expires_in, 300);
      assert.equal((await harness.tokens.verify(short.access_token)).sessionId, 'ses_x');
      harness.clock.advance(39_000);
      await harness.tokens.verify(short.access_token);
      harness.clock.advance(1_000);
      await assert.rejects(harness.tokens.verify(short.access_token), refused);
      await assert.rejects(harness.tokens.verify(short.access_token), refused, 'and again, without the memory');
    });

    test('nothing but a current token of ours, for us, of this type, holds', async () => {
      const { access_token: token } = await mint(100);
      const [header, payload, signature] = token.split('.') as [string, string, string];
      const key = harness.ring.current();
      const thief = await generateKeyPair('ES256', { extractable: true });
      const now = Math.floor(harness.clock.now().getTime() / 1000);
      const signed = (
        change: { typ?: string; kid?: string; aud?: string; iss?: string; exp?: number | null; sid?: null },
        by = key.privateKey,
      ) => {
        const claims = { sub: 'harness-agent', client_id: 'harness-agent', jti: crypto.randomUUID(), iat: now };
        return new SignJWT({
          ...claims,
          ...(change.sid === null ? {} : { sid: 'ses_x' }),
          ...(change.exp === null ? {} : { exp: change.exp ?? now + 60 }),
          iss: change.iss ?? issuer,
          aud: change.aud ?? issuer,
        })
          .setProtectedHeader({ alg: 'ES256', typ: change.typ ?? 'at+jwt', kid: change.kid ?? key.kid })
          .sign(by);
      };
      await harness.tokens.verify(await signed({}));
      const none = Buffer.from(JSON.stringify({ alg: 'none', typ: 'at+jwt', kid: key.kid })).toString('base64url');
      const other = Buffer.from(
        JSON.stringify({ ...JSON.parse(Buffer.from(payload, 'base64url').toString()), sid: 'ses_y' }),
      );
      const bad: Record<string, string> = {
        tampered: `${header}.${other.toString('base64url')}.${signature}`,
        'without signature': `${header}.${payload}.`,
        'alg none': `${none}.${payload}.`,
        'wrong type': await signed({ typ: 'JWT' }),
        'unknown kid': await signed({ kid: 'nobody' }),
        'wrong audience': await signed({ aud: 'https://elsewhere.example' }),
        'wrong issuer': await signed({ iss: 'https://elsewhere.example' }),
        'without exp': await signed({ exp: null }),
        'without session': await signed({ sid: null }),
        "a thief's key": await signed({}, thief.privateKey as never),
        'no token': 'x',
        empty: '',
      };
      for (const [what, value] of Object.entries(bad))
        await assert.rejects(harness.tokens.verify(value), refused, what);
      assert.ok((await exportJWK(thief.publicKey)).kty === 'EC');
    });

    test('a token signed by a key that another process rotated in is known after the cooldown at the latest', async () => {
      const elsewhere = await openKeyRing(harness.store, {
        clock: harness.clock,
        seal: harness.seal,
        longestTokenSeconds: 300,
      });
      const kid = await elsewhere.rotate(0, 'admin');
      harness.clock.advance(5_000);
      assert.equal(harness.ring.find(kid), undefined);
      const { access_token } = await createSessionTokens(elsewhere, harness.clock, issuer, 300).mint({
        id: 'ses_z',
        agent: 'harness-agent',
        taskType: 'work',
        jkt: null,
        act: null,
        expiresAt: new Date(harness.clock.now().getTime() + 60_000),
      });
      assert.equal((await harness.tokens.verify(access_token)).sessionId, 'ses_z');
    });

    test('made-up key ids ask the database once in five seconds, however many; an outage is not the token’s fault', async () => {
      let reloads = 0;
      let down = false;
      const ring = {
        ...harness.ring,
        reload: async () => {
          reloads += 1;
          if (down) throw new Error('connection refused');
          await harness.ring.reload();
        },
      };
      const tokens = createSessionTokens(ring, harness.clock, issuer, 300);
      const madeUp = () =>
        `${Buffer.from(JSON.stringify({ alg: 'ES256', typ: 'at+jwt', kid: crypto.randomUUID() })).toString('base64url')}.e30.AA`;
      await Promise.all(Array.from({ length: 50 }, () => assert.rejects(tokens.verify(madeUp()), refused)));
      await assert.rejects(tokens.verify(madeUp()), refused);
      assert.equal(reloads, 1);
      harness.clock.advance(4_999);
      await assert.rejects(tokens.verify(madeUp()), refused);
      assert.equal(reloads, 1);
      harness.clock.advance(1);
      down = true;
      const unavailable = (error: unknown) =>
        error instanceof WritError && error.code === 'unavailable' && error.retryAfterSeconds !== undefined;
      await assert.rejects(tokens.verify(madeUp()), unavailable);
      await assert.rejects(tokens.verify(madeUp()), unavailable, 'nor while nobody looks again');
      assert.equal(reloads, 2);
      const { access_token } = await mint(60);
      await tokens.verify(access_token);
      down = false;
      harness.clock.advance(5_000);
      await assert.rejects(tokens.verify(madeUp()), refused);
    });
  });
}
