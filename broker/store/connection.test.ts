/** What a connection relies on, whatever the server, the database, the role, the URL or a pooler has set. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { databaseClock } from './database-clock.ts';
import { openStore, type Store } from './open.ts';
import { type Bouncer, pgbouncerIsHere, startPgbouncer } from './pgbouncer.test-support.ts';
import { applyPreparation, planPreparation } from './prepare.ts';
import { createTestDatabase, testBackends, testDatabaseUrl } from './store.test-support.ts';

type TestDatabase = Awaited<ReturnType<typeof createTestDatabase>>;

/** Defaults of a server elsewhere: each would change what a statement means or how an answer is read. */
const foreign = {
  TimeZone: 'America/New_York',
  DateStyle: 'SQL, DMY',
  IntervalStyle: 'iso_8601',
  bytea_output: 'escape',
  array_nulls: 'off',
  transform_null_equals: 'on',
  default_transaction_isolation: 'serializable',
  standard_conforming_strings: 'off',
  synchronous_commit: 'off',
  search_path: 'elsewhere',
  statement_timeout: '0',
  plan_cache_mode: 'auto',
  extra_float_digits: '-15',
  gin_fuzzy_search_limit: '1',
  exit_on_error: 'on',
  lock_timeout: '1ms',
  idle_session_timeout: '1s',
};

async function asOwner(url: string, ...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}
const nameOf = (url: string) => new URL(url).pathname.slice(1);
const setForDatabase = (url: string, settings: { [name: string]: string }) =>
  asOwner(
    url,
    ...Object.entries(settings).map(([name, value]) => `ALTER DATABASE ${nameOf(url)} SET ${name} = '${value}'`),
  );

/** Writes and reads as the broker does, on every way there is. */
async function assertServes(store: Store): Promise<void> {
  const at = new Date('2026-07-01T23:30:00.123Z');
  await store.run(
    { name: 'test_agent', text: 'INSERT INTO agent (name, version) VALUES ($1, 1) ON CONFLICT DO NOTHING' },
    ['a'],
  );
  await store.run(
    {
      name: 'test_key',
      text: `INSERT INTO signing_key (kid, public_jwk, private_jwe, created_at, active_from) VALUES ($1, '{}', '', $2, $2) ON CONFLICT (kid) DO UPDATE SET created_at = $2`,
    },
    ['k', at],
  );
  const read = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const [row] = await store.run<{
        created_at: Date;
        json: { at: string };
        nulls: (string | null)[];
        equal: boolean | null;
      }>(
        {
          name: 'test_read',
          text: `SELECT created_at, json_build_object('at', created_at) AS json, $1::text[] AS nulls, NULL = NULL::text AS equal, 'a\\b' AS backslash FROM signing_key WHERE kid = 'k'`,
        },
        [['x', null]],
      );
      const viaPrisma = await store.prisma.signingKey.findFirstOrThrow({ where: { kid: 'k', createdAt: at } });
      return { ...row, viaPrisma: viaPrisma.createdAt };
    }),
  );
  for (const row of read) {
    assert.deepEqual(row, {
      created_at: at,
      json: { at: '2026-07-01T23:30:00.123+00:00' },
      nulls: ['x', null],
      equal: null,
      backslash: 'a\\b',
      viaPrisma: at,
    });
  }
  const event = `INSERT INTO audit_event (chain, at, type, actor, payload) VALUES ('z', $1, 'test', 'test', '{}') RETURNING hash`;
  const [written] = await store.run<{ hash: string }>({ name: 'test_event', text: event }, [at]);
  assert.match(written!.hash, /^[0-9a-f]{64}$/);
}

