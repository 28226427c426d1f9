import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { WritError } from '../core/errors.ts';
import { grantReads, requestGrant } from '../grants/request-grant.ts';
import { type Harness, openHarness, statement } from '../harness.test-support.ts';
import { testBackends } from '../store/store.test-support.ts';
import { authenticate, type Caller, readSession } from './authenticate.ts';
import { endOverdueSessions, endSession, releaseEndedSessions } from './end-session.ts';
import { heartbeat } from './heartbeat.ts';

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;

for (const backend of await testBackends()) {
  describe(`sessions on ${backend}`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
    });
    after(() => harness.close());
    beforeEach(async () => {
      harness.clock.advance(3600_000);
      await harness.tick();
      harness.provider('plain').reset();
    });

    const parentOf = async (caller: Caller) => {
      const facts = await readSession(harness.store, caller, harness.clock.now());
      const { id, rootId, expiresAt, capabilities, narrowed, maxGrants, counts } = facts;
      const grantsLeft = maxGrants === null ? null : maxGrants - counts.session;
      return { id, rootId, expiresAt, act: null, capabilities, narrowed, grantsLeft };
    };
    const childOf = async (caller: Caller, maxGrants?: number) =>
      harness.open({
        ...(maxGrants === undefined ? {} : { maxGrants }),
        child: { parent: await parentOf(caller), capabilities: ['use-plain'] },
      });
    const statusOf = async (caller: Caller) => {
      const { status, endReason } = await harness.session(caller.sessionId);
      return [status, endReason];
    };

    test('ending a session ends its children and theirs, and starts to revoke what all of them hold, once', async () => {
      const root = await harness.open();
      const child = await childOf(root, 10);
      const grandchild = await childOf(child, 5);
      const leases = await Promise.all([root, child, grandchild].map((one) => harness.lease(one, 'plain')));
      const stranger = await harness.lease(await harness.open(), 'plain');
      const ends = await Promise.all([1, 2, 3].map(() => endSession(harness.ending, harness.end(root.sessionId))));
      assert.equal(ends.filter((end) => end.ended).length, 1);
      assert.deepEqual(ends.flatMap((end) => end.leases).toSorted(), leases.toSorted());
      assert.deepEqual(await Promise.all([root, child, grandchild].map(statusOf)), [
        ['ended', 'ended_by_agent'],
        ['ended', 'parent_ended'],
        ['ended', 'parent_ended'],
      ]);
      for (const one of [root, child, grandchild])
        await assert.rejects(harness.ask(one, 'plain'), code('session_ended'));
      await harness.tick();
      assert.deepEqual(harness.provider('plain').alive(), [stranger]);
      const events = await harness.store.prisma.auditEvent.count({
        where: { chain: root.sessionId, type: 'session.ended' },
      });
      assert.equal(events, 1);
    });

    test('a process that dies between the two statements leaves what the next sweep finishes', async () => {
      const session = await harness.open();
      const lease = await harness.lease(session, 'plain');
      const dying = {
        ...harness.ending,
        store: {
          ...harness.store,
          run: ((what, values) => {
            if (what.name === 'session_release_leases') throw new Error('killed');
            return harness.store.run(what, values);
          }) as typeof harness.store.run,
        },
      };
      await assert.rejects(endSession(dying, harness.end(session.sessionId)), /killed/);
      assert.deepEqual(
        [(await harness.row(lease)).status, await statusOf(session)],
        ['active', ['ended', 'ended_by_agent']],
      );
      assert.equal((await endSession(harness.ending, harness.end(session.sessionId))).ended, false);
      const notifications = harness.notifications.count;
      await releaseEndedSessions(harness.ending, harness.clock.now(), 100);
      assert.equal((await harness.row(lease)).status, 'revoking');
      assert.ok(harness.notifications.count > notifications);
    });

    test('more leases than one step takes: all of them start to be revoked, and so do their grants end', async () => {
      const session = await harness.open();
      const id = await harness.lease(session, 'plain');
      // Copies of a real row: 450 more live leases, and grants, of this session.
      await harness.store.run(
        statement(`
          WITH g AS (
            INSERT INTO grants SELECT (g.*) FROM (SELECT (jsonb_populate_record(grants, jsonb_build_object('id', 'gnt_copy_' || $1 || n, 'idempotency_key', 'copy ' || n))).*
              FROM grants, generate_series(1, 450) n WHERE id = (SELECT grant_id FROM lease WHERE id = $1)) g RETURNING id
          )
          INSERT INTO lease SELECT (l.*) FROM (SELECT (jsonb_populate_record(lease, jsonb_build_object('id', 'lse_copy_' || $1 || n, 'grant_id', 'gnt_copy_' || $1 || n, 'credential_digest', 'digest ' || $1 || n))).*
            FROM lease, generate_series(1, 450) n WHERE id = $1) l`),
        [id],
      );
      const { leases } = await endSession(harness.ending, harness.end(session.sessionId));
      assert.equal(leases.length, 451);
      const left = await harness.store.prisma.grant.count({
        where: { sessionId: session.sessionId, status: { not: 'ended' } },
      });
      assert.equal(left, 0);
      await harness.store.run(statement(`DELETE FROM lease WHERE id LIKE 'lse_copy_%'`), []);
    });

    test('a session that cannot be ended does not keep the others from ending', async () => {
      const [stuck, other] = [await harness.open(), await harness.open()];
      harness.clock.advance(180_000);
      const store = {
        ...harness.store,
        run: ((what, values) => {
          if (what.name === 'session_end' && (values[0] as string[]).includes(stuck.sessionId))
            throw new Error('statement timeout');
          return harness.store.run(what, values);
        }) as typeof harness.store.run,
      };
      await endOverdueSessions({ ...harness.ending, store, log: harness.grants.log }, harness.clock.now(), 100);
      assert.deepEqual(await Promise.all([stuck, other].map(statusOf)), [
        ['active', null],
        ['ended', 'heartbeat_missed'],
      ]);
    });

    test('many requests of one session at once are all decided, each on what the one before it did', async () => {
      const session = await harness.open({ maxGrants: 60 });
      const answers = await Promise.allSettled(Array.from({ length: 80 }, () => harness.ask(session, 'plain')));
      assert.equal(answers.filter((answer) => answer.status === 'fulfilled').length, 60);
      for (const answer of answers) if (answer.status === 'rejected') assert.ok(code('denied')(answer.reason));
      assert.deepEqual(
        await harness.store.prisma.grant.groupBy({
          by: ['status'],
          where: { sessionId: session.sessionId },
          _count: true,
          orderBy: { status: 'asc' },
        }),
        [
          { status: 'denied', _count: 20 },
          { status: 'issued', _count: 60 },
        ],
      );
    });

    test('one-time values and rates hold among sessions that are opened in one execution', async () => {
      const until = new Date(harness.clock.now().getTime() + 60_000);
      const key = `${backend} ${harness.clock.now().toISOString()}`;
      const twice = await Promise.allSettled([1, 2, 3].map(() => harness.open({ replay: { key, expiresAt: until } })));
      assert.deepEqual(twice.map((one) => one.status).toSorted(), ['fulfilled', 'rejected', 'rejected']);
      // Two more may be opened this minute; what was refused for another reason takes no place.
      const deps = { sessionsPerMinute: 3 };
      const four = await Promise.allSettled([
        harness.open({ deps, replay: { key, expiresAt: until } }),
        harness.open({ deps }),
        harness.open({ deps }),
        harness.open({ deps }),
      ]);
      assert.deepEqual(
        four.map((one) => (one.status === 'fulfilled' ? 'opened' : (one.reason as WritError).code)),
        ['invalid_grant', 'opened', 'opened', 'rate_limited'],
      );
    });

    test('what the rate refuses has not used its token up', async () => {
      const refusedWith = (code: string) => (error: WritError) => error.code === code;
      const token = (name: string) => ({
        key: `${backend} ${name} ${harness.clock.now().toISOString()}`,
        expiresAt: new Date(harness.clock.now().getTime() + 600_000),
      });
      harness.clock.advance(60_000);
      const deps = { sessionsPerMinute: 1 };
      await harness.open({ deps });
      const [rated, crowded] = [token('rate'), token('crowd')];
      await assert.rejects(harness.open({ deps, replay: rated }), refusedWith('rate_limited'));
      harness.clock.advance(60_000);
      await harness.open({ deps, replay: rated });
      await assert.rejects(harness.open({ replay: rated }), refusedWith('invalid_grant'), 'and then it has');
      // Each in an execution of its own, as of several processes.
      const stores = Array.from({ length: 8 }, () => ({ ...harness.store }));
      const crowd = await Promise.allSettled(stores.map((store) => harness.open({ deps: { store }, replay: crowded })));
      assert.deepEqual(
        crowd.map((one) => (one.status === 'fulfilled' ? 'opened' : (one.reason as WritError).code)).toSorted(),
        [...Array.from({ length: 7 }, () => 'invalid_grant'), 'opened'],
      );
    });

    test('children of several parents, opened at once, take from each parent what is its own', async () => {
      const parents = await Promise.all([3, 2, 1].map((maxGrants) => harness.open({ maxGrants })));
      const opened = await Promise.allSettled(parents.flatMap((parent) => [1, 2, 3].map(() => childOf(parent, 1))));
      assert.equal(opened.filter((one) => one.status === 'fulfilled').length, 6);
      const rows = await Promise.all(parents.map(({ sessionId }) => harness.session(sessionId)));
      assert.deepEqual(
        rows.map((row) => [row.grantCount, row.childCount]),
        [
          [3, 3],
          [2, 2],
          [1, 1],
        ],
      );
    });

    test('a session half ended is released however many ended before it', async () => {
      const old = Array.from({ length: 7 }, (_, n) => ({ n, at: new Date(harness.clock.now().getTime() - 1000 * n) }));
      const sessions = await Promise.all(old.map(() => harness.open()));
      const lease = await harness.lease(sessions[0]!, 'plain');
      for (const [n, { sessionId }] of sessions.entries()) {
        await harness.store.prisma.session.update({
          where: { id: sessionId },
          data: { status: 'ended', endedAt: old[n]!.at },
        });
      }
      await releaseEndedSessions(harness.ending, harness.clock.now(), 2);
      assert.equal((await harness.row(lease)).status, 'revoking');
      assert.equal(
        await harness.store.prisma.session.count({ where: { endedAt: { not: null }, releasedAt: null } }),
        0,
      );
    });

    test('a child lives no longer than any of its ancestors, sweep or no sweep', async () => {
      const root = await harness.open();
      const child = await childOf(root);
      const grandchild = await childOf(child);
      harness.clock.advance(100_000);
      for (const one of [child, grandchild]) {
        await heartbeat(harness.opening, await readSession(harness.store, one, harness.clock.now()));
      }
      harness.clock.advance(90_000);
      await assert.rejects(harness.ask(root, 'plain'), code('session_ended'), 'it missed its heartbeats');
      await assert.rejects(harness.ask(grandchild, 'plain'), code('session_ended'), 'its grandparent did');
    });

    test('what a child did not use of a bounded envelope goes back to its parent', async () => {
      const parent = await harness.open({ maxGrants: 3 });
      const child = await childOf(parent, 3);
      await assert.rejects(harness.ask(parent, 'plain'), code('denied'), 'all of it was handed on');
      await harness.lease(child, 'plain');
      await endSession(harness.ending, harness.end(child.sessionId));
      await harness.lease(parent, 'plain');
      await harness.lease(parent, 'plain');
      await assert.rejects(harness.ask(parent, 'plain'), code('denied'), 'three in all, whoever asked for them');
    });

    test('a child that takes the last grant while another one is being decided leaves it none', async () => {
      const parent = await harness.open({ maxGrants: 1 });
      const facts = await readSession(harness.store, parent, harness.clock.now());
      const racing = {
        ...harness.grants,
        store: {
          ...harness.store,
          run: (async (what, values) => {
            // Between the decision and its commit.
            if (what.name.startsWith('grant_intent') && facts !== null) await childOf(parent, 1).catch(() => {});
            return harness.store.run(what, values);
          }) as typeof harness.store.run,
        },
      };
      const request = {
        capability: 'use-plain',
        params: undefined,
        ttlSeconds: undefined,
        justification: null,
        credentialJwk: null,
      };
      const reads = grantReads(racing, request.capability, null);
      const session = await readSession(racing.store, parent, harness.clock.now(), reads);
      await assert.rejects(requestGrant(racing, session, request, null, null), code('denied'));
      assert.equal(await harness.store.prisma.lease.count({ where: { sessionId: parent.sessionId } }), 0);
    });

    test('the sweep ends what missed its heartbeats, spent its time or lost its parent, and nothing else', async () => {
      const silent = await harness.open();
      const beating = await harness.open();
      const spent = await harness.open({ wallTimeSeconds: 100 });
      const parent = await harness.open();
      const orphan = await childOf(parent);
      // A child opened while its parent was ending: the end did not see it.
      await harness.store.run(statement(`UPDATE session SET status = 'ended', ended_at = now() WHERE id = $1`), [
        parent.sessionId,
      ]);
      await assert.rejects(harness.ask(orphan, 'plain'), code('session_ended'));
      harness.clock.advance(100_000);
      await heartbeat(harness.opening, await readSession(harness.store, beating, harness.clock.now()));
      await assert.rejects(harness.ask(spent, 'plain'), code('session_ended'), 'before any sweep');
      await endOverdueSessions({ ...harness.ending, log: harness.grants.log }, harness.clock.now(), 100);
      assert.deepEqual(await statusOf(silent), ['active', null]);
      harness.clock.advance(80_000);
      await assert.rejects(harness.ask(silent, 'plain'), code('session_ended'), 'before any sweep');
      await endOverdueSessions({ ...harness.ending, log: harness.grants.log }, harness.clock.now(), 100);
      assert.deepEqual(await Promise.all([silent, beating, spent, orphan].map(statusOf)), [
        ['ended', 'heartbeat_missed'],
        ['active', null],
        ['ended', 'envelope_spent'],
        ['ended', 'parent_ended'],
      ]);
    });

    test('a one-time value opens one session, however many try at once', async () => {
      const replay = { key: 'jti:one', expiresAt: new Date(harness.clock.now().getTime() + 60_000) };
      const tries = await Promise.allSettled(Array.from({ length: 8 }, () => harness.open({ replay })));
      assert.equal(tries.filter((one) => one.status === 'fulfilled').length, 1);
      for (const one of tries) if (one.status === 'rejected') assert.ok(code('invalid_grant')(one.reason));
      assert.equal(await harness.store.prisma.session.count({ where: { openedAt: harness.clock.now() } }), 1);
    });

    test('children can never be handed more grants than their parent has, however many open at once', async () => {
      const parent = await harness.open({ maxGrants: 5 });
      await harness.lease(parent, 'plain');
      const opened = await Promise.allSettled(Array.from({ length: 6 }, () => childOf(parent, 2)));
      const children = opened.filter((one) => one.status === 'fulfilled').map((one) => one.value);
      assert.equal((await harness.session(parent.sessionId)).grantCount, 5);
      assert.equal(children.length, 2);
      await assert.rejects(harness.ask(parent, 'plain'), code('denied'));
      for (const child of children) {
        await harness.lease(child, 'plain');
        await harness.lease(child, 'plain');
        await assert.rejects(harness.ask(child, 'plain'), code('denied'));
      }
      assert.equal(harness.provider('plain').alive().length, 5);
    });

    test('the rate of an agent’s sessions is counted in the database, not in a process', async () => {
      const deps = { sessionsPerMinute: 3 };
      for (let i = 0; i < 3; i += 1) await harness.open({ deps });
      await assert.rejects(harness.open({ deps }), code('rate_limited'));
      harness.clock.advance(60_000);
      await harness.open({ deps });
    });

    test('a token is good for one scheme, and for none that is mixed up', async () => {
      const { token } = await harness.open();
      const attempt = (authorization: string | undefined) =>
        authenticate(
          { authorization, dpop: undefined, method: 'GET', url: 'https://writ.example/v1/session' },
          harness.tokens,
          () => assert.fail('no proof to check'),
          harness.clock,
        );
      assert.equal((await attempt(`Bearer ${token}`)).agent, 'harness-agent');
      assert.equal((await attempt(`bearer ${token}`)).jkt, null);
      for (const header of [
        undefined,
        '',
        'Bearer',
        'Bearer ',
        `Basic ${token}`,
        `DPoP ${token}`,
        `Bearer ${token} x`,
        token,
      ]) {
        await assert.rejects(attempt(header), code('unauthenticated'), String(header).slice(0, 12));
      }
      const bound = await harness.tokens.mint({
        id: 'ses_x',
        agent: 'harness-agent',
        taskType: 'work',
        jkt: 'a'.repeat(43),
        act: null,
        expiresAt: new Date(harness.clock.now().getTime() + 60_000),
      });
      await assert.rejects(attempt(`Bearer ${bound.access_token}`), code('invalid_dpop_proof'));
      await assert.rejects(attempt(`DPoP ${bound.access_token}`), code('invalid_dpop_proof'));
    });
  });
}
