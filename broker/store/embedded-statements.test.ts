/** Statements on the embedded database: prepared once, in the thread and in memory alike. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openStore, type Store } from './open.ts';
import { layMigrated, migratedImage } from './store.test-support.ts';

const addAgent = { name: 'add', text: 'INSERT INTO agent (name, version) VALUES ($1, $2) RETURNING name' };
const plansOf = {
  name: 'plans',
  text: 'SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1',
};

for (const where of ['in a thread', 'in memory'] as const) {
  describe(where, () => {
    let folder: string;
    let store: Store;
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'writ-statements-'));
      const dataDir = join(folder, 'data');
      if (where === 'in a thread') await layMigrated(dataDir);
      store = await openStore(
        where === 'in memory'
          ? { databaseUrl: null, dataDir: null, image: await migratedImage() }
          : { databaseUrl: null, dataDir },
      );
    });
    after(async () => {
      await store.close();
      await rm(folder, { recursive: true, force: true });
    });

    test('one preparation and one plan serve every call, whatever the values', async () => {
      const twice = { name: 'twice', text: 'SELECT $1::int * 2 AS twice, $2::text AS word' };
      for (let n = 0; n < 7; n += 1) {
        assert.deepEqual(await store.run(twice, [n, `w${n}`]), [{ twice: 2 * n, word: `w${n}` }]);
      }
      assert.deepEqual(await store.run(plansOf, [twice.text]), [{ generic_plans: 7, custom_plans: 0 }]);
    });

    test('what names have in common makes no two statements one', async () => {
      const long = 'n'.repeat(63);
      assert.deepEqual(await store.run({ name: `${long}a`, text: 'SELECT 1 AS one' }, []), [{ one: 1 }]);
      assert.deepEqual(await store.run({ name: `${long}b`, text: 'SELECT 2 AS two' }, []), [{ two: 2 }]);
      assert.deepEqual(await store.run({ name: `${long}b`, text: 'SELECT 3 AS two' }, []), [{ two: 3 }]);
    });

    test('a call that fails takes nothing else along, and neither does a statement that cannot be prepared', async () => {
      await store.run(addAgent, ['one', 1]);
      const later = { name: 'later', text: 'SELECT count(*)::int AS count FROM comes_later' };
      const outcomes = await Promise.allSettled([
        store.run(addAgent, ['one', 1]),
        store.run(later, []),
        store.run(addAgent, ['no number', 'x']),
        store.run(addAgent, ['two', 2]),
      ]);
      const said = outcomes.map((one) =>
        one.status === 'fulfilled' ? one.value : (one.reason as { code: string }).code,
      );
      assert.deepEqual(said, ['23505', '42P01', '22P02', [{ name: 'two' }]]);
      await store.run({ name: 'comes', text: 'CREATE TABLE comes_later (n int)' }, []);
      assert.deepEqual(await store.run(later, []), [{ count: 0 }]);
    });

    test('a transaction of Prisma that is undone undoes nothing that is asked for meanwhile', async () => {
      let meanwhile: Promise<unknown> = Promise.resolve();
      await assert.rejects(
        store.prisma.$transaction(async (tx) => {
          await tx.agent.create({ data: { name: 'undone', version: 1 } });
          meanwhile = store.run(addAgent, ['stays', 1]);
          await tx.agent.count();
          throw new Error('no');
        }),
        /no/,
      );
      await meanwhile;
      const names = (await store.prisma.agent.findMany({ orderBy: { name: 'asc' } })).map(({ name }) => name);
      assert.deepEqual(
        names.filter((name) => ['stays', 'undone'].includes(name)),
        ['stays'],
      );
    });
  });
}
