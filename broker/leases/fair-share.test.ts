/**
 * What agents share at a provider: one agent's appetite costs no other its credentials, and nothing is minted
 * that could not be revoked, whatever runs beside it and in whichever process.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { keepAfterEndMs, ProviderError } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import { agent as greedy, type Harness, openHarness, statement } from '../harness.test-support.ts';
import { endSession } from '../sessions/end-session.ts';
import { testBackends } from '../store/store.test-support.ts';

/** Why it was refused; `issued` when it was not. */
async function outcomeOf(asking: Promise<unknown>): Promise<unknown> {
  try {
    await asking;
    return 'issued';
  } catch (error) {
    if (!(error instanceof WritError)) throw error;
    assert.equal(error.code, 'provider_unavailable');
    assert.ok((error.retryAfterSeconds ?? 0) > 0);
    return error.extensions.provider_code;
  }
}

/** Asks so many times at once, each in a session of its own, over three processes. */
async function burst(harness: Harness, agent: string, provider: string, times: number, more: { scope?: string } = {}) {
  const stores = [1, 2, 3].map(() => ({ ...harness.store }));
  const sessions = await Promise.all(Array.from({ length: times }, () => harness.open({ agent })));
  const outcomes = await Promise.all(
    sessions.map((session, n) =>
      outcomeOf(harness.askWith({ ...harness.grants, store: stores[n % 3]! }, session, provider, more)),
    ),
  );
  return { sessions, outcomes: Object.groupBy(outcomes, (outcome) => String(outcome)) };
}

const endAll = async (harness: Harness, sessions: { sessionId: string }[]) => {
  for (const { sessionId } of sessions) await endSession(harness.ending, harness.end(sessionId));
};

