import assert from 'node:assert/strict';
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { manualClock } from '../core/clock.ts';
import type { Store } from '../store/open.ts';
import { openTestStore, testBackends } from '../store/store.test-support.ts';
import { type KeyRing, openKeyRing, type RingAlgorithm } from './ring.ts';
import { createSeal } from './seal.ts';

const kids = (ring: KeyRing, alg: RingAlgorithm = 'ES256') =>
  ring.jwks().keys.flatMap((key) => (key.alg === alg ? [key.kid] : []));

for (const backend of await testBackends()) {
  describe(`key ring on ${backend}`, () => {
    let store: Store;
    const clock = manualClock(new Date('2026-03-01T12:00:00Z'));
    const seal = createSeal(randomBytes(32));
    const open = () => openKeyRing(store, { clock, seal, longestTokenSeconds: 300 });
    before(async () => {
      store = await openTestStore(backend);
    });
    after(() => store.close());

    test('the first start makes a key of each algorithm; a second process has the same ones', async () => {
      const ring = await open();
      const other = await open();
      assert.deepEqual(
        ring.jwks().keys.map(({ alg, kty }) => [alg, kty]),
        [
          ['ES256', 'EC'],
          ['RS256', 'RSA'],
        ],
      );
      assert.deepEqual(other.jwks(), ring.jwks(), 'with the very same certificate');
      const [{ x5c, ...jwk } = {}] = ring.jwks().keys;
      const certificate = new X509Certificate(Buffer.from(x5c?.[0] ?? '', 'base64'));
      assert.ok(certificate.publicKey.equals(createPublicKey({ key: jwk as never, format: 'jwk' })));
      assert.equal(other.current().kid, ring.current().kid);
      assert.deepEqual(
        other.current().privateKey.export({ format: 'jwk' }),
        ring.current().privateKey.export({ format: 'jwk' }),
      );
    });

    test('a rotated-in key is published for its lead, then signs; the old one stays until its last token has expired', async () => {
      const ring = await open();
      const other = await open();
      const old = ring.current().kid;
      const next = await ring.rotate(600, 'admin');
      assert.equal(ring.current().kid, old);
      assert.deepEqual(kids(ring), [old, next]);
      assert.equal(other.find(next), undefined);
      await other.reload();
      assert.deepEqual(kids(other), [old, next]);
      clock.advance(599_999);
      assert.equal(other.current().kid, old);
      clock.advance(1);
      assert.equal(other.current().kid, next);
      assert.notEqual(ring.find(old), undefined, 'its tokens still verify');
      assert.deepEqual(kids(ring), [next, old], 'the one that signs is the first');
      clock.advance(299_999);
      assert.deepEqual(kids(ring), [next, old]);
      clock.advance(1);
      assert.deepEqual(kids(ring), [next]);
      assert.equal(ring.find(old), undefined);
      assert.deepEqual(kids(await open()), [next]);
    });

    test('no key rests in the clear, none is published with its private half, and another key-encryption key opens nothing', async () => {
      const ring = await open();
      const d = String(ring.current().privateKey.export({ format: 'jwk' }).d);
      const rows = JSON.stringify(await store.prisma.signingKey.findMany());
      assert.ok(!rows.includes(d));
      const rsa = ring.current('RS256').privateKey.export({ format: 'jwk' });
      assert.ok(!rows.includes(String(rsa.d)) && !rows.includes(String(rsa.p)));
      for (const key of ring.jwks().keys) {
        const parts = key.kty === 'EC' ? ['crv', 'x', 'x5c', 'y'] : ['e', 'n'];
        assert.deepEqual(Object.keys(key).toSorted(), ['alg', 'kid', 'kty', 'use', ...parts].toSorted());
        assert.equal(key.use, 'sig');
      }
      await assert.rejects(openKeyRing(store, { clock, seal: createSeal(randomBytes(32)), longestTokenSeconds: 300 }));
      const events = await store.prisma.auditEvent.findMany({ where: { type: 'key.created' } });
      assert.equal(events.length, 4);
      assert.ok(!JSON.stringify(events).includes(d));
    });

    test('a withdrawn key is gone at once, another signs, and withdrawing again changes nothing', async () => {
      const ring = await open();
      const other = await open();
      const old = ring.current().kid;
      const next = await ring.rotate(600, 'admin');
      const signs = await ring.withdraw(old, 'admin', 'req_1');
      assert.ok(signs !== null && signs !== old && signs !== next, 'the one that is coming does not sign yet');
      assert.deepEqual([ring.current().kid, ring.find(old)], [signs, undefined]);
      assert.ok(!kids(ring).includes(old));
      await other.reload();
      assert.deepEqual([other.current().kid, other.find(old)], [signs, undefined]);
      assert.equal(await ring.withdraw(old, 'admin', null), null);
      assert.equal(await ring.withdraw('no-such-key', 'admin', null), null);
      const types = (await store.prisma.auditEvent.findMany({ orderBy: { seq: 'asc' } })).map(({ type }) => type);
      assert.deepEqual(types.slice(-2).toSorted(), ['key.created', 'key.withdrawn']);
    });

    test('RS256 has a line of keys of its own, which verifies nothing of the broker’s', async () => {
      const ring = await open();
      const old = ring.current('RS256').kid;
      const own = ring.current().kid;
      assert.equal(ring.find(old), undefined);
      assert.ok(ring.published().every(({ alg }) => alg === 'ES256'));
      await ring.rotate(600, 'admin');
      assert.equal(ring.current('RS256').kid, old, 'rotated with the other, and not before its lead');
      clock.advance(600_000);
      const next = ring.current('RS256').kid;
      assert.notEqual(next, old);
      assert.ok(kids(ring, 'RS256').includes(old) && kids(ring, 'RS256').includes(next));
      clock.advance(300_000);
      assert.deepEqual(kids(ring, 'RS256'), [next]);

      const signs = ring.current().kid;
      assert.notEqual(signs, own);
      assert.equal(await ring.withdraw(next, 'admin', null), ring.current('RS256').kid);
      assert.ok(!kids(ring, 'RS256').includes(next));
      assert.equal(ring.current().kid, signs, 'a key of the other algorithm is not touched');
    });

    test('a ring from before RS256 gets its key; processes that start at once sign with the same one', async () => {
      const { kid } = (await open()).current('RS256');
      await store.prisma.signingKey.deleteMany({ where: { publicJwk: { path: ['alg'], equals: 'RS256' } } });
      const before = await store.prisma.signingKey.findMany();
      assert.ok(before.length > 0);
      const [one, other] = await Promise.all([open(), open()]);
      await one!.reload();
      await other!.reload();
      assert.deepEqual(one!.jwks(), other!.jwks());
      assert.notEqual(one!.current('RS256').kid, kid);
      assert.equal(one!.current('RS256').kid, other!.current('RS256').kid);
      assert.ok(
        before.some((row) => row.kid === one!.current().kid),
        'the other algorithm’s is not touched',
      );
    });
  });
}
