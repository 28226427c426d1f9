/**
 * Whether a session may act: the same answer at the door and in every statement that writes for a session.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { WritError } from '../core/errors.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { testBackends } from '../store/store.test-support.ts';
import { type Caller, readSession } from './authenticate.ts';
import { heartbeat } from './heartbeat.ts';

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;

for (const backend of await testBackends()) {
  describe(`may a session act, on ${backend}`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, {
        providers: [{ name: 'plain' }, { name: 'pool', pool: ['m1', 'm2', 'm3', 'm4', 'm5', 'm6'] }],
      });
    });
    after(() => harness.close());

    const parentOf = (caller: Caller) => ({
      id: caller.sessionId,
      rootId: caller.sessionId,
      expiresAt: new Date(harness.clock.now().getTime() + 1_000_000),
      act: null,
      capabilities: [],
      narrowed: false,
      grantsLeft: null,
    });
    const childOf = (caller: Caller) =>
      harness.open({ child: { parent: parentOf(caller), capabilities: ['use-plain', 'use-pool'] } });
    const set = (caller: Caller, change: object) =>
      harness.store.prisma.session.update({ where: { id: caller.sessionId }, data: change });
    const over = () => ({ status: 'ended', endReason: 'ended_by_agent', endedAt: harness.clock.now() });
    const past = () => new Date(harness.clock.now().getTime() - 1);

    /** Every way in which a session has stopped living, before anything has written that it ended. */
    const ways: { [why: string]: (caller: Caller, parent: Caller) => Promise<unknown> } = {
      'its time is over': (caller) => set(caller, { expiresAt: past() }),
      'it missed its heartbeats': (caller) => set(caller, { heartbeatDeadline: past() }),
      'it has ended': (caller) => set(caller, { ...over() }),
      'its parent’s time is over': (_caller, parent) => set(parent, { expiresAt: past() }),
      'its parent missed its heartbeats': (_caller, parent) => set(parent, { heartbeatDeadline: past() }),
      'its parent has ended': (_caller, parent) => set(parent, { ...over() }),
    };

    for (const [why, stop] of Object.entries(ways)) {
      test(`nothing is read, granted, opened or prolonged for a session when ${why}`, async () => {
        const parent = await harness.open();
        const caller = await childOf(parent);
        const facts = await readSession(harness.store, caller, harness.clock.now());
        await harness.lease(caller, 'plain');
        // The decision reads a session that lives; it stops before anything is written for it.
        const racing = {
          ...harness,
          grants: {
            ...harness.grants,
            store: {
              ...harness.store,
              run: (async (statement, values) => {
                if (/^grant_(?:intent|record)/.test(statement.name)) await stop(caller, parent);
                return harness.store.run(statement, values);
              }) as typeof harness.store.run,
            },
          },
        };
        const before = await harness.store.prisma.lease.count();
        await assert.rejects(harness.askWith(racing.grants, caller, 'plain'), code('session_ended'));
        await assert.rejects(harness.ask(caller, 'pool'), code('session_ended'));
        await assert.rejects(readSession(harness.store, caller, harness.clock.now()), code('session_ended'));
        await assert.rejects(heartbeat(harness.opening, facts), code('session_ended'));
        await assert.rejects(childOf(caller), (error) => error instanceof WritError);
        assert.equal(await harness.store.prisma.lease.count(), before, 'no credential was minted');
      });
    }
  });
}
