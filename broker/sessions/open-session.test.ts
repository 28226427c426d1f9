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
          principal: { agent, subject: {}, startedBy: null, onBehalfOf: null, responsible: null, replay: null },
          declaration: { task_type, inputs: {}, on_behalf_of: null, envelope: {} },
          jkt: null,
          proof: null,
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
      await assert.rejects(more('none'), (error: WritError) => error.code === 'invalid_authorization_details');
    } finally {
      await harness.close();
    }
  });
}
