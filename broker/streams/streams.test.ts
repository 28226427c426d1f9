/** What is written for event streams, and when: by the end of a session, and by who is suspended. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { EventStream } from '../core/event-stream.ts';
import { codesOf, endReasons } from '../core/reasons.ts';
import { type Harness, openHarness, statement } from '../harness.test-support.ts';
import { liftLock } from '../locks/lift-lock.ts';
import { setLock } from '../locks/set-lock.ts';
import type { Admin } from '../people/identity.ts';
import { endSession } from '../sessions/end-session.ts';
import type { Store } from '../store/open.ts';
import { testBackends } from '../store/store.test-support.ts';
import { nextEvents } from './stored-events.ts';
import { watchSuspensions } from './watch-suspensions.ts';

const issuer = 'https://writ.example';
const stream = (name: string, events: EventStream['events']): EventStream => ({
  name,
  audience: name,
  events,
  algorithm: 'RS256',
  push: null,
  token: null,
});
const one = stream('one', ['session-revoked', 'account-disabled', 'account-enabled']);
const two = stream('two', ['account-enabled']);
const admin = (subject: string): Admin => ({
  name: subject,
  identity: { issuer: 'https://id.example', subject, groups: ['admins'], aliases: [] },
});

for (const backend of await testBackends())
  describe(`what streams are told (${backend})`, () => {
    let harness: Harness;
    before(async () => {
      harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
    });
    after(() => harness.close());

    const read = async (from: EventStream) => {
      const deps = { store: harness.store, issuer, log: harness.grants.log };
      const { events } = await nextEvents(deps, from, harness.clock.now(), 100);
      return events;
    };
    const rows = () => harness.store.prisma.streamEvent.findMany({ orderBy: { jti: 'asc' } });
    const forget = () => harness.store.run(statement('DELETE FROM stream_event'), []);

    test('where no stream wants it, the end of a session writes nothing; with one, it costs no more', async () => {
      const cost = async (toldOfEnds: string[]) => {
        const { sessionId } = await harness.open();
        const before = harness.store.roundTrips();
        await endSession({ ...harness.ending, toldOfEnds }, harness.end(sessionId));
        return harness.store.roundTrips() - before;
      };
      const without = await cost([]);
      assert.deepEqual(await rows(), []);
      assert.equal(await cost(['one', 'two']), without);
      assert.deepEqual(
        (await rows()).map(({ stream: to }) => to),
        ['one', 'two'],
      );
      await forget();
    });

    test('every reason for an end is told with who brought it about, in words of its list', async () => {
      for (const reason of codesOf(endReasons)) {
        const { sessionId } = await harness.open();
        await endSession({ ...harness.ending, toldOfEnds: ['one'] }, harness.end(sessionId, reason));
        const [told, ...more] = await read(one);
        assert.equal(more.length, 0);
        const [payload] = Object.values(told!.claims.events as { [type: string]: { [member: string]: unknown } });
        assert.deepEqual(payload!.reason_admin, { en: `${reason}: ${endReasons[reason].words}` });
        assert.match(String(payload!.initiating_entity), /^(admin|user|policy|system)$/);
        await forget();
      }
    });

    test('an end that is rolled back is told to nobody', async () => {
      const { sessionId } = await harness.open();
      const run = harness.store.run.bind(harness.store);
      // Fails once all of it has been written.
      const torn = (text: string) => text.replace('SELECT id, child_count FROM', 'SELECT 1 / (child_count * 0) FROM');
      const dying: Store = {
        ...harness.store,
        run: (what, values) =>
          run(what.name === 'session_end' ? { name: 'test_torn', text: torn(what.text) } : what, values),
      };
      await assert.rejects(
        endSession({ ...harness.ending, store: dying, toldOfEnds: ['one'] }, harness.end(sessionId)),
        /division by zero/,
      );
      assert.deepEqual([await rows(), (await harness.session(sessionId)).endedAt], [[], null]);
    });

    test('suspensions: once, whoever looks; each stream what it wants; a new stream what holds', async () => {
      await harness.register('suspect');
      const { store, clock } = harness;
      const look = (...streams: EventStream[]) => watchSuspensions(store, streams, clock.now());
      const told = async () => (await rows()).map(({ jti }) => jti);
      await look(one, two);
      assert.deepEqual(await told(), []);
      const locks = { ...harness.ending, clock, providers: harness.providers };
      const set = (level: 'agent' | 'owner' | 'everything' | 'provider', subject: string) =>
        setLock(locks, { level, subject }, { reason: 'x', admin: admin('first'), requestId: null });
      const lift = (id: string) => liftLock(harness, { id, reason: 'x', admin: admin('second'), requestId: null });
      const first = await set('agent', 'suspect');
      await Promise.all([look(one, two), look(one, two)]);
      await look(one, two);
      assert.deepEqual(await told(), ['one.account-disabled.suspect.1']);
      // Two reasons, and then one of them: it is suspended still. A provider suspends no agent.
      const second = await set('owner', 'team:billing');
      await set('provider', 'plain');
      await lift(first);
      await look(one, two);
      assert.deepEqual(
        (await told()).filter((jti) => jti.includes('suspect')),
        ['one.account-disabled.suspect.1'],
      );
      const late = stream('late', ['account-disabled']);
      await look(one, two, late);
      assert.ok((await told()).includes('late.account-disabled.suspect.1'));
      await lift(second);
      await Promise.all([look(one, two, late), look(one, two, late)]);
      assert.deepEqual(
        (await told()).filter((jti) => jti.includes('suspect')),
        [
          'late.account-disabled.suspect.1',
          'one.account-disabled.suspect.1',
          'one.account-enabled.suspect.2',
          'two.account-enabled.suspect.2',
        ],
      );
      // Of one agent the first alone, until it is taken.
      const ofOne = (await read(one)).filter(({ jti }) => jti.includes('suspect'));
      assert.deepEqual(
        ofOne.map(({ jti }) => jti),
        ['one.account-disabled.suspect.1'],
      );
      await forget();
      // Whoever changes what is remembered has told what is true.
      await store.run(statement(`UPDATE told_suspension SET suspended = true WHERE stream = 'one'`), []);
      await look(one);
      assert.ok((await told()).every((jti) => jti.startsWith('one.account-enabled.')));
      await forget();
    });

    test('an agent that opens nothing because its owner is gone is suspended, until it is taken over', async () => {
      const { store, clock } = harness;
      await harness.register('orphan');
      const look = async () => {
        await watchSuspensions(store, [one], clock.now());
        const told = (await read(one)).filter(({ jti }) => jti.includes('orphan'));
        await forget();
        return told.map(({ jti, claims }) => [jti, Object.values(claims.events as object)[0].reason_admin.en]);
      };
      await look();
      const mark = (owner: string | null) =>
        store.run(statement('UPDATE agent SET stopped_owner = $1::text WHERE name = $2::text'), [owner, 'orphan']);
      await mark('team:billing');
      await assert.rejects(harness.open({ agent: 'orphan' }), { code: 'owner_gone' });
      assert.deepEqual(await look(), [
        ['one.account-disabled.orphan.1', 'owner_gone: its owner is gone, and nobody took it over'],
      ]);
      // The mark names another owner than the manifest in force: it means nothing.
      await mark('team:others');
      await harness.open({ agent: 'orphan' });
      assert.deepEqual(await look(), [['one.account-enabled.orphan.2', 'ended: it may open sessions again']]);
    });
  });
