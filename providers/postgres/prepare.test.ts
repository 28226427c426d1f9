/** What an admin prepares, checks and takes back, without being a superuser. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { checkPreparation } from './check.ts';
import { mint, never, openShop, type Shop, serversToTest, shopTables, startHarness } from './harness.test-support.ts';
import { applyPreparation, applyUndo, CannotPrepare, planPreparation, planUndo } from './prepare.ts';

const readCountries = { table: 'countries', read: ['code'], rows: 'all' };

for (const binaries of serversToTest())
  describe(`preparing PostgreSQL ${binaries.version}`, () => {
    let shop: Shop;
    before(async () => {
      shop = await openShop(binaries);
    });
    after(() => shop.close());

    const options = () => ({ admin: shop.admin, ca: null, broker: 'writ_broker', signal: never });
    const prepared = (tables = shopTables) => ({ ...options(), tables, brokerPassword: null });
    const faults = async (tables: string[] = []) => (await checkPreparation(options(), tables)).faults;
    const catalogue = () =>
      shop.run(`SELECT (SELECT count(*)::int FROM pg_policy) AS policies, (SELECT count(*)::int FROM pg_class WHERE relrowsecurity) AS guarded,
        (SELECT count(*)::int FROM pg_namespace WHERE nspname LIKE 'writ%') AS schemas, (SELECT count(*)::int FROM pg_roles WHERE rolname LIKE 'writ%') AS roles`);

    test('what was prepared holds, and preparing again changes nothing', async () => {
      assert.deepEqual(await faults(['public.orders']), []);
      const before = await catalogue();
      await applyPreparation(prepared());
      assert.deepEqual(await catalogue(), before);
      assert.deepEqual(await faults(), []);
      const shown = (await planPreparation(prepared())).join('\n');
      assert.match(shown, /AS RESTRICTIVE TO writ_leases/);
      assert.doesNotMatch(shown, /SCRAM|password/i);
    });

    test('everybody else sees what they saw', async () => {
      await shop.run(`CREATE ROLE app LOGIN PASSWORD 'app'; GRANT SELECT ON public.orders TO app`);
      const app = new pg.Client({ connectionString: `postgres://app:app@127.0.0.1:${shop.server.port}/shop` });
      await app.connect();
      assert.equal((await app.query('SELECT 1 FROM public.orders')).rowCount, 251);
      await app.end();
      await shop.run('DROP OWNED BY app; DROP ROLE app');
    });

    test('the broker finds the same at its start, and tells approvers when no password is asked for', async () => {
      const harness = await startHarness(shop);
      const { provider } = harness;
      const find = () => provider.findLimits?.(never);
      const plan = provider.plan(provider.params.parse({ tables: [readCountries] }), 60);
      assert.deepEqual(await find(), []);
      await shop.run('ALTER TABLE public.orders DISABLE ROW LEVEL SECURITY');
      assert.deepEqual(await find(), ['public.orders: row security is off, so that leases would see every row.']);
      await shop.run('ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY');
      assert.doesNotMatch(provider.describe(plan).summary.join(), /Warning/);
      await shop.server.letIn(true);
      const [told] = (await find()) ?? [];
      assert.match(String(told), /asks for no password/);
      assert.match(provider.describe(plan).summary.join(), /Warning: the server asks for no password/);
      await shop.server.letIn(false);
      assert.deepEqual(await find(), []);
      await harness.close();
    });

    test('what PUBLIC has is told, because every lease has it', async () => {
      await shop.run(`CREATE FUNCTION public.all_orders() RETURNS SETOF public.orders LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM public.orders';
        CREATE TABLE public.board (line text); GRANT SELECT ON public.board TO PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC`);
      const { notes } = await checkPreparation(options(), []);
      for (const words of [
        /no policy holds the owner .*: public\.countries of shop_owner, .*public\.orders of shop_owner/,
        /PUBLIC may read or write: public\.board/,
        /PUBLIC may run, with the rights of their owners: public\.all_orders\(\)/,
        /PUBLIC may create objects in the schemas: public/,
        /leases may connect to the databases: .*postgres/,
        /leases may make temporary tables and functions/,
      ])
        assert.match(notes.join('\n'), words);
      await shop.run(
        'DROP FUNCTION public.all_orders(); DROP TABLE public.board; REVOKE CREATE ON SCHEMA public FROM PUBLIC',
      );
    });

    test('drift is named', async () => {
      await shop.run('ALTER TABLE public.orders DISABLE ROW LEVEL SECURITY');
      await shop.run('DROP POLICY writ_scope ON public.customers');
      await shop.run('ALTER VIEW writ_public.payments RESET (security_barrier)');
      await shop.run('GRANT SELECT ON public.countries TO PUBLIC');
      await shop.run('ALTER ROLE writ_leases BYPASSRLS; GRANT shop_owner TO writ_broker');
      const told = (await faults(['public.unknown'])).join('\n');
      for (const words of [
        /public\.unknown is not prepared/,
        /public\.orders: row security is off/,
        /public\.customers: the policy is not what was prepared/,
        /public\.payments: the view is not what was prepared/,
        /public\.countries: PUBLIC has rights/,
        /writ_leases has BYPASSRLS/,
        /public\.orders: writ_broker has the rights of its owner, whom no policy holds/,
      ])
        assert.match(told, words);
      await shop.run(
        'ALTER ROLE writ_leases NOBYPASSRLS; REVOKE shop_owner FROM writ_broker; REVOKE SELECT ON public.countries FROM PUBLIC',
      );
      await applyPreparation(prepared());
      assert.deepEqual(await faults(), []);
    });

    test('what cannot hold a scope is refused in words', async () => {
      const refuses = (table: string, columns: string[], words: RegExp, through: 'policy' | 'view' = 'policy') =>
        assert.rejects(
          planPreparation(prepared([{ schema: 'public', table, through, columns }])),
          (error: Error) => error instanceof CannotPrepare && words.test(error.message),
        );
      await refuses('nothing', [], /no table/);
      await refuses('orders', ['nothing'], /no column/);
      await refuses('totals', ['customer_id'], /--view/);
      await shop.run('CREATE TABLE public.moments (at timestamptz)');
      await refuses('moments', ['at'], /depends on a session/);
    });

    test('undone, nothing is left; while a lease lives, nothing is undone', async () => {
      const harness = await startHarness(shop);
      const { target } = await mint(harness, [{ table: 'orders', read: ['id'], rows: { customer_id: 42 } }]);
      await assert.rejects(planUndo(options()), CannotPrepare);
      await harness.provider.revoke([target], [], never);
      await harness.close();
      await shop.server.run('DROP DATABASE shop_as_prepared');
      await applyUndo(options());
      assert.deepEqual(await catalogue(), [{ policies: 0, guarded: 0, schemas: 0, roles: 0 }]);
    });
  });
