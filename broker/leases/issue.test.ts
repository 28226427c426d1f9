/**
 * What a provider's answer must be, and what becomes of one that is not: nothing is delivered, what came is
 * ended, and the lease says so. For every provider alike: this one has no checks of its own.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Issued, ProviderError } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { testBackends } from '../store/store.test-support.ts';

const refused = (error: unknown) => error instanceof WritError && error.code === 'provider_refused';

for (const backend of await testBackends()) {
  describe(`a provider’s answer on ${backend}`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, {
        providers: [
          { name: 'plain' },
          { name: 'hour', lifetimeSeconds: 3600, secret: true },
          { name: 'pool', pool: ['m1'] },
        ],
      });
    });
    after(() => harness.close());
    beforeEach(async () => {
      harness.clock.advance(6 * 3600_000);
      await harness.tick();
      for (const provider of harness.providers.values()) provider.reset();
    });

    const after1 = (seconds: number) => new Date(harness.clock.now().getTime() + seconds * 1000);
    const newest = async () =>
      (await harness.store.prisma.lease.findMany({ orderBy: { intentAt: 'desc' }, take: 1 }))[0]!;

    const odd: [name: string, change: (issued: Issued) => Partial<Issued> | unknown][] = [
      ['an end in the past', () => ({ expiresAt: after1(-1), providerExpiresAt: after1(-1) })],
      ['an end now', () => ({ expiresAt: after1(0) })],
      ['an end at the provider in the past', () => ({ providerExpiresAt: after1(-10) })],
      ['an end later than the plan', () => ({ expiresAt: after1(606) })],
      ['a life longer than the provider gives', () => ({ providerExpiresAt: after1(10 * 86_400) })],
      ['no end', () => ({ expiresAt: undefined })],
      ['an end that is no date', () => ({ providerExpiresAt: new Date(Number.NaN) })],
      ['an end that is text', () => ({ expiresAt: after1(60).toISOString() })],
      ['no credential', () => ({ credential: undefined })],
      ['a credential of no type', () => ({ credential: { token: 'x' } })],
      ['a handle that is none', () => ({ handle: 'arn' })],
      ['an answer without end', () => ({ handle: { all: 'x'.repeat(70_000) } })],
    ];
    for (const [name, change] of odd)
      test(`${name} is not delivered; what came is revoked with what is known of it, and the lease says so`, async () => {
        const provider = harness.provider('hour');
        provider.script.issue = async (_context, mint) => {
          const issued = mint();
          return { ...issued, ...(change(issued) as object) } as Issued;
        };
        const session = await harness.open();
        await assert.rejects(harness.ask(session, 'hour', { ttl: 600 }), refused);
        const { id, lastError, providerExpiresAt, sealed } = await newest();
        assert.equal(lastError, 'upstream_mismatch');
        assert.ok(sealed !== null, 'what deletes the token is kept');
        assert.ok(providerExpiresAt >= after1(600), 'and long enough');
        assert.deepEqual(provider.alive(), [id]);
        await harness.tick();
        assert.deepEqual(provider.alive(), []);
        assert.equal((await harness.row(id)).status, 'revoked');
        assert.deepEqual(await harness.eventsOf(id), ['grant.allowed', 'lease.revoking', 'lease.revoked']);
      });

    test('a credential that a live lease has is not given twice: the second is not delivered, and both are ended', async () => {
      const provider = harness.provider('plain');
      const first = await harness.lease(await harness.open(), 'plain', { ttl: 600 });
      harness.clock.advance(1_000);
      provider.script.issue = async (_context, mint) => ({
        ...mint(),
        credential: { type: 'plain', token: `hush-${first}-hush` },
      });
      const session = await harness.open();
      await assert.rejects(harness.ask(session, 'plain', { ttl: 600 }), refused);
      const second = await newest();
      assert.deepEqual([second.status, second.lastError], ['revoking', 'upstream_mismatch']);
      const other = await harness.row(first);
      assert.deepEqual([other.status, other.revokeReason], ['revoking', 'credential_repeated']);
      await harness.tick();
      assert.deepEqual(provider.alive(), []);
      // Once nothing lives with it, it is nobody's.
      assert.ok(await harness.lease(session, 'plain', { ttl: 600 }));
    });

    test('twenty at once, of which two have the same credential: the others are delivered', async () => {
      const provider = harness.provider('plain');
      let minted = 0;
      provider.script.issue = async (_context, mint) => {
        minted += 1;
        return { ...mint(), ...(minted < 3 ? { credential: { type: 'plain', token: 'the same one for two' } } : {}) };
      };
      const sessions = await Promise.all(Array.from({ length: 10 }, () => harness.open()));
      const asked = await Promise.allSettled(sessions.map((session) => harness.ask(session, 'plain', { ttl: 600 })));
      assert.equal(asked.filter(({ status }) => status === 'fulfilled').length, 9);
      await harness.tick();
      assert.equal(provider.alive().length, 8, 'neither of the two lives');
    });

    test('an error that knows what was minted hands it on: its secret is sealed, its end is the true one', async () => {
      const provider = harness.provider('pool');
      const ends = after1(120);
      provider.script.issue = async (_context, mint) => {
        const { handle } = mint();
        const minted = { handle, secret: 'hush', providerExpiresAt: ends };
        throw new ProviderError('upstream_unavailable', 'half done', { mayHaveMinted: true, minted });
      };
      const unavailable = (error: unknown) => error instanceof WritError && error.code === 'provider_unavailable';
      await assert.rejects(harness.ask(await harness.open(), 'pool', { ttl: 600 }), unavailable);
      const lease = await newest();
      assert.deepEqual(lease.providerExpiresAt, ends);
      assert.equal(await harness.seal.open(lease.sealed ?? '', lease.id), 'hush');
      const slot = await harness.store.prisma.poolSlot.findFirstOrThrow({ where: { provider: 'pool' } });
      assert.deepEqual(slot.releaseAfter, new Date(ends.getTime() + 60_000));
    });

    test('what a provider knows of a mint that ran out of time counts: nothing was sent, or what was minted', async () => {
      const unavailable = (error: unknown) => error instanceof WritError && error.code === 'provider_unavailable';
      const askUntilLate = async (known: object) => {
        const asked = Promise.withResolvers<void>();
        harness.provider('pool').script.issue = async ({ signal }) => {
          asked.resolve();
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
          throw new ProviderError('upstream_timeout', 'no time left', known);
        };
        const session = await harness.open();
        const asking = harness.ask(session, 'pool', { ttl: 600 });
        await asked.promise;
        harness.clock.advance(harness.reconciling.providerTimeoutSeconds * 1000);
        await assert.rejects(asking, unavailable);
        return { lease: await newest(), session: await harness.session(session.sessionId) };
      };
      const unsent = await askUntilLate({ mayHaveMinted: false });
      assert.deepEqual([unsent.lease.status, unsent.session.grantCount], ['failed', 0]);
      await harness.tick();
      assert.equal(await harness.store.prisma.poolSlot.count({ where: { provider: 'pool' } }), 0, 'its member is free');
      const ends = after1(300);
      const handle = { lease: 'known' };
      const known = await askUntilLate({
        mayHaveMinted: true,
        minted: { handle, secret: 'hush', providerExpiresAt: ends },
      });
      assert.deepEqual([known.lease.status, known.lease.providerExpiresAt], ['revoking', ends]);
      assert.deepEqual(known.lease.handle, handle);
    });

    test('a lease that was recorded although its answer was lost is given to nobody, and ended', async () => {
      for (const name of ['plain', 'hour']) {
        const losing = new Proxy(harness.store, {
          get: (store, member) =>
            member === 'run'
              ? async (statement: { name: string }, values: never) => {
                  const rows = await store.run(statement as never, values);
                  if (statement.name === 'lease_outcome') throw new Error('Connection terminated unexpectedly');
                  return rows;
                }
              : Reflect.get(store, member),
        });
        // Killed by its row alone: as a session at AWS is, by whoever holds the role's document.
        Object.assign(harness.provider(name), { lockKey: () => 'one' });
        const asking = harness.askWith({ ...harness.grants, store: losing }, await harness.open(), name, { ttl: 600 });
        await assert.rejects(asking, (error) => error instanceof WritError && error.code === 'unavailable');
        const lease = await newest();
        assert.deepEqual([lease.status, lease.revokeReason], ['revoking', 'not_delivered']);
        await harness.tick();
        assert.deepEqual(harness.provider(name).alive(), []);
        Reflect.deleteProperty(harness.provider(name), 'lockKey');
        harness.clock.advance(1_000);
      }
    });

    test('a process that slept longer than its decision holds has asked for nothing, and that costs nothing', async () => {
      const sleeping = new Proxy(harness.store, {
        get: (store, member) =>
          member === 'run'
            ? async (statement: { name: string }, values: never) => {
                const rows = await store.run(statement as never, values);
                if (/^grant_intent/.test(statement.name)) harness.clock.advance(61_000);
                return rows;
              }
            : Reflect.get(store, member),
      });
      const session = await harness.open();
      const before = harness.provider('pool').mints();
      const asking = harness.askWith({ ...harness.grants, store: sleeping }, session, 'pool', { ttl: 600 });
      const told = await asking.catch((error: unknown) => error);
      assert.ok(told instanceof WritError && told.code === 'provider_unavailable', String(told));
      assert.deepEqual(told.extensions.provider_code, 'decision_expired');
      const lease = await newest();
      assert.deepEqual([lease.status, harness.provider('pool').mints()], ['failed', before]);
      assert.equal((await harness.session(session.sessionId)).grantCount, 0);
      await harness.tick();
      assert.equal(await harness.store.prisma.poolSlot.count({ where: { provider: 'pool' } }), 0, 'its member is free');
      assert.deepEqual(harness.provider('pool').revocations, []);
    });

    test('the provider’s waiting time is handed on to the agent, and its words to admins', async () => {
      harness.provider('plain').script.issue = async () => {
        throw new ProviderError('upstream_unavailable', 'limited', {
          retryAfterSeconds: 37,
          providerText: 'You have exceeded a secondary rate limit.',
        });
      };
      const told = await harness.ask(await harness.open(), 'plain').catch((error: unknown) => error);
      assert.ok(told instanceof WritError && told.retryAfterSeconds === 37);
      const lease = await newest();
      assert.deepEqual([lease.status, lease.providerText], ['failed', 'You have exceeded a secondary rate limit.']);
    });
  });
}
