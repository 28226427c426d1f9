import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WritError } from '../core/errors.ts';
import { agent, openHarness, start } from '../harness.test-support.ts';
import { publishManifest } from '../manifests/publish.ts';
import { testBackends } from '../store/store.test-support.ts';
import { openSession } from './open-session.ts';

for (const backend of await testBackends()) {
  test(`${backend}: a manifest replaced by another process holds from the next session on, and uses nothing up`, async () => {
    const harness = await openHarness(backend, { providers: [{ name: 'one' }] });
    try {
      const { store, clock, shapes } = harness;
      await harness.open();
      const trips = store.roundTrips();
      await harness.open();
      assert.equal(store.roundTrips() - trips, 1, 'what was seen last is checked in the statement that opens');

      // As another process would: this one is not told.
      const { source } = await store.prisma.manifest.findFirstOrThrow({ where: { agent, version: 1 } });
      const narrower = source.replace('wall_time: 30m', 'wall_time: 1m');
      const publication = { author: 'tester', reason: 'test', agent: null, expectedVersion: 1, requestId: null };
      await publishManifest(store, clock, shapes, { ...publication, source: narrower });
      const replay = { key: 'jti:once', expiresAt: new Date(start.getTime() + 600_000) };
      const { sessionId } = await harness.open({ replay });
      const session = await store.prisma.session.findUniqueOrThrow({ where: { id: sessionId } });
      assert.equal(session.manifestVersion, 2);
      assert.equal(
        session.expiresAt.getTime() - session.openedAt.getTime(),
        60_000,
        'the new envelope, not the old one',
      );
      await assert.rejects(harness.open({ replay }), (error: WritError) => error.code === 'invalid_grant');

      // A task type that the version seen last lacks is not refused by it.
      const wider = narrower.replace('task_types:', 'task_types:\n  more: { description: More., inputs: {} }');
      await publishManifest(store, clock, shapes, { ...publication, expectedVersion: 2, source: wider });
      const more = (task_type: string) =>
        openSession(harness.opening, {
          principal: { agent, subject: {}, startedBy: null, onBehalfOf: null, responsible: null, shown: [] },
          declaration: { task_type, inputs: {}, on_behalf_of: null, envelope: {} },
          jkt: null,
          shown: [],
          narrowedTo: null,
          child: null,
          requestId: null,
        });
      assert.equal((await more('more')).agent, agent);

      // Of what the platform attests, the rules' part stays with the session, and with its children.
      const rule = "rules: [{ id: a, on: '*', when: { attested: { ref: main } }, effect: deny }]\n";
      await publishManifest(store, clock, shapes, { ...publication, expectedVersion: 3, source: wider + rule });
      const attesting = await harness.open({ claims: { ref: 'main', actor: 'x' } });
      const { subject } = await store.prisma.session.findUniqueOrThrow({ where: { id: attesting.sessionId } });
      assert.deepEqual((subject as { attested?: object }).attested, { ref: 'main' });
      for (const text of ['a\u0000b', '\ud800x'])
        for (const value of [text, ['main', text]])
          await assert.rejects(
            harness.open({ claims: { ref: value } }),
            (error: WritError) => error.code === 'invalid_grant' && /claim "ref"/.test(error.message),
          );
      const several = await harness.open({ claims: { ref: ['main', { deep: 'a\u0000b' }, 7] } });
      const kept = await store.prisma.session.findUniqueOrThrow({ where: { id: several.sessionId } });
      assert.deepEqual((kept.subject as { attested?: object }).attested, { ref: ['main', 7] });
      await assert.rejects(more('none'), (error: WritError) => error.code === 'invalid_authorization_details');
    } finally {
      await harness.close();
    }
  });

  test(`${backend}: a platform’s token counts for the key that showed it first`, async () => {
    const harness = await openHarness(backend, { providers: [{ name: 'one' }] });
    try {
      const expiresAt = new Date(harness.clock.now().getTime() + 60_000);
      const show = (key: string, jkt?: string, sameKey = true) =>
        harness.open({
          ...(jkt === undefined ? {} : { jkt }),
          replay: { key, expiresAt, ...(jkt !== undefined && sameKey ? { boundTo: jkt } : {}) },
        });
      const [own, thief] = ['A'.repeat(43), 'B'.repeat(43)];
      const usedBefore = (error: WritError) => error.code === 'invalid_grant' && /used before/.test(error.message);

      // Many at once, as a pool of one workload does; and the thief among them.
      assert.equal((await Promise.all(Array.from({ length: 8 }, () => show('jti:a', own)))).length, 8);
      await assert.rejects(show('jti:a', thief), usedBefore);
      await assert.rejects(show('jti:a'), usedBefore);
      await show('jti:a', own);
      // Whoever is first has it, one alone, however they come.
      const raced = await Promise.allSettled([own, thief, own, thief].map((jkt) => show('jti:b', jkt)));
      assert.deepEqual(
        raced.map(({ status }) => status === 'fulfilled'),
        [true, false, true, false],
      );
      // What has no key, or counts once, counts once; also for what comes with a key later.
      await show('jti:c');
      await assert.rejects(show('jti:c'), usedBefore);
      await assert.rejects(show('jti:c', own), usedBefore);
      await show('jti:d', own, false);
      await assert.rejects(show('jti:d', own, false), usedBefore);
      await assert.rejects(show('jti:d', own), usedBefore);
    } finally {
      await harness.close();
    }
  });
}
