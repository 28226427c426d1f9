/**
 * The two roles on a real server: made by an administrator without superuser too, and the second held down.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { writesFault } from './check-database.ts';
import { roleWarning } from './check-role.ts';
import { openStore } from './open.ts';
import { applyPreparation, planPreparation, UnsuitableRole } from './prepare.ts';
import { runtimeRights } from './runtime-rights.ts';
import { createPreparedDatabase, createTestDatabase, testBackends, testDatabaseUrl } from './store.test-support.ts';

const server = (await testBackends()).includes('postgres');
const skip = server ? false : 'no PostgreSQL answers';

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

describe('the runtime role', { skip }, () => {
  let database: Awaited<ReturnType<typeof createPreparedDatabase>>;
  let client: pg.Client;
  before(async () => {
    database = await createPreparedDatabase();
    client = await connect(database.runtimeUrl);
    await client.query(
      `INSERT INTO audit_event (chain, at, type, actor, payload) VALUES ('one', now(), 'test', 'tester', '{}'), ('one', now(), 'test', 'tester', '{}')`,
    );
  });
  after(async () => {
    await client.end();
    await database.drop();
  });

  test('appends to the record, whose chain is moved for it', async () => {
    const { rows } = await client.query(`SELECT chain, seq FROM audit_chain`);
    assert.deepEqual(rows, [{ chain: 'one', seq: 2 }]);
  });

  for (const sql of [
    `UPDATE audit_event SET actor = 'x'`,
    'DELETE FROM audit_event',
    'TRUNCATE audit_event',
    'TRUNCATE audit_chain',
    `UPDATE audit_chain SET seq = 1`,
    'DELETE FROM audit_chain',
    `INSERT INTO audit_chain (chain, seq, head) VALUES ('two', 0, '')`,
    'ALTER TABLE audit_event DISABLE TRIGGER USER',
    'DROP TRIGGER audit_event_append_only ON audit_event',
    `CREATE TRIGGER t BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION writ_refuse_change()`,
    'SET session_replication_role = replica',
    `CREATE OR REPLACE FUNCTION writ_audit_chain() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
    'CREATE TABLE mine (id int)',
    'CREATE TEMP TABLE audit_chain (chain text)',
    'CREATE SCHEMA mine',
    'CREATE INDEX ON audit_event (actor)',
    'ALTER TABLE session ADD COLUMN mine int',
    'DROP TABLE login',
    `UPDATE manifest SET source = ''`,
    'DELETE FROM manifest',
    `UPDATE review SET verdict = 'approve'`,
    'DELETE FROM review',
    'DELETE FROM session',
    `UPDATE session SET agent = 'another'`,
    `UPDATE session SET opened_at = now() + interval '1 year'`,
    'DELETE FROM grants',
    `UPDATE grants SET session_id = 'another'`,
    'DELETE FROM lease',
    `UPDATE login SET csrf = 'theirs'`,
    'DELETE FROM bootstrap',
    'DELETE FROM signing_key',
    `UPDATE signing_key SET public_jwk = '{}'`,
    `UPDATE _prisma_migrations SET rolled_back_at = now()`,
    `COPY audit_event TO PROGRAM 'cat'`,
  ])
    test(`may not: ${sql}`, async () => {
      await assert.rejects(client.query(sql), (error: { code?: string }) => {
        assert.equal(error.code, '42501', String(error));
        return true;
      });
    });

  test('has a column list that the schema knows, and no more', async () => {
    const { rows } = await client.query<{ name: string }>(
      `SELECT table_name || '.' || column_name AS name FROM information_schema.columns WHERE table_schema = 'public'`,
    );
    const known = new Set(rows.map(({ name }) => name));
    const listed = Object.entries(runtimeRights).flatMap(([table, { update = [] }]) =>
      update.map((one) => `${table}.${one}`),
    );
    assert.deepEqual(
      listed.filter((name) => !known.has(name)),
      [],
    );
  });

  test('opens a store whose schema is up to date', async () => {
    const store = await openStore({ databaseUrl: database.runtimeUrl, dataDir: null });
    assert.equal(await store.prisma.auditEvent.count(), 2);
    assert.equal(await roleWarning(store), null);
    await store.close();
    const owner = await openStore({ databaseUrl: database.url, dataDir: null });
    assert.match((await roleWarning(owner)) ?? '', /is a superuser.*database prepare/);
    await owner.close();
  });

  test('what is on the path of a role is not taken for ours, or the server’s', async () => {
    const owner = await connect(database.url);
    // As if somebody had given it a place to make things in: an operator and a function by the names of the
    // server's, and a table by the name of ours.
    await owner.query(`
      CREATE SCHEMA evil;
      CREATE FUNCTION evil.never(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
      CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.never);
      CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.never);
      CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT $2';
      CREATE FUNCTION evil.concat(VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_concat';
      CREATE TABLE evil.audit_chain (chain text PRIMARY KEY, seq int, previous text, head text);
      INSERT INTO evil.audit_chain VALUES ('one', 40, '', 'theirs');
      GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC`);
    for (const [n, path] of ['evil, pg_catalog, public', 'evil', '', 'pg_temp, evil, public'].entries()) {
      const theirs = await connect(database.runtimeUrl);
      await theirs.query(
        `SELECT set_config('search_path', $1, false), set_config('statement_timeout', '5000', false)`,
        [path],
      );
      await theirs.query(
        `INSERT INTO public.audit_event (chain, at, type, actor, payload) VALUES ('one', pg_catalog.now(), 'test', 'tester', '{}')`,
      );
      await theirs.end();
      const { rows } = await owner.query(
        `SELECT (SELECT seq FROM public.audit_chain WHERE chain = 'one') AS ours, (SELECT seq FROM evil.audit_chain) AS theirs`,
      );
      assert.deepEqual(rows, [{ ours: 3 + n, theirs: 40 }], path);
    }
    await owner.end();
  });
});

describe('preparing', { skip }, () => {
  const suffix = randomBytes(6).toString('hex');
  const [admin, migrationRole, runtimeRole, database] = ['admin', 'owner', 'runtime', `0_0_${suffix}`].map(
    (name) => `writ_test_${name}${name.startsWith('0') ? '' : `_${suffix}`}`,
  ) as [string, string, string, string];
  const url = (user: string) =>
    Object.assign(new URL(testDatabaseUrl), { pathname: `/${database}`, username: user }).href;
  const options = { databaseUrl: url(admin), schema: 'writ', migrationRole, runtimeRole, runtimePassword: null };
  let superuser: pg.Client;
  before(async () => {
    superuser = await connect(testDatabaseUrl);
    await superuser.query(`CREATE ROLE ${admin} LOGIN CREATEROLE`);
    await superuser.query(`CREATE DATABASE ${database} OWNER ${admin}`);
  });
  after(async () => {
    await superuser.query(`DROP DATABASE ${database} WITH (FORCE)`);
    for (const role of [runtimeRole, migrationRole, admin]) await superuser.query(`DROP ROLE IF EXISTS ${role}`);
    await superuser.end();
  });

  test('shows what it would do and does nothing; a role with CREATEROLE that owns the database is enough to do it', async () => {
    const shown = await planPreparation(options);
    assert.ok(shown.statements.includes(`CREATE ROLE "${runtimeRole}" LOGIN`));
    assert.ok(shown.pending.length > 3);
    const { rows } = await superuser.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [runtimeRole]);
    assert.equal(rows.length, 0);

    const done = await applyPreparation(options);
    assert.deepEqual(done.statements, shown.statements);
    const store = await openStore({ databaseUrl: url(runtimeRole), dataDir: null, schema: 'writ' });
    assert.equal(await store.prisma.session.count(), 0);
    await store.close();
  });

  test('no other schema is left in which it may make things', async () => {
    // As in a database that was made before PostgreSQL 15.
    const owner = await connect(url(admin));
    await owner.query(`GRANT CREATE ON SCHEMA public TO PUBLIC`);
    await owner.query(`CREATE SCHEMA more`);
    await owner.query(`GRANT USAGE, CREATE ON SCHEMA more TO ${runtimeRole}`);
    await owner.end();
    const warning = async () => {
      const store = await openStore({ databaseUrl: url(runtimeRole), dataDir: null, schema: 'writ' });
      try {
        return await roleWarning(store);
      } finally {
        await store.close();
      }
    };
    assert.match((await warning()) ?? '', /make tables in the schema more.*database prepare/);
    await applyPreparation(options);
    assert.equal(await warning(), null);
    const runtime = await connect(url(runtimeRole));
    for (const schema of ['public', 'more', 'writ'])
      await assert.rejects(runtime.query(`CREATE TABLE ${schema}.mine (id int)`), { code: '42501' });
    await runtime.end();
  });

  test('again changes nothing, and takes back a right that was given by hand', async () => {
    const owner = await connect(url(admin));
    await owner.query(`SET ROLE ${migrationRole}`);
    await owner.query(`GRANT UPDATE (actor), DELETE ON writ.audit_event TO ${runtimeRole}`);
    await owner.end();
    const again = await applyPreparation({ ...options, runtimePassword: 'hush hush' });
    assert.deepEqual(again.pending, []);
    assert.ok(!again.statements.some((sql) => sql.startsWith('CREATE') || sql.includes('hush')));
    const runtime = await connect(url(runtimeRole));
    await assert.rejects(runtime.query(`UPDATE writ.audit_event SET actor = 'x'`), { code: '42501' });
    await assert.rejects(runtime.query('DELETE FROM writ.audit_event'), { code: '42501' });
    await runtime.end();
  });

  test('a role that cannot be held down is refused, and nothing is changed', async () => {
    const refused = (more: Partial<typeof options>, why: RegExp) =>
      assert.rejects(applyPreparation({ ...options, databaseUrl: testDatabaseUrl, ...more }), (error: Error) => {
        assert.ok(error instanceof UnsuitableRole);
        assert.match(error.message, why);
        return true;
      });
    await refused({ runtimeRole: admin }, /may create roles/);
    await refused({ runtimeRole: migrationRole }, /two different|different names/);
    await refused({ runtimeRole: new URL(testDatabaseUrl).username }, /to be held down/);
    await superuser.query(`GRANT ${migrationRole} TO ${runtimeRole}`);
    await refused({}, /has the rights of/);
    await superuser.query(`REVOKE ${migrationRole} FROM ${runtimeRole}`);
  });
});

describe('several commands at once', { skip }, () => {
  test('in two databases of one server: each finds what another made, and all succeed', async () => {
    const databases = [await createTestDatabase('empty'), await createTestDatabase('empty')];
    const id = randomBytes(6).toString('hex');
    const [migrationRole, runtimeRole] = [`writ_test_m${id}`, `writ_test_r${id}`];
    const prepare = (databaseUrl: string) =>
      applyPreparation({ databaseUrl, schema: 'public', migrationRole, runtimeRole, runtimePassword: 'a'.repeat(32) });
    try {
      const applied = await Promise.all(Array.from({ length: 12 }, (_, n) => prepare(databases[n % 2]!.direct)));
      assert.equal(applied.filter(({ pending }) => pending.length > 0).length, 2, 'each was migrated once');
      for (const { direct } of databases) {
        const store = await openStore({
          databaseUrl: Object.assign(new URL(direct), { username: runtimeRole }).href,
          dataDir: null,
          poolSize: 1,
        });
        assert.equal(await writesFault(store), null);
        await store.close();
      }
    } finally {
      for (const database of databases) await database.drop();
      const admin = await connect(testDatabaseUrl);
      await admin.query(`DROP ROLE IF EXISTS ${runtimeRole}`);
      await admin.query(`DROP ROLE IF EXISTS ${migrationRole}`);
      await admin.end();
    }
  });
});