if ((await testBackends()).includes('postgres')) {
  describe('a connection', () => {
    let database: TestDatabase;
    before(async () => {
      database = await createTestDatabase();
      await setForDatabase(database.direct, foreign);
    });
    after(() => database.drop());

    test('sets what is relied on, whatever the database has as its defaults', async () => {
      const store = await openStore({ databaseUrl: database.direct, dataDir: null });
      await assertServes(store);
      const show = async (name: string) =>
        (
          await store.run<{ value: string }>(
            { name: `test_${name}`, text: `SELECT current_setting('${name}') AS value` },
            [],
          )
        )[0]!.value;
      assert.equal(await show('synchronous_commit'), 'on');
      assert.equal(await show('plan_cache_mode'), 'force_generic_plan');
      assert.equal(await show('statement_timeout'), '15s');
      assert.equal(await show('row_security'), 'off');
      assert.equal(await show('gin_fuzzy_search_limit'), '0');
      assert.equal(await show('lock_timeout'), '0');
      assert.equal(await show('idle_session_timeout'), '0');
      assert.ok(
        Math.abs((await databaseClock(store)).getTime() - Date.now()) < 60_000,
        'not a digit of a time is lost',
      );
      await store.close();
    });

    test('options of the URL take the place of nothing', async () => {
      const url = new URL(database.direct);
      url.searchParams.set('options', '-c search_path=elsewhere -c TimeZone=Asia/Tokyo -c plan_cache_mode=auto');
      const store = await openStore({ databaseUrl: url.href, dataDir: null });
      await assertServes(store);
      await store.close();
    });

    test('that cannot be made to hold keeps the store from opening, with the words that make it hold', async () => {
      // What only a superuser may set stands for what a pooler loses: set for a role that may not.
      const role = `writ_test_${randomBytes(6).toString('hex')}`;
      await asOwner(
        database.direct,
        `CREATE ROLE ${role} LOGIN`,
        `ALTER ROLE ${role} SET session_replication_role = replica`,
        `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${role}`,
      );
      const url = Object.assign(new URL(database.direct), { username: role }).href;
      await assert.rejects(openStore({ databaseUrl: url, dataDir: null }), (error: Error) => {
        assert.match(error.message, /session_replication_role is 'replica' and must be 'origin'/);
        assert.ok(error.message.includes(`ALTER ROLE ${role} SET session_replication_role = 'origin'`), error.message);
        return true;
      });
      await asOwner(database.direct, `DROP OWNED BY ${role}`, `DROP ROLE ${role}`);
    });
  });

  describe('through PgBouncer', { skip: !pgbouncerIsHere() && 'pgbouncer is not installed' }, () => {
    let database: TestDatabase;
    const role = `writ_test_${randomBytes(6).toString('hex')}`;
    before(async () => {
      database = await createTestDatabase();
      await setForDatabase(database.direct, { TimeZone: foreign.TimeZone, DateStyle: foreign.DateStyle });
      await asOwner(
        database.direct,
        `CREATE ROLE ${role} LOGIN`,
        `GRANT ALL ON DATABASE ${nameOf(database.direct)} TO ${role}`,
      );
    });
    after(async () => {
      await asOwner(database.direct, `DROP OWNED BY ${role} CASCADE`, `DROP ROLE ${role}`);
      await database.drop();
    });
    const withBouncer = async (
      mode: 'session' | 'transaction' | 'statement',
      more: string[],
      work: (bouncer: Bouncer) => Promise<void>,
    ): Promise<void> => {
      const bouncer = await startPgbouncer(testDatabaseUrl, mode, [role], more);
      try {
        await work(bouncer);
      } finally {
        await bouncer.stop();
      }
    };

    for (const mode of ['session', 'transaction'] as const) {
      for (const more of [[], ['server_round_robin = 1'], ['ignore_startup_parameters = options,extra_float_digits']]) {
        test(`in ${mode} mode (${more.join() || 'defaults'}): serves`, async () => {
          await withBouncer(mode, more, async (bouncer) => {
            const said: string[] = [];
            const store = await openStore({
              databaseUrl: bouncer.through(database.direct),
              dataDir: null,
              poolSize: 4,
              say: (message) => said.push(message),
            });
            await assertServes(store);
            // More at once than there are connections, so that each runs on another's.
            await Promise.all(Array.from({ length: 30 }, () => assertServes(store)));
            assert.equal(
              said.some((line) => line.includes('shares connections')),
              mode === 'transaction',
            );
            await store.close();
          });
        });
      }
    }

    test('in transaction mode with another schema: refused until the role has it, and migrated through the pooler', async () => {
      await withBouncer('transaction', [], async (bouncer) => {
        const url = Object.assign(new URL(bouncer.through(database.direct)), { username: role }).href;
        const open = () => openStore({ databaseUrl: url, dataDir: null, schema: 'of_writ' });
        await assert.rejects(open(), (error: Error) => {
          assert.match(error.message, /search_path is .* and must be 'of_writ'/);
          assert.ok(error.message.includes(`ALTER ROLE ${role} SET search_path = 'of_writ';`), error.message);
          return true;
        });
        await asOwner(database.direct, `ALTER ROLE ${role} SET search_path = 'of_writ'`);
      });
      await withBouncer('transaction', [], async (bouncer) => {
        const url = Object.assign(new URL(bouncer.through(database.direct)), { username: role }).href;
        const store = await openStore({ databaseUrl: url, dataDir: null, schema: 'of_writ' });
        await assertServes(store);
        await store.close();
      });
    });

    test('in transaction mode, with a default of the role that loses digits: refused, in words', async () => {
      const reset = `ALTER DATABASE ${nameOf(database.direct)} RESET extra_float_digits`;
      const open = (bouncer: Bouncer) =>
        openStore({ databaseUrl: bouncer.through(database.direct), dataDir: null, poolSize: 1 });
      await setForDatabase(database.direct, { extra_float_digits: '-3' });
      await withBouncer('transaction', [], (bouncer) =>
        assert.rejects(open(bouncer), /extra_float_digits is '-3' and must be '1'/),
      );
      // What other drivers want is as good.
      await setForDatabase(database.direct, { extra_float_digits: '3' });
      await withBouncer('transaction', [], async (bouncer) => (await open(bouncer)).close());
      await asOwner(database.direct, reset);
    });

    test('in statement mode: refused, in words', async () => {
      const empty = await createTestDatabase('empty');
      for (const one of [database, empty])
        await withBouncer('statement', [], (bouncer) =>
          assert.rejects(
            openStore({ databaseUrl: bouncer.through(one.direct), dataDir: null }),
            /takes no transactions.*set pool_mode = transaction/,
          ),
        );
      await empty.drop();
    });

    test('in transaction mode: nothing is prepared, because who one has become would stay for others', async () => {
      const roles = { migrationRole: `${role}_m`, runtimeRole: `${role}_r`, runtimePassword: null };
      await withBouncer('transaction', [], async (bouncer) => {
        const options = { databaseUrl: bouncer.through(database.direct), schema: 'public', ...roles };
        for (const act of [planPreparation, applyPreparation])
          await assert.rejects(act(options), /leads through a pooler .*: give the address of the server itself/);
      });
    });

    test('in transaction mode with a pool of one: serves', async () => {
      await withBouncer('transaction', ['max_db_connections = 1'], async (bouncer) => {
        const store = await openStore({ databaseUrl: bouncer.through(database.direct), dataDir: null });
        await assertServes(store);
        await store.close();
      });
    });
  });
}
