/** What is under way while a lock is set, and what a process leaves behind that dies over it. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { WritError } from '../core/errors.ts';
import type { LockLevel } from '../core/vocabulary.ts';
import { grantReads, requestGrant } from '../grants/request-grant.ts';
import { agent, type Harness, openHarness, statement } from '../harness.test-support.ts';
import type { Admin } from '../people/identity.ts';
import { readSession } from '../sessions/authenticate.ts';
import { endSession } from '../sessions/end-session.ts';
import type { Store } from '../store/open.ts';
import { testBackends } from '../store/store.test-support.ts';
import { carryOutLocks } from './carry-out.ts';
import { liftLock } from './lift-lock.ts';
import { readLock } from './read-locks.ts';
import { setLock } from './set-lock.ts';
import { allStanding } from './stored-lock.ts';

const admin = (subject: string): Admin => ({
  name: `user:${subject}@example.com`,
  identity: { issuer: 'https://id.example', subject, groups: ['admins'], aliases: [] },
});
const [first, second] = [admin('first'), admin('second')];
const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;
const locked = (level: string) => (error: unknown) =>
  error instanceof WritError &&
  error.code === 'denied' &&
  JSON.stringify(error.extensions.reasons).includes(`"lock.${level}"`) &&
  !JSON.stringify(error).includes('hush');

for (const backend of await testBackends()) {
  describe(`carrying locks out on ${backend}`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, {
        providers: [{ name: 'plain' }, { name: 'other' }],
        noticeChannels: ['bell'],
      });
    });
    after(() => harness.close());
    beforeEach(async () => {
      for (const { id } of await allStanding(harness.store)) await lift(id);
      harness.clock.advance(3600_000);
      await harness.tick();
      for (const one of harness.providers.values()) one.reset();
    });

    const set = (level: LockLevel, subject: string, store: Store = harness.store) =>
      setLock(
        { ...harness.ending, store, clock: harness.clock, providers: harness.providers },
        { level, subject },
        { reason: 'hush: it misbehaves', admin: first, requestId: null },
      );
    const lift = (id: string, who = second) =>
      liftLock(harness, { id, reason: 'it is well again', admin: who, requestId: null });
    /** A process that is killed before this statement. */
    const dyingAt = (name: string): Store => ({
      ...harness.store,
      run: ((what, values) => {
        if (what.name === name) throw new Error('killed');
        return harness.store.run(what, values);
      }) as Store['run'],
    });
    const request = {
      capability: 'use-plain',
      params: undefined,
      ttlSeconds: undefined,
      justification: null,
      credentialJwk: null,
    };

    test('a grant decided before the lock and written after it is decided again, and denied', async () => {
      for (const [level, subject] of [
        ['capability', 'use-plain'],
        ['capability', `${agent}/use-plain`],
        ['provider', 'plain'],
      ] as const) {
        harness.provider('plain').reset();
        const session = await harness.open();
        const reads = grantReads(harness.grants, 'use-plain', null);
        const seen = await readSession(harness.store, session, harness.clock.now(), reads);
        const id = await set(level, subject);
        await assert.rejects(requestGrant(harness.grants, seen, request, null, null), locked(level));
        await harness.lease(session, 'other');
        assert.deepEqual(harness.provider('plain').alive(), []);
        await lift(id);
        await harness.lease(session, 'plain');
      }
    });

    test('a mint that is under way is not delivered, and what it made is revoked', async () => {
      for (const [level, subject] of [
        ['agent', agent],
        ['provider', 'plain'],
      ] as const) {
        const session = await harness.open();
        let answer = () => {};
        const asked = new Promise<void>((begun) => {
          harness.provider('plain').script.issue = async (_context, mint) => {
            begun();
            await new Promise<void>((go) => {
              answer = go;
            });
            return mint();
          };
        });
        const outcome = assert.rejects(harness.ask(session, 'plain'), code('session_ended'));
        await asked;
        const id = await set(level, subject);
        const early = await readLock(harness.store, id);
        assert.deepEqual([early.leases.revoking, early.done], [1, false]);
        answer();
        await outcome;
        harness.provider('plain').reset();
        await harness.tick();
        assert.deepEqual(harness.provider('plain').alive(), []);
        const late = await readLock(harness.store, id);
        assert.deepEqual([late.leases.revoking, late.leases.revoked, late.done], [0, 1, true]);
        await lift(id);
        harness.clock.advance(1000);
      }
    });

    test('a process that dies after the lock’s commit leaves a lock that holds, and the worker ends the rest', async () => {
      for (const [level, subject, step] of [
        ['agent', agent, 'lock_live_roots'],
        ['owner', 'team:billing', 'session_release_leases'],
        ['everything', '', 'session_end'],
        ['capability', 'use-plain', 'lock_undecide'],
        ['provider', 'plain', 'lock_end_leases'],
      ] as const) {
        const session = await harness.open();
        const child = await harness.open({ child: { parent: await parentOf(session), capabilities: ['use-plain'] } });
        await harness.lease(child, 'plain');
        await assert.rejects(set(level, subject, dyingAt(step)), /killed/);
        const ended = level !== 'capability' && level !== 'provider';
        for (const one of [session, child])
          await assert.rejects(
            harness.ask(one, 'plain'),
            ended ? (error) => code('locked')(error) || code('session_ended')(error) : locked(level),
          );
        if (ended) await assert.rejects(harness.open(), code('locked'));
        await harness.tick();
        await harness.tick();
        assert.deepEqual(harness.provider('plain').alive(), [], level);
        const [lock] = await harness.store.prisma.accessLock.findMany({ orderBy: { setAt: 'desc' }, take: 1 });
        const view = await readLock(harness.store, lock!.id);
        assert.equal(view.done, true, JSON.stringify(view));
        if (ended) assert.equal((await harness.session(child.sessionId)).endReason, 'parent_ended');
        await lift(lock!.id);
        harness.clock.advance(1000);
      }
    });

    test('what begins after the lift lives on, however late a process ends what it saw locked', async () => {
      for (const [level, subject, step] of [
        ['agent', agent, 'lock_live_roots'],
        ['everything', '', 'lock_live_roots'],
        ['capability', 'use-plain', 'lock_end_grants'],
        ['provider', 'plain', 'lock_end_leases'],
      ] as const) {
        const id = await set(level, subject);
        let lease: string | undefined;
        const slow: Store = {
          ...harness.store,
          run: (async (what, values) => {
            if (what.name === step && lease === undefined) {
              await lift(id);
              lease = await harness.lease(await harness.open(), 'plain');
            }
            return harness.store.run(what, values);
          }) as Store['run'],
        };
        await carryOutLocks({ ...harness.ending, store: slow }, harness.clock.now());
        assert.equal((await harness.row(lease!)).status, 'active', level);
        const grant = await harness.store.prisma.lease.findUniqueOrThrow({
          where: { id: lease! },
          include: { grant: { include: { session: true } } },
        });
        assert.deepEqual([grant.grant.endedAt, grant.grant.session.status], [null, 'active'], level);
      }
    });

    test('a lift that is no true one keeps nobody from ending what lives under the lock', async () => {
      for (const [level, subject] of [
        ['agent', agent],
        ['provider', 'plain'],
      ] as const) {
        const lease = await harness.lease(await harness.open(), 'plain');
        await assert.rejects(set(level, subject, dyingAt(level === 'agent' ? 'lock_live_roots' : 'lock_undecide')));
        const [lock] = await harness.store.prisma.accessLock.findMany({ orderBy: { setAt: 'desc' }, take: 1 });
        await harness.store.run(
          statement(`
            INSERT INTO access_lock_lift (lock_id, reason, lifted_by, lifter, lifted_at, proof)
            VALUES ($1, 'x', 'user:second@example.com', '{"kind":"bootstrap_token"}', now(), 'v1.x')`),
          [lock!.id],
        );
        await carryOutLocks(harness.ending, harness.clock.now());
        assert.equal((await harness.row(lease)).status, 'revoking', level);
        await lift(await set(level, subject));
        harness.clock.advance(1000);
      }
    });

    test('what another process ended, and died before releasing, is being revoked when the lock’s call returns', async () => {
      const session = await harness.open();
      const lease = await harness.lease(session, 'plain');
      const end = { sessionId: session.sessionId, reason: 'ended_by_agent', actor: agent, requestId: null } as const;
      const dying = { ...harness.ending, store: dyingAt('session_release_leases') };
      await assert.rejects(endSession(dying, { ...end, now: harness.clock.now() }), /killed/);
      assert.equal((await harness.row(lease)).status, 'active');
      const id = await set('agent', agent);
      assert.equal((await harness.row(lease)).status, 'revoking');
      await lift(id);
    });

    test('more sessions than one step takes end, and are counted', async () => {
      const session = await harness.open();
      await harness.store.run(
        statement(`
          INSERT INTO session SELECT (s.*) FROM (SELECT (jsonb_populate_record(session, jsonb_build_object('id', 'ses_copy_' || $1 || n, 'root_id', 'ses_copy_' || $1 || n))).*
            FROM session, generate_series(1, 450) n WHERE id = $1) s`),
        [session.sessionId],
      );
      const id = await set('agent', agent);
      assert.deepEqual((await readLock(harness.store, id)).sessions, { ended: 451, ending: 0 });
      await lift(id);
    });

    test('what waits for a person lapses, and what a person approved is not redeemed', async () => {
      const session = await harness.open({ responsible: 'team:operators' });
      const ask = async () => {
        const reads = grantReads(harness.grants, 'ask-plain', null);
        const seen = await readSession(harness.store, session, harness.clock.now(), reads);
        const answer = await requestGrant(harness.grants, seen, { ...request, capability: 'ask-plain' }, null, null);
        assert.equal(answer.outcome, 'pending');
        return (answer as { grant: { id: string } }).grant.id;
      };
      const [waits, approved] = [await ask(), await ask()];
      await harness.store.run(statement(`UPDATE grants SET status = 'approved' WHERE id = $1`), [approved]);
      const id = await set('capability', 'ask-plain');
      for (const grant of [waits, approved]) {
        const row = await harness.store.prisma.grant.findUniqueOrThrow({ where: { id: grant } });
        assert.deepEqual(
          [row.status, (row.decision as { reasons: object[] }).reasons],
          ['denied', [{ code: 'locked' }]],
        );
        const told = await harness.store.prisma.approvalNotice.findMany({ where: { grantId: grant } });
        assert.ok(
          told.some(({ kind }) => kind === 'settled'),
          'whoever was asked is told that nobody need decide',
        );
      }
      await lift(id);
    });

    test('of ten who lock the same at once one does, and all are told of the same lock', async () => {
      const ids = await Promise.all(Array.from({ length: 10 }, () => set('provider', 'other')));
      assert.equal(new Set(ids).size, 1);
      assert.equal(await set('provider', 'other'), ids[0]);
      const lifts = await Promise.allSettled([1, 2, 3].map(() => lift(ids[0]!)));
      assert.equal(lifts.filter(({ status }) => status === 'fulfilled').length, 1);
      assert.notEqual(await set('provider', 'other').then((id) => lift(id).then(() => id)), ids[0]);
    });

    test('a row that is gone, though nobody lifted it, stands again and is set anew before it is lifted', async () => {
      const id = await set('provider', 'other');
      await harness.store.run(statement('ALTER TABLE access_lock DISABLE TRIGGER ALL'), []);
      await harness.store.run(statement('DELETE FROM access_lock WHERE id = $1'), [id]);
      await harness.store.run(statement('ALTER TABLE access_lock ENABLE TRIGGER ALL'), []);
      await harness.tick();
      const session = await harness.open();
      await assert.rejects(harness.ask(session, 'other'), locked('provider'));
      const [put] = await harness.store.prisma.accessLock.findMany({ orderBy: { setAt: 'desc' }, take: 1 });
      await assert.rejects(lift(put!.id), code('forbidden'));
      await assert.rejects(lift(await set('provider', 'other'), first), code('forbidden'));
      await lift(await set('provider', 'other'));
      await harness.lease(session, 'other');
      const rows = await harness.store.prisma.auditEvent.findMany({
        where: { chain: 'locks' },
        orderBy: { seq: 'asc' },
      });
      assert.deepEqual(
        rows.slice(-4).map(({ type }) => type),
        ['lock.set', 'lock.restored', 'lock.set', 'lock.lifted'],
      );
      assert.ok(harness.lines.some(({ msg }) => msg === 'a lock was gone from the database; it stands again'));
    });

    test('a lock that is set while the record puts another back is the admin’s own, and is lifted', async () => {
      const { store } = harness;
      // Another row comes in between the look at what stands and the writing: as `lock_restore` writes one.
      let between = 0;
      const raced: Store = {
        ...store,
        run: (async (what, values) => {
          if (what.name === 'lock_set' && between++ === 0)
            await store.run(
              statement(`
                INSERT INTO access_lock (id, level, subject, number, reason, set_by, setter, set_at)
                SELECT 'lck_put_back', 'provider', 'other', 1 + coalesce(max(number), 0), 'x', 'the record', '{"kind":"record"}', $1::timestamptz
                FROM access_lock WHERE level = 'provider' AND subject = 'other'`),
              [harness.clock.now()],
            );
          return store.run(what, values);
        }) as Store['run'],
      };
      const id = await set('provider', 'other', raced);
      assert.equal(between, 2);
      assert.equal((await readLock(store, id)).proven, true);
      await lift(id);
      assert.deepEqual(await allStanding(store), []);
    });

    async function parentOf(caller: Parameters<typeof readSession>[1]) {
      const facts = await readSession(harness.store, caller, harness.clock.now());
      const { id, rootId, expiresAt, capabilities, narrowed } = facts;
      return { id, rootId, expiresAt, act: null, capabilities, narrowed, grantsLeft: null };
    }
  });
}
