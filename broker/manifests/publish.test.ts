import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pino from 'pino';
import { manualClock } from '../core/clock.ts';
import { WritError } from '../core/errors.ts';
import type { Store } from '../store/open.ts';
import { openTestStore, testBackends } from '../store/store.test-support.ts';
import { createCatalog } from './catalog.ts';
import { exampleProviders, exampleSource } from './example.test-support.ts';
import { manifestAt, publishManifest } from './publish.ts';
import { publishFolder } from './publish-folder.ts';

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;
const agent = 'invoice-bot';

for (const backend of await testBackends()) {
  describe(`publishing on ${backend}`, () => {
    let store: Store;
    const start = new Date('2026-03-01T12:00:00Z');
    const clock = manualClock(start);
    before(async () => {
      store = await openTestStore(backend);
    });
    after(() => store.close());
    const publish = (source: string, expectedVersion: number | null, named: string | null = agent) =>
      publishManifest(store, clock, exampleProviders, {
        source,
        author: 'owner@example.com',
        reason: 'because',
        agent: named,
        expectedVersion,
        requestId: 'req_1',
      });

    test('of two first publishers at once, one wins; the other is told', async () => {
      const both = await Promise.allSettled([publish(exampleSource, 0), publish(`${exampleSource}# other\n`, 0)]);
      assert.deepEqual(both.map((one) => one.status).toSorted(), ['fulfilled', 'rejected']);
      for (const one of both) if (one.status === 'rejected') assert.ok(code('precondition_failed')(one.reason));
      assert.equal(await store.prisma.manifest.count(), 1);
    });

    test('a fault, a wrong version or another agent’s name leaves the version in force', async () => {
      await assert.rejects(publish('agent: [', 1), code('invalid_manifest'));
      await assert.rejects(publish(exampleSource, 7), code('precondition_failed'));
      await assert.rejects(publish(exampleSource, 1, 'another-bot'), code('invalid_manifest'));
      assert.equal((await createCatalog(store).current(agent))?.version, 1);
      assert.equal(await store.prisma.auditEvent.count({ where: { type: 'manifest.published' } }), 1);
    });

    test('another process decides on a new version with its next look; what held at a time is one query', async () => {
      const here = createCatalog(store);
      const there = createCatalog(store);
      assert.equal((await there.current(agent))?.version, 1);
      clock.advance(60_000);
      const second = await publish(`${exampleSource}# second\n`, 1);
      assert.deepEqual([second.version, second.outcome], [2, 'published']);
      assert.equal((await there.current(agent))?.sha256, second.sha256);
      assert.equal((await here.version(agent, 1)).version, 1);
      await assert.rejects(here.version(agent, 99), code('unavailable'));
      assert.equal(await here.current('nobody'), null);
      const versionAt = async (ms: number) => (await manifestAt(store, agent, new Date(start.getTime() + ms)))?.version;
      assert.deepEqual(
        await Promise.all([versionAt(-1), versionAt(0), versionAt(59_999), versionAt(60_000), versionAt(1e9)]),
        [undefined, 1, 1, 2, 2],
      );
      assert.deepEqual(await publish(`${exampleSource}# second\n`, 2), { ...second, outcome: 'unchanged' });
    });

    test('a restart does not put back in force what was replaced; publishing it anew does', async () => {
      // Whichever of the two first publishers won.
      const { source } = await store.prisma.manifest.findUniqueOrThrow({
        where: { agent_version: { agent, version: 1 } },
      });
      const folder = {
        source,
        author: 'folder',
        reason: 'start',
        agent: null,
        expectedVersion: null,
        requestId: null,
      };
      const left = await publishManifest(store, clock, exampleProviders, { ...folder, unlessPublishedBefore: true });
      assert.deepEqual([left.outcome, left.version], ['superseded', 2]);
      // The folder says so at start: which file, why, and how to go back to it.
      const place = await mkdtemp(join(tmpdir(), 'writ-folder-'));
      const lines: string[] = [];
      const log = pino({ base: null }, { write: (line: string) => void lines.push(line) });
      const deps = { folder: place, store, clock, shapes: exampleProviders, review: false, log, random: () => 0.5 };
      const started = async () => {
        lines.length = 0;
        const folderNow = await publishFolder(deps);
        await folderNow.stop();
        return folderNow;
      };
      await writeFile(join(place, 'bot.yaml'), source);
      assert.match(
        (await started()).leftOut() ?? '',
        /^in force before, and replaced since: bot\.yaml; to go back: npx/,
      );
      assert.match(
        lines.join(''),
        /replaced it, and a restart puts nothing back\. To go back.*writ manifest publish \S+bot\.yaml/,
      );
      assert.equal((await publish(source, 2)).version, 3);
      assert.equal((await started()).leftOut(), null, 'it is in force again');
      await rm(place, { recursive: true });
    });
  });
}
