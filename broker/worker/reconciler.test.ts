import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { keepAfterEndMs, ProviderError } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import { type Harness, openHarness, statement } from '../harness.test-support.ts';
import { revokeByAdmin } from '../leases/order-revocation.ts';
import { secretOf } from '../scripted-provider.test-support.ts';
import { endSession } from '../sessions/end-session.ts';
import { testBackends } from '../store/store.test-support.ts';
import { until } from '../until.test-support.ts';
import type { Job } from './job.ts';
import { releaseEndedSessions } from './jobs/release-ended-sessions.ts';
import { reconcileOnce, startReconciler } from './reconciler.ts';

/**
 * A reconciler that ticks every five seconds, after its first tick, and how often its system's jobs have run.
 */
async function countingTicks(harness: Harness) {
  let count = 0;
  const counting: Job = {
    name: 'count',
    scope: 'system',
    run: async () => {
      count += 1;
    },
  };
  const jobs = [counting, ...harness.reconciling.jobs];
  const reconciler = startReconciler({ ...harness.reconciling, jobs }, harness.clock, 5);
  await until('its first tick', () => count === 1);
  return { reconciler, ticks: () => count };
}

/** A mint that hangs until it is let go. */
function heldMint(harness: Harness, name: string) {
  const asked = Promise.withResolvers<string>();
  const answer = Promise.withResolvers<void>();
  harness.provider(name).script.issue = async (context, mint) => {
    asked.resolve(context.leaseId);
    await answer.promise;
    return mint();
  };
  return { leaseId: asked.promise, answer: () => answer.resolve() };
}

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;

