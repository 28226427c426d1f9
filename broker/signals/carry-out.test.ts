/**
 * What a process leaves that dies while it carries a signal out: the next one goes on until nothing is left.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openHarness } from '../harness.test-support.ts';
import type { Store } from '../store/open.ts';
import { testBackends } from '../store/store.test-support.ts';
import { carryOutSignals } from './carry-out.ts';

/** Who the harness's sessions were opened by. */
const run = { kind: 'subject', value: 'run', issuer: 'https://ci.example' };

for (const backend of await testBackends())
  describe(`carrying a signal out (${backend})`, () => {
    test('killed before any statement, it is carried out by the next, once', async () => {
      const harness = await openHarness(backend, { providers: [{ name: 'vault' }] });
      try {
        const { store, clock } = harness;
        let steps = 0;
        for (let dieAt = 1; dieAt === 1 || steps >= dieAt - 1; dieAt += 1) {
          const setKey = `set-${dieAt}`;
          const sessions = [await harness.open(), await harness.open()];
          const leases = [await harness.lease(sessions[0]!, 'vault'), await harness.lease(sessions[1]!, 'vault')];
          await store.prisma.signal.create({
            data: {
              setKey,
              eventType: 'https://idp.example/gone',
              jti: setKey,
              names: [run],
              effect: 'sign_off',
              receivedAt: clock.now(),
              dueAt: clock.now(),
            },
          });
          steps = 0;
          const dying: Store = {
            ...store,
            run: (...statement) => {
              steps += 1;
              if (steps >= dieAt) return Promise.reject(new Error('killed'));
              return store.run(...statement);
            },
          };
          await carryOutSignals({ ...harness.reconciling, store: dying }, clock.now(), 200).catch(() => {});
          while ((await store.prisma.signal.count({ where: { setKey, dueAt: null } })) === 0) {
            clock.advance(5_000);
            await harness.tick();
          }
          for (const { sessionId } of sessions)
            assert.equal((await harness.session(sessionId)).endReason, 'person_signed_off', `killed at ${dieAt}`);
          await harness.tick();
          for (const lease of leases) assert.equal((await harness.row(lease)).status, 'revoked', `killed at ${dieAt}`);
          const ends = await store.prisma.auditEvent.count({
            where: { type: 'session.ended', chain: { in: sessions.map(({ sessionId }) => sessionId) } },
          });
          assert.equal(ends, 2, `killed at ${dieAt}`);
          const done = await store.prisma.auditEvent.findMany({ where: { type: 'signal.carried_out' } });
          assert.equal(done.length, dieAt, `killed at ${dieAt}`);
        }
        assert.ok(steps > 8, `${steps} steps`);
      } finally {
        await harness.close();
      }
    });
  });