for (const backend of await testBackends()) {
  describe(`shares on ${backend}`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, {
        providers: [
          { name: 'shareddoc', lockKey: true, denials: 40 },
          { name: 'owndoc', lockKey: true, denials: 12 },
          { name: 'ownpool', pool: ['a', 'b', 'c'] },
          { name: 'sharedpool', pool: ['one', 'two', 'p3', 'p4', 'p5', 'p6'] },
          { name: 'unknown', lockKey: true, denials: 5 },
          { name: 'cut', lockKey: true },
          { name: 'other' },
        ],
      });
      await harness.register('neighbour', ['shareddoc', 'sharedpool', 'cut']);
    });
    after(() => harness.close());

    test('a greedy agent leaves as much of a document as it holds, and no neighbour is cut off', async () => {
      const neighbour = await harness.lease(await harness.open({ agent: 'neighbour' }), 'shareddoc');
      const first = await burst(harness, greedy, 'shareddoc', 30);
      const issued = first.outcomes.issued?.length ?? 0;
      // While answers are awaited each counts twice: the burst may get fewer, and one by one it gets the
      // rest.
      assert.ok(issued >= 9 && issued <= 20, String(issued));
      assert.deepEqual(Object.keys(first.outcomes).toSorted(), ['issued', 'share_taken']);
      const more = await harness.open();
      let held = issued;
      while ((await outcomeOf(harness.ask(more, 'shareddoc'))) === 'issued') held += 1;
      assert.equal(held, 20, 'half of what the neighbour left, rounded up');
      // Another document of the same provider is another room.
      assert.equal(await outcomeOf(harness.ask(more, 'shareddoc', { scope: 'one' })), 'issued');
      // Ending gives nothing back while the denials must stand.
      await endAll(harness, first.sessions);
      await harness.tick();
      assert.equal(await outcomeOf(harness.ask(more, 'shareddoc')), 'share_taken');
      assert.equal((await harness.row(neighbour)).status, 'active');
      // Who comes later finds room, and all that is alive or denied fits.
      await harness.register('late', ['shareddoc']);
      const late = await harness.open({ agent: 'late' });
      assert.equal(await outcomeOf(harness.ask(late, 'shareddoc')), 'issued');
      const count = await harness.store.prisma.lease.count({
        where: { provider: 'shareddoc', lockKey: 'all', status: { not: 'failed' } },
      });
      assert.equal(count, 22);
      // Once the credentials have ended at the provider, and their denials may go, there is room again.
      harness.clock.advance(900_000 + keepAfterEndMs);
      assert.equal(await outcomeOf(harness.ask(await harness.open(), 'shareddoc')), 'issued');
      assert.equal((await harness.verify()).broken, null);
    });

    test('alone, an agent may have it all, and not one more than can be denied', async () => {
      // Somebody who may not use the provider needs no room there.
      await harness.register('elsewhere', ['other']);
      const session = await harness.open();
      for (let held = 0; held < 11; held += 1) assert.equal(await outcomeOf(harness.ask(session, 'owndoc')), 'issued');
      // The twelfth might take two names, were its answer lost.
      assert.equal(await outcomeOf(harness.ask(session, 'owndoc')), 'document_full');
      for (let held = 0; held < 3; held += 1) assert.equal(await outcomeOf(harness.ask(session, 'ownpool')), 'issued');
      assert.equal(await outcomeOf(harness.ask(session, 'ownpool')), 'pool_exhausted');
      // From the moment at which another agent may use it, what is held stays, and no more is given.
      await harness.register('newcomer', ['owndoc']);
      assert.equal(await outcomeOf(harness.ask(session, 'owndoc')), 'document_full');
      const { grant_count } = (
        await harness.store.run<{ grant_count: number }>(statement('SELECT grant_count FROM session WHERE id = $1'), [
          session.sessionId,
        ])
      )[0]!;
      assert.equal(grant_count, 14, 'a refusal counts against no envelope');
    });

    test('a pool’s members are shared, whether any is asked for or one by name', async () => {
      const first = await burst(harness, greedy, 'sharedpool', 8);
      assert.deepEqual([first.outcomes.issued?.length, first.outcomes.share_taken?.length], [3, 5]);
      const taken = (await harness.store.prisma.poolSlot.findMany({ where: { provider: 'sharedpool' } })).map(
        ({ member }) => member,
      );
      for (const scope of ['one', 'two'].filter((name) => !taken.includes(name)))
        assert.equal(await outcomeOf(harness.ask(first.sessions[0]!, 'sharedpool', { scope })), 'share_taken');
      const neighbour = await harness.open({ agent: 'neighbour' });
      assert.equal(await outcomeOf(harness.ask(neighbour, 'sharedpool')), 'issued');
      assert.equal(await outcomeOf(harness.ask(neighbour, 'sharedpool')), 'issued');
      assert.equal(await outcomeOf(harness.ask(neighbour, 'sharedpool')), 'share_taken', 'a third agent may come');
      // A refusal writes nothing: neither a grant nor a lease.
      assert.equal(await harness.store.prisma.lease.count({ where: { provider: 'sharedpool' } }), 5);
      assert.equal(await harness.store.prisma.grant.count({ where: { provider: 'sharedpool' } }), 5);
      assert.equal((await harness.verify()).broken, null);
    });

    test('where it is not known how much fits, nothing is minted', async () => {
      const provider = harness.provider('unknown');
      const session = await harness.open();
      let fault: Error = new ProviderError('upstream_unavailable', 'no answer', { providerCode: '503' });
      Object.assign(provider, { denialsThatFit: () => Promise.reject(fault) });
      assert.equal(await outcomeOf(harness.ask(session, 'unknown')), '503');
      fault = new ProviderError('upstream_refused', 'may not read', { providerCode: 'AccessDenied' });
      await assert.rejects(harness.ask(session, 'unknown'), { code: 'provider_refused' });
      assert.equal(await harness.store.prisma.lease.count({ where: { provider: 'unknown' } }), 0);
      assert.deepEqual(provider.alive(), []);
    });

    test('a cut names whose denials fill the document', async () => {
      const bystander = await harness.lease(await harness.open({ agent: 'neighbour' }), 'cut');
      const other = await harness.open({ agent: 'neighbour' });
      await harness.lease(other, 'cut');
      const { sessions } = await burst(harness, greedy, 'cut', 3);
      harness.clock.advance(10_000);
      await endAll(harness, [other, ...sessions]);
      const provider = harness.provider('cut');
      const issuedBefore = harness.clock.now();
      provider.script.revoke = async (_target, kill) => {
        kill();
        return { state: 'revoked', evidence: {}, alsoEnded: { issuedBefore } };
      };
      await harness.tick();
      const event = await harness.store.prisma.auditEvent.findFirstOrThrow({
        where: { leaseId: bystander, type: 'lease.revoking' },
      });
      assert.deepEqual(event.payload, {
        reason: 'neighbour_cut_off',
        denied_beside: [
          { agent: greedy, denials: 3 },
          { agent: 'neighbour', denials: 1 },
        ],
      });
      const line = harness.lines.find(({ deniedBeside }) => deniedBeside !== undefined);
      assert.deepEqual(line?.deniedBeside, (event.payload as { denied_beside: unknown }).denied_beside);
    });
  });
}
