import assert from 'node:assert/strict';
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { manualClock } from '../core/clock.ts';
import type { Store } from '../store/open.ts';
import { openTestStore, testBackends } from '../store/store.test-support.ts';
import { type KeyRing, openKeyRing } from './ring.ts';
import { createSeal } from './seal.ts';

const kids = (ring: KeyRing) => ring.jwks().keys.map((key) => key.kid);

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

    test('the first start makes a key; a second process has the same one', async () => {
      const ring = await open();
      const other = await open();
      assert.equal(kids(ring).length, 1);
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
      assert.ok(ring.jwks().keys.every((key) => !('d' in key) && key.use === 'sig' && key.alg === 'ES256'));
      await assert.rejects(openKeyRing(store, { clock, seal: createSeal(randomBytes(32)), longestTokenSeconds: 300 }));
      const events = await store.prisma.auditEvent.findMany({ where: { type: 'key.created' } });
      assert.equal(events.length, 2);
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
  });
}
