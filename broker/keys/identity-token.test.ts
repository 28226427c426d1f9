import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { manualClock } from '../core/clock.ts';
import { openTestStore, testBackends } from '../store/store.test-support.ts';
import { identityTokens } from './identity-token.ts';
import { openKeyRing, ringAlgorithms } from './ring.ts';
import { createSeal } from './seal.ts';

const [backend] = await testBackends();

test('a verifier that reads one algorithm alone finds its key, and the broker is not its own audience', async () => {
  const store = await openTestStore(backend!);
  try {
    const clock = manualClock(new Date('2026-03-01T12:00:00Z'));
    const ring = await openKeyRing(store, { clock, seal: createSeal(randomBytes(32)), longestTokenSeconds: 300 });
    const issuer = 'https://writ.example';
    for (const alg of ringAlgorithms) {
      const sign = identityTokens(ring, clock, issuer, alg);
      const token = await sign({ sub: 'writ', aud: 'https://cloud.example' }, 9_999);
      const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(ring.jwks()), {
        algorithms: [alg],
        issuer,
        audience: 'https://cloud.example',
        currentDate: clock.now(),
      });
      assert.deepEqual([protectedHeader.alg, payload.sub, payload.exp! - payload.iat!], [alg, 'writ', 300]);
      await assert.rejects(sign({ sub: 'writ', aud: issuer }, 60), /must not be for the broker itself/);
    }
  } finally {
    await store.close();
  }
});