for (const backend of await testBackends()) {
  describe(`reconcile on ${backend}`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, {
        providers: [
          { name: 'plain' },
          { name: 'hour', lifetimeSeconds: 3600, secret: true },
          { name: 'doc', lockKey: true },
          { name: 'pool', pool: ['m1', 'm2', 'm3'], lifetimeSeconds: 900 },
        ],
      });
    });
    after(() => harness.close());
    beforeEach(async () => {
      for (const provider of harness.providers.values()) provider.reset();
      harness.clock.advance(6 * 3600_000);
      for (let i = 0; i < 2; i += 1) {
        await harness.tick();
        harness.clock.advance(3600_000);
      }
      await harness.tick();
      for (const provider of harness.providers.values()) provider.reset();
      harness.lines.length = 0;
    });

    test('a credential that its provider has ended is expired without a word to the provider', async () => {
      const lease = await harness.lease(await harness.open(), 'plain', { ttl: 60 });
      harness.clock.advance(59_999);
      await harness.tick();
      assert.equal((await harness.row(lease)).status, 'active');
      harness.clock.advance(1);
      await harness.tick();
      const row = await harness.row(lease);
      assert.deepEqual([row.status, row.dueAt, row.sealed], ['expired', null, null]);
      assert.deepEqual(harness.provider('plain').revocations, []);
      assert.equal((await harness.eventsOf(lease)).at(-1), 'lease.expired');
    });

    test('a credential that lives longer at its provider than its lease is revoked by our timer when the lease is over', async () => {
      const provider = harness.provider('hour');
      const lease = await harness.lease(await harness.open(), 'hour', { ttl: 60 });
      const issued = await harness.row(lease);
      assert.equal(issued.providerExpiresAt.getTime() - issued.expiresAt.getTime(), 3540_000);
      harness.clock.advance(59_999);
      await harness.tick();
      assert.deepEqual(provider.alive(), [lease]);
      harness.clock.advance(1);
      await harness.tick();
      assert.deepEqual(provider.alive(), []);
      assert.equal(provider.targets[0]?.secret, secretOf(lease));
      const row = await harness.row(lease);
      assert.deepEqual([row.status, row.revokeReason, row.sealed], ['revoked', 'expired', null]);
    });

    test('an intent whose answer never came is revoked after the mint’s deadline, without a handle', async () => {
      const provider = harness.provider('plain');
      const session = await harness.open();
      // The process dies while the provider mints: nobody ever writes the outcome.
      provider.issue = () => new Promise(() => {});
      harness.ask(session, 'plain', { ttl: 600 }).catch(() => {});
      await until(
        'the intent is written',
        async () => (await harness.store.prisma.lease.count({ where: { status: 'issuing' } })) === 1,
      );
      const { id } = await harness.store.prisma.lease.findFirstOrThrow({ where: { status: 'issuing' } });
      // Nobody waits any more: only the database knows.
      const { dueAt, intentAt } = await harness.row(id);
      assert.equal(dueAt!.getTime() - intentAt.getTime(), 30_000);
      await harness.store.run(
        statement(
          `UPDATE lease SET intent_at = intent_at - interval '1 hour', due_at = due_at - interval '1 hour' WHERE id = $1`,
        ),
        [id],
      );
      await harness.tick();
      const row = await harness.row(id);
      assert.deepEqual([row.status, row.revokeReason], ['revoked', 'issue_timed_out']);
      assert.equal(provider.targets[0]?.handle, null);
      assert.deepEqual((await harness.eventsOf(id)).slice(-2), ['lease.revoking', 'lease.revoked']);
      const grant = await harness.store.prisma.grant.findUniqueOrThrow({ where: { id: row.grantId } });
      assert.equal(grant.status, 'failed');
    });

    test('an outcome that comes after the session’s end is withheld, and revoked with what the provider answered', async () => {
      const held = heldMint(harness, 'hour');
      const session = await harness.open();
      const asking = harness.ask(session, 'hour');
      const lease = await held.leaseId;
      await endSession(harness.ending, harness.end(session.sessionId));
      await harness.tick();
      const waiting = await harness.row(lease);
      assert.deepEqual([waiting.status, waiting.handle], ['revoking', null]);
      assert.deepEqual(
        harness.provider('hour').revocations,
        [],
        'the answer may still come: it is what revocation needs',
      );
      held.answer();
      await assert.rejects(asking, code('session_ended'));
      await harness.tick();
      assert.equal((await harness.row(lease)).status, 'revoked');
      assert.equal(harness.provider('hour').targets[0]?.secret, secretOf(lease));
      assert.deepEqual(harness.provider('hour').alive(), []);
      assert.deepEqual((await harness.eventsOf(lease)).slice(1), ['lease.revoking', 'lease.withheld', 'lease.revoked']);
    });

    test('an outcome that comes after the lease has been settled is revoked by the process that holds it, and not delivered', async () => {
      const held = heldMint(harness, 'plain');
      const asking = harness.ask(await harness.open(), 'plain');
      const lease = await held.leaseId;
      await harness.store.run(
        statement(`UPDATE lease SET status = 'expired', due_at = NULL, sealed = NULL, ended_at = $2 WHERE id = $1`),
        [lease, harness.clock.now()],
      );
      held.answer();
      await assert.rejects(asking, code('session_ended'));
      assert.deepEqual(harness.provider('plain').alive(), []);
    });

    test('a mint that fails for certain is failed; one that may have minted is revoked', async () => {
      const provider = harness.provider('plain');
      const session = await harness.open();
      for (const [error, answer, status, events] of [
        [
          new ProviderError('upstream_refused', 'no', { providerCode: 'AccessDenied' }),
          'provider_refused',
          'failed',
          ['grant.allowed', 'lease.failed'],
        ],
        [
          new ProviderError('upstream_unavailable', 'lost', { mayHaveMinted: true }),
          'provider_unavailable',
          'revoked',
          ['grant.allowed', 'lease.revoking', 'lease.revoked'],
        ],
        [
          new TypeError('unforeseen'),
          'provider_unavailable',
          'revoked',
          ['grant.allowed', 'lease.revoking', 'lease.revoked'],
        ],
      ] as const) {
        provider.script.issue = async (_context, mint) => {
          if (status === 'revoked') mint();
          throw error;
        };
        await assert.rejects(harness.ask(session, 'plain'), code(answer));
        const { id } = await harness.store.prisma.lease.findFirstOrThrow({
          where: { sessionId: session.sessionId },
          orderBy: { id: 'desc' },
          take: 1,
        });
        await harness.tick();
        assert.equal((await harness.row(id)).status, status);
        assert.deepEqual(await harness.eventsOf(id), events);
        assert.deepEqual(provider.alive(), []);
        harness.clock.advance(1000);
      }
    });

    test('a mint that does not answer in time is given up, and what it may have minted is revoked', async () => {
      const provider = harness.provider('plain');
      const asked = Promise.withResolvers<void>();
      provider.issue = () => {
        asked.resolve();
        return new Promise(() => {});
      };
      const asking = harness.ask(await harness.open(), 'plain');
      const refused = assert.rejects(asking, code('provider_unavailable'));
      await asked.promise;
      harness.clock.advance(20_000);
      await refused;
      await harness.tick();
      assert.equal(provider.targets.length, 1);
    });

    test('the outcome cannot be written: the credential is killed at once, and not delivered', async () => {
      const provider = harness.provider('hour');
      const held = heldMint(harness, 'hour');
      const session = await harness.open();
      const { run } = harness.grants.store;
      const asking = harness.ask(session, 'hour');
      const lease = await held.leaseId;
      (harness.grants.store as { run: typeof run }).run = async (what, values) => {
        if (what.name === 'lease_outcome') throw new Error('connection lost');
        return run(what, values);
      };
      held.answer();
      await assert.rejects(asking, code('unavailable'));
      (harness.grants.store as { run: typeof run }).run = run;
      assert.deepEqual(provider.alive(), []);
      assert.equal((await harness.row(lease)).status, 'issuing', 'the reconciler settles the row');
      harness.clock.advance(30_000);
      await harness.tick();
      assert.equal((await harness.row(lease)).status, 'revoked');
    });

    test('an admin’s order takes the same path, once', async () => {
      const session = await harness.open();
      const lease = await harness.lease(session, 'plain');
      const order = () =>
        revokeByAdmin(harness.ending, { leaseId: lease, actor: 'admin', requestId: null, now: harness.clock.now() });
      assert.deepEqual(await Promise.all([order(), order()]), ['revoking', 'revoking']);
      await harness.tick();
      assert.equal(await order(), 'revoked');
      assert.deepEqual(harness.provider('plain').revocations, [[lease]]);
      assert.equal((await harness.eventsOf(lease)).filter((type) => type === 'lease.revoking').length, 1);
      assert.equal((await harness.session(session.sessionId)).status, 'active');
    });

    test('2,000 leases due at once drain in bounded batches, each asked about once, however many workers there are', async () => {
      const provider = harness.provider('plain');
      const session = await harness.open();
      const one = await harness.lease(session, 'plain');
      const rest = await harness.store.run<{ id: string }>(
        statement(`
          INSERT INTO lease (id, grant_id, session_id, agent, provider, plan, plan_digest, status, handle, intent_at, issued_at, expires_at, provider_expires_at, due_at)
          SELECT id || '_' || n, grant_id, session_id, agent, provider, plan, plan_digest, status, handle, intent_at, issued_at, expires_at, provider_expires_at, due_at
          FROM lease, generate_series(1, 1999) n WHERE id = $1 RETURNING id`),
        [one],
      );
      await endSession(harness.ending, harness.end(session.sessionId));
      let atOnce = 0;
      let most = 0;
      provider.script.revoke = async () => {
        atOnce += 1;
        most = Math.max(most, atOnce);
        await new Promise((resolve) => setImmediate(resolve));
        atOnce -= 1;
        return { state: 'revoked', evidence: {} };
      };
      const workers = backend === 'postgres' ? 4 : 2;
      await Promise.all(
        Array.from({ length: workers }, (_, i) => reconcileOnce({ ...harness.reconciling, workerId: `worker-${i}` })),
      );
      const asked = provider.revocations.flat();
      assert.equal(asked.length, 2000);
      assert.deepEqual(new Set(asked), new Set([one, ...rest.map((row) => row.id)]));
      assert.ok(Math.max(...provider.revocations.map((ids) => ids.length)) <= 200);
      assert.ok(most <= 200 * workers);
      assert.equal(
        await harness.store.prisma.lease.count({ where: { sessionId: session.sessionId, status: 'revoked' } }),
        2000,
      );
    });

    test('a provider that hangs delays no other provider’s leases, in this tick or the next', async () => {
      const gate = Promise.withResolvers<void>();
      harness.provider('hour').script.revoke = async (_target, kill) => {
        await gate.promise;
        kill();
        return { state: 'revoked', evidence: {} };
      };
      const first = await harness.open();
      const hanging = await harness.lease(first, 'hour');
      const reconciler = startReconciler(harness.reconciling, harness.clock, 1);
      await endSession({ ...harness.ending, notify: reconciler.notify }, harness.end(first.sessionId));
      await until('its revocation was asked for', () => harness.provider('hour').revocations.length === 1);
      for (let round = 0; round < 3; round += 1) {
        const session = await harness.open();
        const lease = await harness.lease(session, 'plain');
        await endSession({ ...harness.ending, notify: reconciler.notify }, harness.end(session.sessionId));
        await until('it is revoked', async () => (await harness.row(lease)).status === 'revoked');
      }
      assert.equal((await harness.row(hanging)).status, 'revoking');
      gate.resolve();
      await until('it is revoked', async () => (await harness.row(hanging)).status === 'revoked');
      await reconciler.stop();
    });

    test('a release that finds its leases released by another wakes the providers: a claim may have passed over what it held', async () => {
      const session = await harness.open();
      const lease = await harness.lease(session, 'plain');
      const run: typeof harness.store.run = async (what, values) => {
        if (what.name === 'session_released') throw new Error('killed');
        return harness.store.run(what, values);
      };
      const dying = { ...harness.ending, store: { ...harness.store, run } };
      await assert.rejects(endSession(dying, harness.end(session.sessionId)), /killed/);
      assert.equal((await harness.row(lease)).status, 'revoking');
      let woken = 0;
      const deps = {
        ...harness.reconciling,
        wakeProviders: () => {
          woken += 1;
        },
      };
      await releaseEndedSessions.run(deps, harness.clock.now());
      assert.equal(woken, 1);
      await releaseEndedSessions.run(deps, harness.clock.now());
      assert.equal(woken, 1, 'nothing is held any more');
    });

    test('a clock that is set back does not put the tick off', async () => {
      const { reconciler, ticks } = await countingTicks(harness);
      const then = harness.clock.now();
      harness.clock.set(new Date(then.getTime() - 3600_000));
      reconciler.notify();
      let waited = 0;
      await until('it ticks again', () => {
        if (waited < 60_000) harness.clock.advance(1_000);
        waited += 1_000;
        return ticks() >= 4;
      });
      assert.equal(ticks(), 4);
      await reconciler.stop();
      harness.clock.set(then);
    });

    test('a notification revokes and leaves the rest of the tick to its time', async () => {
      const { reconciler, ticks } = await countingTicks(harness);
      for (let round = 0; round < 3; round += 1) {
        const session = await harness.open();
        const lease = await harness.lease(session, 'plain');
        await endSession({ ...harness.ending, notify: reconciler.notify }, harness.end(session.sessionId));
        await until('it is revoked', async () => (await harness.row(lease)).status === 'revoked');
      }
      assert.equal(ticks(), 1);
      await reconciler.stop();
    });

    test('a job that fails is logged by its name, for each provider by its own, and keeps no other from being done', async () => {
      const failing = async () => {
        throw new Error('no luck');
      };
      const done: string[] = [];
      const jobs: Job[] = [
        { name: 'fail', scope: 'system', run: failing },
        { name: 'go on', scope: 'system', run: async () => done.push('go on') },
        { name: 'fail', scope: 'provider', run: failing },
        { name: 'go on', scope: 'provider', run: async (_deps, _now, { name }) => done.push(`go on ${name}`) },
      ];
      harness.lines.length = 0;
      await reconcileOnce({ ...harness.reconciling, jobs });
      assert.deepEqual(done.toSorted(), ['go on', 'go on doc', 'go on hour', 'go on plain', 'go on pool']);
      assert.deepEqual(harness.lines.map(({ job }) => job).toSorted(), [
        'fail',
        'fail doc',
        'fail hour',
        'fail plain',
        'fail pool',
      ]);
      harness.lines.length = 0;
    });

    test('a rare job runs on the first tick and every nth after it; a prompt job also when notified', async () => {
      const runs = { often: 0, rare: 0, prompt: 0 };
      const job = (name: keyof typeof runs, more: Partial<Job>): Job => ({
        name,
        scope: 'system',
        ...(more as object),
        run: async () => {
          runs[name] += 1;
        },
      });
      const jobs = [job('often', {}), job('rare', { everyTicks: 3 }), job('prompt', { prompt: true })];
      const reconciler = startReconciler({ ...harness.reconciling, jobs }, harness.clock, 5);
      await until('the first tick', () => runs.prompt === 1);
      reconciler.notify();
      await until('it answers the notification', () => runs.prompt === 2);
      assert.deepEqual(runs, { often: 1, rare: 1, prompt: 2 });
      for (let tick = 2; tick <= 4; tick += 1) {
        await until('the next tick', () => {
          if (runs.often < tick) harness.clock.advance(1_000);
          return runs.prompt === tick + 1;
        });
      }
      await reconciler.stop();
      assert.deepEqual([runs.often, runs.rare], [4, 2]);
    });

    test('an expired denial is pruned from its document, once; a document that cannot be written holds up no other', async () => {
      const provider = harness.provider('doc');
      const session = await harness.open();
      await harness.lease(session, 'doc', { scope: 'one', ttl: 60 });
      const long = await harness.lease(session, 'doc', { scope: 'two', ttl: 600 });
      await harness.lease(session, 'doc', { scope: 'two', ttl: 60 });
      await endSession(harness.ending, harness.end(session.sessionId));
      await harness.tick();
      assert.deepEqual(provider.pruned, [], 'the denials still stand');
      provider.script.prune = async (lockKey) => {
        if (lockKey === 'one') throw new ProviderError('upstream_refused', 'the role is gone');
      };
      harness.clock.advance(60_000 + keepAfterEndMs - 1);
      await harness.tick();
      assert.deepEqual(provider.pruned, [], 'they stand a while past the end, for a provider whose clock is behind');
      harness.clock.advance(1);
      await harness.tick();
      assert.deepEqual(provider.pruned, [{ lockKey: 'two', outstanding: [long] }]);
      await harness.tick();
      assert.equal(provider.pruned.length, 1, 'what was pruned is not pruned again');
      provider.script.prune = async () => {};
      harness.clock.advance(60_000);
      await harness.tick();
      assert.deepEqual(provider.pruned.at(-1), { lockKey: 'one', outstanding: [] });
      harness.clock.advance(600_000);
      await harness.tick();
      assert.deepEqual(provider.pruned.at(-1), { lockKey: 'two', outstanding: [] });
      assert.equal(await harness.store.prisma.lease.count({ where: { pruneAt: { not: null } } }), 0);
    });

    test('concurrent intents never share a pool member; when none is free, nothing is minted', async () => {
      const provider = harness.provider('pool');
      const sessions = await Promise.all(Array.from({ length: 8 }, () => harness.open()));
      const members: string[] = [];
      provider.script.issue = async (context, mint) => {
        members.push(context.reserved!);
        return mint();
      };
      const answers = await Promise.allSettled(sessions.map((session) => harness.ask(session, 'pool', { ttl: 300 })));
      const refused = answers.filter((answer) => answer.status === 'rejected');
      assert.deepEqual(members.toSorted(), ['m1', 'm2', 'm3']);
      assert.equal(refused.length, 5);
      for (const { reason } of refused) {
        assert.ok(code('provider_unavailable')(reason));
        assert.equal(reason.extensions.provider_code, 'pool_exhausted');
      }
      assert.equal(provider.alive().length, 3);
    });

    test('a member stays in quarantine until its last token has expired, is released upstream, and only then used again', async () => {
      const provider = harness.provider('pool');
      const session = await harness.open({ wallTimeSeconds: 1800 });
      for (let i = 0; i < 3; i += 1) await harness.lease(session, 'pool', { ttl: 300 });
      await endSession(harness.ending, harness.end(session.sessionId));
      await harness.tick();
      assert.deepEqual(provider.alive(), []);
      await assert.rejects(harness.lease(await harness.open(), 'pool'), code('provider_unavailable'));
      // The tokens end after 900 s; by the provider's clock that may be a minute later, and releasing before
      // it would revive them.
      harness.clock.advance(959_999);
      await harness.tick();
      assert.deepEqual(provider.released, []);
      await assert.rejects(harness.lease(await harness.open(), 'pool'), code('provider_unavailable'));
      // One of them cannot be made usable: the others are, and it is tried again later.
      provider.script.release = async (member) => {
        if (member === 'm1') throw new ProviderError('upstream_unavailable', 'not now');
      };
      harness.clock.advance(1);
      await harness.tick();
      assert.deepEqual(provider.released.toSorted(), ['m2', 'm3']);
      const again = await harness.open();
      for (let i = 0; i < 2; i += 1) await harness.lease(again, 'pool');
      await assert.rejects(harness.lease(again, 'pool'), code('provider_unavailable'));
      provider.script.release = async () => {};
      harness.clock.advance(60_000);
      await harness.tick();
      assert.deepEqual(provider.released.toSorted(), ['m1', 'm2', 'm3']);
      assert.equal(
        (
          await harness.store.prisma.auditEvent.findMany({
            where: { type: 'pool.released', at: { gte: new Date(harness.clock.now().getTime() - 60_000) } },
          })
        ).length,
        3,
      );
    });

    test('a member whose mint was refused is free again at once, and costs the provider nothing', async () => {
      const provider = harness.provider('pool');
      provider.script.issue = async () => {
        throw new ProviderError('upstream_refused', 'no');
      };
      const session = await harness.open();
      for (let i = 0; i < 3; i += 1) await assert.rejects(harness.ask(session, 'pool'), code('provider_refused'));
      assert.equal(await harness.store.prisma.poolSlot.count({ where: { provider: 'pool' } }), 0);
      await harness.tick();
      assert.deepEqual(provider.released, []);
      // What may be wrong with the member itself is put right by the provider before it is used again.
      provider.script.issue = async () => {
        throw new ProviderError('upstream_unavailable', 'still disabled', { mayHaveMinted: false });
      };
      await assert.rejects(harness.ask(session, 'pool'), code('provider_unavailable'));
      await harness.tick();
      assert.equal(provider.released.length, 1);
      assert.equal(await harness.store.prisma.poolSlot.count({ where: { provider: 'pool' } }), 0);
    });

    test('who says how long to wait is not asked for a release or a document before, within reason', async () => {
      const [pool, doc] = [harness.provider('pool'), harness.provider('doc')];
      for (const [told, waited] of [
        [200, 200],
        [3_600, 300],
      ] as const) {
        const limited = new ProviderError('upstream_unavailable', 'too often', { retryAfterSeconds: told });
        let asked = 0;
        const refuse = async () => {
          asked += 1;
          throw limited;
        };
        const session = await harness.open({ wallTimeSeconds: 1800 });
        await harness.lease(session, 'pool', { ttl: 60 });
        await harness.lease(session, 'doc', { scope: 'one', ttl: 60 });
        await endSession(harness.ending, harness.end(session.sessionId));
        await harness.tick();
        pool.script.release = refuse;
        doc.script.prune = refuse;
        harness.clock.advance(4_000_000);
        await harness.tick();
        assert.equal(asked, 2);
        harness.clock.advance(waited * 1000 - 1);
        await harness.tick();
        assert.equal(asked, 2, 'not before');
        harness.clock.advance(1);
        await harness.tick();
        assert.equal(asked, 4);
        for (const provider of [pool, doc]) provider.reset();
        harness.clock.advance(300_000);
        await harness.tick();
        assert.deepEqual([pool.released.length, doc.pruned.length], [1, 1]);
        for (const provider of [pool, doc]) provider.reset();
      }
    });

    test('the record holds after all of it', async () => {
      assert.equal((await harness.verify()).broken, null);
    });
  });
}
