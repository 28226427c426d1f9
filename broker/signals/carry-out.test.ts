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

    test('runs that a platform says the person started end, in whatever case it writes their name', async () => {
      const harness = await openHarness(backend, { providers: [{ name: 'vault' }] });
      try {
        const { store, clock } = harness;
        const started = async (startedBy: object) => {
          const { sessionId } = await harness.open();
          await store.prisma.session.update({ where: { id: sessionId }, data: { startedBy } });
          return sessionId;
        };
        const theirs = await started({ kind: 'github_login', value: 'Octo-Owner', by: 'platform_token' });
        const others = [
          await started({ kind: 'github_login', value: 'octo-owner2', by: 'platform_token' }),
          await started({ kind: 'oid', value: 'octo-owner', by: 'platform_token' }),
          await started({ kind: 'subject', value: 'OCTO', issuer: 'https://idp.example', by: 'platform_token' }),
        ];
        const names = [
          { kind: 'github_login', value: 'octo-owner' },
          { kind: 'subject', value: 'octo', issuer: 'https://idp.example' },
        ];
        const of = { setKey: 'set', eventType: 'https://idp.example/gone', jti: 'set', effect: 'sign_off' };
        await store.prisma.signal.create({ data: { ...of, names, receivedAt: clock.now(), dueAt: clock.now() } });
        await carryOutSignals(harness.reconciling, clock.now(), 200);
        assert.equal((await harness.session(theirs)).endReason, 'person_signed_off');
        for (const id of others) assert.equal((await harness.session(id)).endReason, null);
      } finally {
        await harness.close();
      }
    });
  });
