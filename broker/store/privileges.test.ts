/**
 * First starts, other releases, other roles: who may start, who waits, who is refused, and in which words.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { until } from '../until.test-support.ts';
import { migrationsCheck, writesFault } from './check-database.ts';
import { openStore } from './open.ts';
import { createTestDatabase, testBackends } from './store.test-support.ts';

type TestDatabase = Awaited<ReturnType<typeof createTestDatabase>>;
const names = (await readdir(join(import.meta.dirname, '../../prisma/migrations')))
  .filter((name) => !name.endsWith('.toml'))
  .sort();

async function asOwner<Row>(url: string, ...statements: string[]): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    let rows: Row[] = [];
    for (const statement of statements) rows = (await client.query(statement)).rows as Row[];
    return rows;
  } finally {
    await client.end();
  }
}
const newRole = () => `writ_test_${randomBytes(6).toString('hex')}`;
const as = (role: string, url: string) => Object.assign(new URL(url), { username: role }).href;

describe('the schema', { skip: !(await testBackends()).includes('postgres') && 'needs PostgreSQL' }, () => {
  let database: TestDatabase;
  before(async () => {
    database = await createTestDatabase('empty');
  });
  after(() => database.drop());
  const applied = (schema: string) =>
    asOwner<{ name: string; checksum: string }>(
      database.direct,
      `SELECT migration_name AS name, checksum FROM "${schema}"._prisma_migrations ORDER BY 1`,
    );

  test('is made once, by whichever of several first starts comes first', async () => {
    // A default under which whoever has waited would not see what the one before has made.
    const name = new URL(database.direct).pathname.slice(1);
    await asOwner(database.direct, `ALTER DATABASE ${name} SET default_transaction_isolation = 'serializable'`);
    const open = () => openStore({ databaseUrl: database.direct, dataDir: null, schema: 'public', poolSize: 1 });
    const stores = await Promise.all(Array.from({ length: 6 }, open));
    await Promise.all(stores.map((store) => store.close()));
    assert.deepEqual(
      (await applied('public')).map(({ name }) => name),
      names,
    );
    await asOwner(database.direct, `ALTER DATABASE ${name} RESET default_transaction_isolation`);
  });

  test('is made in no database whose characters are bytes, or of one alphabet; the words say what to make', async () => {
    for (const encoding of ['SQL_ASCII', 'LATIN1']) {
      const name = `${new URL(database.direct).pathname.slice(1)}_${encoding.toLowerCase()}`;
      await asOwner(
        database.direct,
        `CREATE DATABASE ${name} ENCODING '${encoding}' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`,
      );
      const databaseUrl = Object.assign(new URL(database.direct), { pathname: `/${name}` }).href;
      try {
        await assert.rejects(openStore({ databaseUrl, dataDir: null }), {
          message: new RegExp(`encoding ${encoding}, .* UTF8: .*CREATE DATABASE .*DATABASE_URL`),
        });
      } finally {
        await asOwner(database.direct, `DROP DATABASE ${name} WITH (FORCE)`);
      }
    }
  });

  test('is made by a role that may make nothing else, where it is there already', async () => {
    const role = newRole();
    await asOwner(database.direct, `CREATE ROLE ${role} LOGIN`, `CREATE SCHEMA ours AUTHORIZATION ${role}`);
    const store = await openStore({
      databaseUrl: as(role, database.direct),
      dataDir: null,
      schema: 'ours',
      poolSize: 1,
    });
    assert.equal(await writesFault(store), null);
    await store.close();
    await asOwner(database.direct, `DROP OWNED BY ${role} CASCADE`, `DROP ROLE ${role}`);
  });

  test('is used by a role without any right to change it; one that lacks migrations is refused by their names', async () => {
    const role = newRole();
    await asOwner(
      database.direct,
      `CREATE ROLE ${role} LOGIN`,
      `REVOKE ALL ON SCHEMA public FROM PUBLIC`,
      `GRANT USAGE ON SCHEMA public TO ${role}`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${role}`,
    );
    const open = () => openStore({ databaseUrl: as(role, database.direct), dataDir: null, poolSize: 2 });
    const store = await open();
    assert.equal(await writesFault(store), null);
    assert.equal(await migrationsCheck(store)(), null);
    await asOwner(database.direct, `REVOKE INSERT ON lease FROM ${role}`);
    assert.match((await writesFault(store))!, /may not write lease: run/);
    await asOwner(database.direct, `GRANT INSERT ON lease TO ${role}`);
    // Whatever of it the next request would miss.
    for (const [right, on, words] of [
      ['SELECT', 'signing_key', 'read signing_key'],
      ['INSERT', 'review', 'write review'],
      ['DELETE', 'replay', 'delete from replay'],
      ['UPDATE', 'session', 'change session'],
      ['SELECT, INSERT', 'monitor_cell', 'read monitor_cell, write monitor_cell'],
      ['EXECUTE', 'FUNCTION writ_moved_on()', 'call writ_moved_on'],
    ]) {
      await asOwner(database.direct, `REVOKE ${right} ON ${on} FROM ${role}, PUBLIC`);
      assert.equal(
        await writesFault(store),
        `the role of DATABASE_URL may not ${words}: run \`writ database prepare\``,
      );
      await asOwner(database.direct, `GRANT ${right} ON ${on} TO ${role}`);
    }
    await asOwner(
      database.direct,
      `REVOKE UPDATE ON grants FROM ${role}`,
      `GRANT UPDATE (status, plan) ON grants TO ${role}`,
    );
    assert.match((await writesFault(store))!, /may not change grants: run/, 'a right on some columns is not all of it');
    await asOwner(database.direct, `GRANT UPDATE ON grants TO ${role}`, 'ALTER TABLE pool_slot RENAME TO elsewhere');
    assert.match((await writesFault(store))!, /read pool_slot/, 'a table that is gone');
    await asOwner(database.direct, 'ALTER TABLE elsewhere RENAME TO pool_slot');
    assert.equal(await writesFault(store), null);
    await asOwner(database.direct, `REVOKE USAGE ON SCHEMA public FROM ${role}`);
    assert.match((await writesFault(store))!, /may not call writ_asked, .* and \d+ more: run/);
    await asOwner(database.direct, `GRANT USAGE ON SCHEMA public TO ${role}`);
    await asOwner(database.direct, `REVOKE SELECT ON _prisma_migrations FROM ${role}`);
    await assert.rejects(open(), /may not see which migrations .*: run `writ database prepare`/);
    await asOwner(database.direct, `GRANT SELECT ON _prisma_migrations TO ${role}`);
    await asOwner(
      database.direct,
      `CREATE TABLE saved AS SELECT * FROM _prisma_migrations WHERE migration_name = '${names.at(-1)}'`,
      `DELETE FROM _prisma_migrations WHERE migration_name = '${names.at(-1)}'`,
    );
    await assert.rejects(open(), (error: Error) => {
      assert.ok(
        error.message.includes(names.at(-1)!) && error.message.includes('writ database prepare'),
        error.message,
      );
      return true;
    });
    assert.match((await migrationsCheck(store)())!, /lacks migrations/);
    await store.close();
    await asOwner(database.direct, `DROP OWNED BY ${role} CASCADE`, `DROP ROLE ${role}`);
    await asOwner(database.direct, 'INSERT INTO _prisma_migrations SELECT * FROM saved', 'DROP TABLE saved');
    const owner = await openStore({ databaseUrl: database.direct, dataDir: null, poolSize: 1 });
    assert.equal(await migrationsCheck(owner)(), null);
    await owner.close();
  });

  test('waits for another’s migration as long as that lasts, and says so', async () => {
    const holder = new pg.Client({ connectionString: database.direct });
    await holder.connect();
    // As Prisma's own tools, and releases of before, hold it.
    await holder.query('SELECT pg_advisory_lock(72707369)');
    const said: string[] = [];
    const opening = openStore({
      databaseUrl: database.direct,
      dataDir: null,
      schema: 'waited_for',
      poolSize: 1,
      say: (message) => said.push(message),
    });
    await until('it says that it waits', () => said.length > 0);
    assert.deepEqual(said, ['another process is migrating the database: waiting until it has finished']);
    await holder.end();
    await (await opening).close();
    assert.equal(said[1], 'the other migration has finished: going on');
    assert.deepEqual(
      (await applied('waited_for')).map(({ name }) => name),
      names,
    );
  });

  test('that is newer than the release is refused by name, at the start and when it appears', async () => {
    const store = await openStore({ databaseUrl: database.direct, dataDir: null, poolSize: 1 });
    const fault = migrationsCheck(store);
    assert.equal(await fault(), null);
    await asOwner(
      database.direct,
      `INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name) VALUES ('x', 'x', now(), '20990101000000_of_later')`,
    );
    const words = /newer than this release of Writ.*20990101000000_of_later/;
    assert.match((await fault())!, words);
    await store.close();
    await assert.rejects(openStore({ databaseUrl: database.direct, dataDir: null, poolSize: 1 }), words);
    await asOwner(database.direct, `UPDATE _prisma_migrations SET rolled_back_at = now() WHERE id = 'x'`);
    await (await openStore({ databaseUrl: database.direct, dataDir: null, poolSize: 1 })).close();
  });

  test('of a migration that was begun and not finished is refused by name', async () => {
    await asOwner(
      database.direct,
      `INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('y', 'y', '20261126990000_half')`,
    );
    await assert.rejects(
      openStore({ databaseUrl: database.direct, dataDir: null, poolSize: 1 }),
      /did not finish \(20261126990000_half\)/,
    );
  });
});
