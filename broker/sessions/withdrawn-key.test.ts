/** A token of a withdrawn key is refused in every process, also in one that still believes in the key. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WritError } from '../core/errors.ts';
import { openHarness } from '../harness.test-support.ts';
import { openKeyRing } from '../keys/ring.ts';
import { testBackends } from '../store/store.test-support.ts';
import { readSession } from './authenticate.ts';

const refused = (error: unknown) => error instanceof WritError && error.code === 'unauthenticated';

for (const backend of await testBackends()) {
  test(`refused at once: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
    try {
      const { token } = await harness.open();
      const claims = await harness.tokens.verify(token);
      const caller = { ...claims, replay: null };
      assert.equal((await readSession(harness.store, caller, harness.clock.now())).status, 'active');
      const elsewhere = await openKeyRing(harness.store, {
        clock: harness.clock,
        seal: harness.seal,
        longestTokenSeconds: 300,
      });
      await elsewhere.withdraw(claims.kid, 'admin', null);
      await harness.tokens.verify(token);
      await assert.rejects(readSession(harness.store, caller, harness.clock.now()), refused);
      await harness.ring.reload();
      await assert.rejects(harness.tokens.verify(token), refused, 'nor from the memory of what was verified');
    } finally {
      await harness.close();
    }
  });
}
