import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { keepAfterEndMs, ProviderError } from '../../providers/contract.ts';
import { backoffMs } from '../core/backoff.ts';
import { type Harness, openHarness, statement } from '../harness.test-support.ts';
import { secretOf } from '../scripted-provider.test-support.ts';
import { endSession } from '../sessions/end-session.ts';
import { testBackends } from '../store/store.test-support.ts';
import { reconcileOnce } from '../worker/reconciler.ts';
import { withUpstreamLock } from './upstream-lock.ts';

const down = async () => ({
  state: 'failed' as const,
  error: new ProviderError('upstream_unavailable', 'it is down', { providerCode: '503' }),
});

test('backoff doubles from a second to a minute, each wait between half and the whole of it', () => {
  for (const [attempts, whole] of [
    [1, 1000],
    [2, 2000],
    [3, 4000],
    [6, 32_000],
    [7, 60_000],
    [1_000_000, 60_000],
  ] as const) {
    assert.equal(backoffMs(attempts, 0), whole / 2);
    assert.equal(backoffMs(attempts, 0.5), whole * 0.75);
    assert.ok(backoffMs(attempts, 0.999) < whole);
  }
});

for (const backend of await testBackends()) {
  describe(`revoke on ${backend}`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, {
        providers: [
          { name: 'plain' },
          { name: 'hour', lifetimeSeconds: 3600, secret: true },
          { name: 'doc', lockKey: true },
        ],
      });
    });
    after(() => harness.close());
    beforeEach(async () => {
      // Whatever a test left behind is over.
      harness.clock.advance(6 * 3600_000);
      for (const provider of harness.providers.values()) provider.reset();
      await harness.tick();
      for (const provider of harness.providers.values()) provider.reset();
      harness.lines.length = 0;
    });

    /** One credential of a session that has ended: due to be revoked now. */
    async function revoking(provider: string, more: { ttl?: number; scope?: string } = {}) {
      const session = await harness.open();
      const lease = await harness.lease(session, provider, more);
      await endSession(harness.ending, harness.end(session.sessionId));
      return lease;
    }

    test('the provider’s word makes it revoked, with its evidence, and the grant ends', async () => {
      const lease = await revoking('plain');
      assert.equal((await harness.row(lease)).status, 'revoking');
      await harness.tick();
      const row = await harness.row(lease);
      assert.deepEqual([row.status, row.evidence, row.dueAt], ['revoked', { said: 'gone' }, null]);
      assert.deepEqual(await harness.eventsOf(lease), [
        'grant.allowed',
        'lease.issued',
        'lease.revoking',
        'lease.revoked',
      ]);
      const grant = await harness.store.prisma.grant.findUniqueOrThrow({ where: { id: row.grantId } });
      assert.equal(grant.status, 'ended');
      assert.deepEqual(harness.provider('plain').alive(), []);
    });

    test('a revocation that fails is tried until the natural end, alarms all the while, and is never called revoked', async () => {
      const provider = harness.provider('plain');
      provider.script.revoke = down;
      const lease = await revoking('plain', { ttl: 900 });
      const { providerExpiresAt } = await harness.row(lease);
      const failuresBefore = await harness.metric('writ_revocation_failures_total', 'plain');
      const waits: number[] = [];
      for (;;) {
        await harness.tick();
        const row = await harness.row(lease);
        if (row.status !== 'revoking') break;
        assert.equal(row.lastError, 'upstream_unavailable (503)');
        assert.equal(await harness.metric('writ_revocations_failing', 'plain'), 1);
        assert.ok(row.dueAt! <= providerExpiresAt, 'it is looked at again at its natural end at the latest');
        waits.push(row.dueAt!.getTime() - harness.clock.now().getTime());
        const asked = provider.revocations.length;
        harness.clock.advance(waits.at(-1)! - 1);
        await harness.tick();
        assert.equal(provider.revocations.length, asked, 'not asked again before it is due');
        harness.clock.advance(1);
      }
      const growing = waits.slice(0, -1);
      growing.forEach((wait, i) => {
        const whole = Math.min(60_000, 1000 * 2 ** i);
        assert.ok(wait >= whole / 2 && wait <= whole, `wait ${i} is ${wait} ms`);
      });
      assert.ok(growing.length > 15, 'it went on for the whole quarter of an hour');
      assert.ok(new Set(growing.slice(7)).size > 1, 'the waits are jittered');
      const row = await harness.row(lease);
      assert.deepEqual([row.status, row.evidence], ['expired', { ended_by: 'natural expiry' }]);
      const events = await harness.eventsOf(lease);
      assert.equal(events.filter((type) => type === 'lease.revoke_failed').length, waits.length);
      assert.equal(events.at(-1), 'lease.expired');
      assert.ok(!events.includes('lease.revoked'));
      assert.equal((await harness.metric('writ_revocation_failures_total', 'plain')) - failuresBefore, waits.length);
      assert.equal(await harness.metric('writ_revocations_failing', 'plain'), 0);
      const alarms = harness.lines.filter((line) => line.lease === lease && line.level === 50);
      assert.equal(alarms.length, waits.length);
    });

    test('a provider that says how long to wait is not asked before, and its words are kept', async () => {
      const provider = harness.provider('plain');
      const lease = await revoking('plain');
      provider.script.revoke = async () => ({
        state: 'failed',
        error: new ProviderError('upstream_unavailable', 'limited', {
          retryAfterSeconds: 90,
          providerText: 'Slow down.',
        }),
      });
      await harness.tick();
      const row = await harness.row(lease);
      assert.equal(row.dueAt!.getTime() - harness.clock.now().getTime(), 90_000);
      assert.equal(row.providerText, 'Slow down.');
      harness.clock.advance(89_999);
      await harness.tick();
      assert.equal(provider.revocations.length, 1);
      provider.reset();
      harness.clock.advance(1);
      await harness.tick();
      assert.deepEqual([(await harness.row(lease)).status, (await harness.row(lease)).providerText], ['revoked', null]);
    });

    test('an end is judged by the provider’s clock as well as by ours; while it is not known, nothing has expired', async () => {
      const provider = harness.provider('doc');
      let skewMs: number | null = 0;
      const clock = {
        skewMs: () => skewMs,
        askNow: async () => {
          if (skewMs === null) throw new ProviderError('upstream_unavailable', 'no answer');
          return new Date(harness.clock.now().getTime() + skewMs);
        },
      };
      Object.assign(provider, { clock });
      try {
        const session = await harness.open();
        const ended = await harness.lease(session, 'doc', { scope: 'one', ttl: 100 });
        await endSession(harness.ending, harness.end(session.sessionId));
        await harness.tick();
        const active = await harness.lease(await harness.open({ wallTimeSeconds: 1500 }), 'doc', {
          scope: 'two',
          ttl: 100,
        });
        provider.script.revoke = async () => ({ state: 'wait_for_expiry', evidence: {} });
        for (const skew of [-600_000, null]) {
          skewMs = skew;
          harness.clock.advance(165_000);
          await harness.tick();
          assert.deepEqual(provider.pruned, [], 'the denial stands');
          assert.equal(
            (await harness.row(active)).status,
            'revoking',
            'its time is over, and nothing has ended it yet',
          );
        }
        skewMs = 0;
        const later = await revoking('doc', { scope: 'one', ttl: 100 });
        skewMs = -600_000;
        await harness.tick();
        assert.ok(provider.standings.flat().filter((id) => id === ended).length > 1, 'and is written again');
        skewMs = -10_000;
        harness.clock.advance(300_000);
        await harness.tick();
        assert.deepEqual(
          provider.pruned.map(({ lockKey }) => lockKey),
          ['one'],
        );
        const row = await harness.row(active);
        assert.equal(row.status, 'expired');
        assert.equal((row.evidence as { judged_by?: string }).judged_by, 'the provider’s clock and the broker’s');
        assert.equal((await harness.row(later)).status, 'expired');
      } finally {
        Reflect.deleteProperty(provider, 'clock');
      }
    });

    test('a credential that can be tried is not called expired on a clock’s word', async () => {
      const provider = harness.provider('hour');
      Object.assign(provider, { triesCredential: true });
      try {
        const lease = await revoking('hour', { ttl: 600 });
        provider.script.revoke = down;
        harness.clock.advance(3 * 3600_000);
        await harness.tick();
        const row = await harness.row(lease);
        assert.equal(row.status, 'revoking');
        assert.ok(row.sealed !== null && row.dueAt! > harness.clock.now());
        provider.reset();
        harness.clock.advance(60_000);
        await harness.tick();
        assert.equal((await harness.row(lease)).status, 'revoked');
      } finally {
        Reflect.deleteProperty(provider, 'triesCredential');
      }
    });

    test('an end that was told too early wipes nothing: what can be tried is ended, and not called expired', async () => {
      const provider = harness.provider('hour');
      Object.assign(provider, { triesCredential: true });
      try {
        provider.script.issue = async (_context, mint) => {
          const soon = new Date(harness.clock.now().getTime() + 30_000);
          return { ...mint(), expiresAt: soon, providerExpiresAt: soon };
        };
        const lease = await harness.lease(await harness.open(), 'hour', { ttl: 600 });
        harness.clock.advance(31_000);
        await harness.tick();
        assert.deepEqual(provider.alive(), [], 'it lived, and was ended');
        const row = await harness.row(lease);
        assert.deepEqual([row.status, row.revokeReason], ['revoked', 'expired']);
      } finally {
        Reflect.deleteProperty(provider, 'triesCredential');
      }
    });

    test('while a provider cannot be asked for its time, what is due is revoked', async () => {
      const provider = harness.provider('plain');
      const askNow = async () => {
        throw new ProviderError('upstream_unavailable', 'no answer');
      };
      Object.assign(provider, { clock: { skewMs: () => null, askNow } });
      try {
        const lease = await harness.lease(await harness.open(), 'plain', { ttl: 100 });
        provider.script.revoke = async () => ({ state: 'wait_for_expiry', evidence: {} });
        harness.clock.advance(101_000);
        await harness.tick();
        const row = await harness.row(lease);
        assert.deepEqual([row.status, row.revokeReason], ['revoking', 'expired']);
        assert.deepEqual(provider.revocations, [[lease]], 'and its provider was asked to end it');
      } finally {
        Reflect.deleteProperty(provider, 'clock');
      }
    });

    test('while a provider’s answers tell no time, nothing of the last day has ended', async () => {
      const provider = harness.provider('plain');
      Object.assign(provider, { clock: { skewMs: () => null, askNow: async () => harness.clock.now() } });
      try {
        const lease = await harness.lease(await harness.open(), 'plain', { ttl: 100 });
        provider.script.revoke = async () => ({ state: 'wait_for_expiry', evidence: {} });
        harness.clock.advance(200_000);
        await harness.tick();
        assert.equal((await harness.row(lease)).status, 'revoking');
        harness.clock.advance(25 * 3600_000);
        await harness.tick();
        assert.equal((await harness.row(lease)).status, 'expired');
      } finally {
        Reflect.deleteProperty(provider, 'clock');
      }
    });

    test('of a batch that runs out of time, what the provider has ended is ended', async () => {
      const provider = harness.provider('plain');
      const [done, slow] = [await revoking('plain'), await revoking('plain')];
      const asked = Promise.withResolvers<void>();
      provider.script.revoke = async (target, kill, signal) => {
        if (target.leaseId === done) {
          kill();
          return { state: 'revoked', evidence: { said: 'gone' } };
        }
        asked.resolve();
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        return { state: 'failed', error: new ProviderError('upstream_timeout', 'no answer in time') };
      };
      const ticking = harness.tick();
      await asked.promise;
      harness.clock.advance(harness.reconciling.providerTimeoutSeconds * 1000);
      await ticking;
      assert.equal((await harness.row(done)).status, 'revoked');
      assert.deepEqual((await harness.row(done)).evidence, { said: 'gone' });
      assert.deepEqual(
        [(await harness.row(slow)).status, (await harness.row(slow)).lastError],
        ['revoking', 'upstream_timeout'],
      );
    });

    test('after failures it succeeds, and the next failure of another lease starts from a short wait again', async () => {
      const provider = harness.provider('plain');
      const lease = await revoking('plain');
      provider.script.revoke = down;
      for (let i = 0; i < 4; i += 1) {
        await harness.tick();
        harness.clock.advance(60_000);
      }
      provider.script.revoke = async (_target, kill) => {
        kill();
        return { state: 'revoked', evidence: {} };
      };
      await harness.tick();
      assert.equal((await harness.row(lease)).status, 'revoked');
      assert.equal((await harness.row(lease)).lastError, null);
      assert.equal(await harness.metric('writ_revocations_failing', 'plain'), 0);
    });

    test('settling is looked at again when the provider said, with the moment it began, and only then revoked', async () => {
      const provider = harness.provider('plain');
      const began = harness.clock.now();
      provider.script.revoke = async ({ settlingSince }, kill) => {
        if (settlingSince === null) {
          return { state: 'settling', recheckAt: new Date(began.getTime() + 30_000), evidence: { denied: true } };
        }
        assert.deepEqual(settlingSince, began);
        kill();
        return { state: 'revoked', evidence: { lag: 'passed' } };
      };
      const lease = await revoking('plain');
      await harness.tick();
      assert.deepEqual(
        [(await harness.row(lease)).status, (await harness.row(lease)).evidence],
        ['revoking', { denied: true }],
      );
      harness.clock.advance(29_999);
      await harness.tick();
      assert.equal((await harness.row(lease)).status, 'revoking');
      assert.equal(provider.revocations.length, 1);
      harness.clock.advance(1);
      await harness.tick();
      assert.deepEqual(
        [(await harness.row(lease)).status, (await harness.row(lease)).evidence],
        ['revoked', { lag: 'passed' }],
      );
      assert.deepEqual((await harness.eventsOf(lease)).slice(-2), ['lease.settling', 'lease.revoked']);
    });

    test('a lag starts anew where the kill had gone, and after a failure, when nobody knows what stood meanwhile', async () => {
      const provider = harness.provider('plain');
      let anew = false;
      const settling = async () => ({
        ...{ state: 'settling' as const, anew, evidence: {} },
        recheckAt: new Date(harness.clock.now().getTime() + 30_000),
      });
      const lease = await revoking('plain');
      const next = async () => {
        await harness.tick();
        harness.clock.advance(30_000);
        return (await harness.row(lease)).settlingSince;
      };
      provider.script.revoke = settling;
      const first = await next();
      assert.deepEqual(await next(), first, 'it stood all the while');
      anew = true;
      const second = await next();
      assert.ok(second! > first!);
      anew = false;
      assert.deepEqual(await next(), second);
      provider.script.revoke = down;
      assert.equal(await next(), null);
      provider.script.revoke = settling;
      assert.ok((await next())! > second!);
    });

    test('what nothing can end is revoking until its natural end, then expired; the provider is asked once', async () => {
      const provider = harness.provider('plain');
      provider.script.revoke = async () => ({ state: 'wait_for_expiry', evidence: { why: 'no way' } });
      const lease = await revoking('plain', { ttl: 600 });
      for (let i = 0; i < 9; i += 1) {
        await harness.tick();
        assert.equal((await harness.row(lease)).status, 'revoking');
        harness.clock.advance(60_000);
      }
      harness.clock.advance(60_000);
      await harness.tick();
      assert.equal((await harness.row(lease)).status, 'expired');
      assert.equal(provider.revocations.length, 1);
      assert.equal(await harness.metric('writ_revocations_failing', 'plain'), 0, 'waiting is not failing');
    });

    test('what revocation needs is sealed to its row, handed to the provider, and wiped when the lease ends', async () => {
      const lease = await revoking('hour');
      const before = await harness.row(lease);
      assert.ok(before.sealed !== null && !before.sealed.includes(secretOf(lease)));
      await assert.rejects(harness.seal.open(before.sealed, 'lse_another'));
      await harness.tick();
      assert.equal(harness.provider('hour').targets[0]?.secret, secretOf(lease));
      const row = await harness.row(lease);
      assert.deepEqual([row.status, row.sealed], ['revoked', null]);
      assert.ok(!JSON.stringify(harness.lines).includes(secretOf(lease)));
    });

    test('the database itself refuses to end a lease that keeps its secret', async () => {
      const lease = await revoking('hour');
      for (const status of ['revoked', 'expired', 'failed']) {
        await assert.rejects(
          harness.store.run(
            statement(`UPDATE lease SET status = '${status}', due_at = NULL, ended_at = now() WHERE id = $1`),
            [lease],
          ),
          /lease_status_check/,
        );
      }
    });

    test('a secret that cannot be opened is that lease’s trouble alone, and an alarm', async () => {
      const session = await harness.open();
      const [broken, sound] = [await harness.lease(session, 'hour'), await harness.lease(session, 'hour')];
      const elsewhere = await harness.seal.seal('stolen', 'lse_another');
      await harness.store.run(statement('UPDATE lease SET sealed = $2 WHERE id = $1'), [broken, elsewhere]);
      await endSession(harness.ending, harness.end(session.sessionId));
      await harness.tick();
      assert.equal((await harness.row(sound)).status, 'revoked');
      const row = await harness.row(broken);
      assert.deepEqual([row.status, row.lastError], ['revoking', 'secret_unreadable']);
      assert.equal(await harness.metric('writ_revocations_failing', 'hour'), 1);
      assert.ok(!JSON.stringify(harness.lines).includes('stolen'));
      harness.clock.advance(3600_000);
      await harness.tick();
      assert.deepEqual([(await harness.row(broken)).status, (await harness.row(broken)).sealed], ['expired', null]);
    });

    test('a provider that throws, hangs or answers too little fails its leases: they are retried and alarm', async () => {
      const provider = harness.provider('plain');
      const lease = await revoking('plain');
      provider.revoke = async () => {
        throw new TypeError('a fault of its own');
      };
      await harness.tick();
      assert.deepEqual([(await harness.row(lease)).status, (await harness.row(lease)).attempts], ['revoking', 1]);
      assert.equal(await harness.metric('writ_revocations_failing', 'plain'), 1);
      harness.clock.advance(60_000);

      provider.revoke = async () => [];
      await harness.tick();
      assert.equal((await harness.row(lease)).attempts, 2);
      harness.clock.advance(60_000);

      // Not even its signal moves it.
      const asked = Promise.withResolvers<void>();
      provider.revoke = () => {
        asked.resolve();
        return new Promise(() => {});
      };
      const ticking = harness.tick();
      await asked.promise;
      harness.clock.advance(20_000);
      await ticking;
      assert.deepEqual(
        [(await harness.row(lease)).status, (await harness.row(lease)).lastError],
        ['revoking', 'upstream_timeout'],
      );
    });

    test('a writer gets the whole truth: what is due, what was revoked and has not expired, and nothing of another document', async () => {
      const provider = harness.provider('doc');
      const session = await harness.open();
      const first = await harness.lease(session, 'doc', { scope: 'one', ttl: 100 });
      const other = await harness.lease(session, 'doc', { scope: 'two', ttl: 600 });
      const alive = await harness.lease(await harness.open(), 'doc', { scope: 'one', ttl: 600 });
      await endSession(harness.ending, harness.end(session.sessionId));
      await harness.tick();
      assert.deepEqual(provider.standings.map((ids) => ids.toSorted()).toSorted(), [[first], [other]].toSorted());
      // The next write must repeat the first denial, which still stands, and never names a lease that lives.
      harness.clock.advance(90_000);
      const later = await revoking('doc', { scope: 'one', ttl: 600 });
      await harness.tick();
      assert.deepEqual(provider.standings.at(-1)?.toSorted(), [first, later].toSorted());
      assert.ok(!provider.standings.flat().includes(alive));
      // It is repeated for a while after it has expired by itself, and then no longer.
      harness.clock.advance(11_000);
      const again = await revoking('doc', { scope: 'one', ttl: 600 });
      await harness.tick();
      assert.ok(provider.standings.at(-1)?.includes(first));
      harness.clock.advance(keepAfterEndMs);
      const last = await revoking('doc', { scope: 'one', ttl: 600 });
      await harness.tick();
      assert.deepEqual(provider.standings.at(-1)?.toSorted(), [later, again, last].toSorted());
    });

    test('what a full document ends besides is not shown as active: older leases of that document, and no others', async () => {
      const provider = harness.provider('doc');
      const neighbour = await harness.open();
      const old = await harness.lease(neighbour, 'doc', { scope: 'one', ttl: 600 });
      const elsewhere = await harness.lease(neighbour, 'doc', { scope: 'two', ttl: 600 });
      harness.clock.advance(10_000);
      const young = await harness.lease(neighbour, 'doc', { scope: 'one', ttl: 600 });
      const due = await revoking('doc', { scope: 'one', ttl: 600 });
      const issuedBefore = new Date(harness.clock.now().getTime() - 5_000);
      const kills = provider.script.revoke;
      provider.script.revoke = async (target, kill, signal) =>
        target.leaseId === due
          ? { state: 'revoked', evidence: {}, alsoEnded: { issuedBefore } }
          : kills(target, kill, signal);
      await harness.tick();
      const statusOf = async (id: string) => (await harness.row(id)).status;
      assert.equal(await statusOf(due), 'revoked');
      assert.ok(['revoking', 'revoked'].includes(await statusOf(old)));
      assert.deepEqual([await statusOf(young), await statusOf(elsewhere)], ['active', 'active']);
      assert.equal((await harness.row(old)).revokeReason, 'neighbour_cut_off');
    });

    test('a denial that somebody took away: what was revoked is not, and what waits for its lag waits anew', async () => {
      const provider = harness.provider('doc');
      const revoked = await revoking('doc', { scope: 'one', ttl: 600 });
      await harness.tick();
      const before = await harness.row(revoked);
      assert.equal(before.status, 'revoked');
      const settling = await revoking('doc', { scope: 'one', ttl: 600 });
      const kills = provider.script.revoke;
      const settle = async () => ({
        state: 'settling' as const,
        recheckAt: new Date(harness.clock.now().getTime() + 60_000),
        evidence: {},
      });
      provider.script.revoke = settle;
      await harness.tick();
      const since = (await harness.row(settling)).settlingSince;
      harness.clock.advance(5_000);
      const third = await revoking('doc', { scope: 'one', ttl: 600 });
      const active = await harness.lease(await harness.open(), 'doc', { scope: 'one', ttl: 600 });
      provider.script.revoke = async (target) =>
        target.leaseId === third
          ? { state: 'revoked', evidence: {}, rewritten: [revoked, settling, active] }
          : settle();
      await harness.tick();
      provider.script.revoke = kills;
      const rows = [await harness.row(revoked), await harness.row(settling)];
      assert.deepEqual(
        rows.map((row) => [row.status, row.revokeReason]),
        [
          ['revoking', 'denial_removed'],
          ['revoking', 'denial_removed'],
        ],
      );
      assert.deepEqual([rows[0]?.endedAt, rows[0]?.pruneAt], [null, null]);
      assert.ok(rows[1]!.settlingSince! > since!, 'its lag starts anew');
      assert.equal((await harness.row(active)).status, 'active', 'it never had one');
      assert.deepEqual((await harness.eventsOf(revoked)).slice(-2), ['lease.revoked', 'lease.revoking']);
      await harness.tick();
      assert.equal((await harness.row(revoked)).status, 'revoked', 'and is ended again');
    });

    test('the lock keeps one writer: while another worker holds it nothing is written, and its death does not block for ever', async () => {
      const provider = harness.provider('doc');
      const lease = await revoking('doc', { scope: 'one' });
      const lock = { key: 'doc:one', holder: 'worker-2', seconds: 60 };
      const held = await withUpstreamLock(harness.store, harness.clock, lock, async () => {
        await harness.tick();
        assert.equal(provider.revocations.length, 0);
        assert.deepEqual([(await harness.row(lease)).status, (await harness.row(lease)).attempts], ['revoking', 0]);
        return 'release';
      });
      assert.equal(held, true);
      harness.clock.advance(1000);
      await harness.tick();
      assert.equal((await harness.row(lease)).status, 'revoked');

      // A worker that died holding it.
      const next = await revoking('doc', { scope: 'one' });
      const until = new Date(harness.clock.now().getTime() + 60_000);
      await harness.store.run(
        statement(`INSERT INTO upstream_lock (key, holder, until) VALUES ('doc:one', 'dead', $1)`),
        [until],
      );
      await harness.tick();
      assert.equal((await harness.row(next)).status, 'revoking');
      harness.clock.set(until);
      await harness.tick();
      assert.equal((await harness.row(next)).status, 'revoked');
    });

    test('a worker whose clock is ahead by all that is allowed does not come between one whose is behind', async () => {
      const skewed = (ms: number) => ({ ...harness.clock, now: () => new Date(harness.clock.now().getTime() + ms) });
      const seconds = harness.reconciling.providerTimeoutSeconds + 40;
      const behind = { key: 'doc:one', holder: 'behind', seconds };
      const ahead = { key: 'doc:one', holder: 'ahead', seconds };
      const held = await withUpstreamLock(harness.store, skewed(-30_000), behind, async () => {
        harness.clock.advance(harness.reconciling.providerTimeoutSeconds * 1000);
        const second = await withUpstreamLock(harness.store, skewed(30_000), ahead, async () => 'release');
        assert.equal(second, false, 'the first is still at work');
        return 'release';
      });
      assert.equal(held, true);
      assert.equal(await withUpstreamLock(harness.store, skewed(30_000), ahead, async () => 'release'), true);
    });

    test('a write that was given up on keeps the document to itself until it cannot arrive any more', async () => {
      const provider = harness.provider('doc');
      // The document upstream; the first write arrives only when the test lets it.
      let document: string[] = [];
      const lost = Promise.withResolvers<void>();
      const asked = Promise.withResolvers<void>();
      const first = await revoking('doc', { scope: 'one' });
      provider.revoke = async (_due, outstanding, signal) => {
        const ids = outstanding.map((target) => target.leaseId);
        const late = lost.promise.then(() => {
          document = ids;
        });
        asked.resolve();
        await Promise.race([late, new Promise((resolve) => signal.addEventListener('abort', resolve))]);
        throw new ProviderError('upstream_timeout', 'no answer');
      };
      const ticking = harness.tick();
      await asked.promise;
      harness.clock.advance(harness.reconciling.providerTimeoutSeconds * 1000);
      await ticking;
      assert.equal((await harness.row(first)).lastError, 'upstream_timeout');

      let writes = 0;
      provider.revoke = async (due, outstanding) => {
        writes += 1;
        document = outstanding.map((target) => target.leaseId);
        return due.map(() => ({ state: 'revoked', evidence: {} }));
      };
      const second = await revoking('doc', { scope: 'one' });
      await reconcileOnce({ ...harness.reconciling, workerId: 'worker-2' });
      assert.equal(writes, 0, 'nobody writes while the first may still arrive');
      lost.resolve();
      harness.clock.advance(60_000);
      await reconcileOnce({ ...harness.reconciling, workerId: 'worker-2' });
      assert.deepEqual(document.toSorted(), [first, second].toSorted(), 'both denials stand');
      assert.equal((await harness.row(second)).status, 'revoked');
    });

    test('a write that the provider answered with a refusal does not keep the document', async () => {
      const provider = harness.provider('doc');
      provider.script.revoke = down;
      await revoking('doc', { scope: 'one' });
      await harness.tick();
      assert.equal(await harness.store.prisma.upstreamLock.count(), 0);
    });

    test('work that throws keeps the lock until its end', async () => {
      const lock = { key: 'doc:one', holder: 'worker-1', seconds: 60 };
      const failing = withUpstreamLock(harness.store, harness.clock, lock, async () => {
        throw new Error('the database went away');
      });
      await assert.rejects(failing, /went away/);
      const next = { ...lock, holder: 'worker-2' };
      assert.equal(await withUpstreamLock(harness.store, harness.clock, next, async () => 'release'), false);
      harness.clock.advance(60_000);
      assert.equal(await withUpstreamLock(harness.store, harness.clock, next, async () => 'release'), true);
    });

    test('of many workers at once on one document, one writes at a time and none of the denials is lost', async () => {
      const provider = harness.provider('doc');
      const leases = await Promise.all(Array.from({ length: 8 }, () => revoking('doc', { scope: 'two' })));
      let writing = 0;
      let document: string[] = [];
      provider.revoke = async (due, outstanding) => {
        writing += 1;
        assert.equal(writing, 1, 'two workers write the document at once');
        await new Promise((resolve) => setTimeout(resolve, 5));
        document = outstanding.map((target) => target.leaseId);
        writing -= 1;
        return due.map(() => ({ state: 'revoked', evidence: {} }));
      };
      for (let round = 0; round < 4; round += 1) {
        await Promise.all(
          Array.from({ length: 4 }, (_, i) => reconcileOnce({ ...harness.reconciling, workerId: `worker-${i}` })),
        );
        harness.clock.advance(1000);
      }
      for (const lease of leases) assert.equal((await harness.row(lease)).status, 'revoked');
      for (const lease of leases) assert.ok(document.includes(lease));
    });
  });
}
