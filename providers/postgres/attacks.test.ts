/**
 * What an agent may try with the role it was given, on a real server: each is refused, or shows nothing of
 * other rows. What row security cannot hide by its nature is pinned here too, as the documentation says it.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type pg from 'pg';
import type { Json, JsonObject } from '../contract.ts';
import {
  asAgent,
  login,
  type MintedLease,
  mint,
  never,
  openShop,
  type PostgresHarness,
  refusal,
  type Shop,
  serversToTest,
  startHarness,
} from './harness.test-support.ts';
import { applyPreparation } from './prepare.ts';

const readOrders = { table: 'orders', read: ['id', 'customer_id', 'amount', 'due'], rows: { customer_id: 42 } };
const writeOrders = {
  table: 'orders',
  read: ['id', 'customer_id', 'amount', 'note'],
  insert: ['id', 'customer_id', 'amount', 'note'],
  update: ['customer_id', 'amount', 'note'],
  delete: true,
  rows: { customer_id: 42 },
};
const noRight = '42501';

for (const binaries of serversToTest())
  describe(`attacks on PostgreSQL ${binaries.version}`, () => {
    let shop: Shop;
    let harness: PostgresHarness;
    const open: pg.Client[] = [];

    before(async () => {
      shop = await openShop(binaries, { settings: { shared_preload_libraries: 'pg_stat_statements' } });
    });
    after(() => shop.close());
    beforeEach(async () => {
      harness = await startHarness(shop);
    });
    afterEach(async () => {
      for (const client of open.splice(0)) await client.end().catch(() => {});
      await harness.close();
      await shop.reset();
    });

    const agent = async (credential: JsonObject) => {
      const client = await login(credential);
      open.push(client);
      return client;
    };
    const leaseOn = (...tables: JsonObject[]) => mint(harness, tables);
    const revoke = async ({ target }: MintedLease) => {
      const [outcome] = await harness.provider.revoke([target], [], never);
      assert.ok(outcome !== undefined);
      assert.equal(outcome.state, 'revoked', outcome.state === 'failed' ? outcome.error.message : '');
      return outcome as { state: 'revoked'; evidence: JsonObject };
    };
    const customersSeen = async (client: pg.Client) => {
      const { rows } = await client.query('SELECT DISTINCT customer_id::text AS id FROM orders ORDER BY 1');
      return rows.map(({ id }) => id);
    };
    /** Takes the rows away as the first step of a revocation does, and nothing else. */
    const blind = (role: unknown) => shop.run('DELETE FROM writ.lease_scope WHERE role_name = $1', [role]);

    test('settings of a session move no row into sight', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      await client.query(`SET app.customer_id = '7'; SET writ.customer_id = '7'; SET DateStyle = 'SQL, DMY'`);
      await client.query(`SET search_path = pg_temp, public; SET row_security = on`);
      assert.deepEqual(await customersSeen(client), ['42']);
      await client.query('SET row_security = off');
      assert.equal(await refusal(client.query('SELECT id FROM public.orders')), noRight, 'off is an error, not a way');
    });

    test('no other role is had: SET ROLE, SET SESSION AUTHORIZATION, membership, ALTER ROLE', async () => {
      const { issued } = await leaseOn(readOrders);
      const role = String(issued.credential.user);
      const client = await agent(issued.credential);
      await client.query('SET default_transaction_read_only = off');
      for (const statement of [
        'SET SESSION AUTHORIZATION postgres',
        'SET SESSION AUTHORIZATION shop_owner',
        'SET ROLE shop_owner',
        'SET ROLE writ_broker',
        'SET ROLE postgres',
        `GRANT shop_owner TO "${role}"`,
        `GRANT pg_monitor TO "${role}"`,
        `REVOKE writ_leases FROM "${role}"`,
        `ALTER ROLE "${role}" NOINHERIT`,
        `ALTER ROLE "${role}" BYPASSRLS`,
        `ALTER ROLE "${role}" VALID UNTIL 'infinity'`,
        `ALTER ROLE "${role}" CONNECTION LIMIT -1`,
        `ALTER ROLE "${role}" CREATEROLE`,
        'CREATE ROLE mine',
      ])
        assert.equal(await refusal(client.query(statement)), noRight, statement);
      // The roles it is a member of give it nothing more, and hold it to the same rows.
      const groups = await shop.run<{ name: string }>(
        `SELECT roleid::regrole::text AS name FROM pg_auth_members WHERE member = to_regrole($1)`,
        [role],
      );
      assert.equal(groups.length, 2);
      for (const { name } of groups) {
        await client.query(`SET ROLE ${name}`);
        const seen = name === 'writ_leases' ? [] : ['42'];
        if (seen.length === 0) assert.equal(await refusal(client.query('SELECT id FROM public.orders')), noRight);
        else assert.deepEqual(await customersSeen(client), seen);
        await client.query('RESET ROLE');
      }
    });

    test('a role lent to another lease gives that one no row', async () => {
      const [a, b] = [
        await leaseOn(readOrders),
        await mint(harness, [{ table: 'countries', read: ['code'], rows: 'all' }]),
      ];
      const lender = await agent(a.issued.credential);
      // Before PostgreSQL 16 a role may lend itself; from then on it is refused.
      await lender.query(`GRANT "${a.issued.credential.user}" TO "${b.issued.credential.user}"`).catch(() => {});
      const borrower = await agent(b.issued.credential);
      const seen = await borrower.query('SELECT id FROM public.orders').then(
        ({ rowCount }) => rowCount,
        () => 0,
      );
      assert.equal(seen, 0, 'rows are given to who logged in');
      await revoke(a);
    });

    test('the broker’s own objects are out of reach', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      await client.query('SET default_transaction_read_only = off');
      for (const statement of [
        'SELECT * FROM writ.lease_scope',
        `INSERT INTO writ.lease_scope VALUES (session_user, 'public.orders'::regclass, 'customer_id', '7', 'infinity')`,
        'DELETE FROM writ.lease_scope',
        'SELECT * FROM writ.prepared',
        'SELECT 1 FROM writ.turn FOR UPDATE',
        `CREATE OR REPLACE FUNCTION writ.scope(oid, text) RETURNS SETOF text LANGUAGE sql AS 'SELECT ''7'''`,
        'DROP POLICY writ_scope ON public.orders',
        'ALTER TABLE public.orders DISABLE ROW LEVEL SECURITY',
        'CREATE POLICY mine ON public.orders USING (true)',
      ])
        assert.equal(await refusal(client.query(statement)), noRight, statement);
    });

    test('temporary objects and a search path of one’s own stand for none of ours', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      await client.query('BEGIN; SET TRANSACTION READ WRITE');
      await client.query(`CREATE TEMP TABLE lease_scope (role_name name, relation oid, column_name text, value text, expires_at timestamptz);
        INSERT INTO lease_scope VALUES (session_user, 'public.orders'::regclass, 'customer_id', '7', 'infinity');
        CREATE FUNCTION pg_temp.scope(oid, text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT '7' $$;
        CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '-infinity'::timestamptz $$`);
      await client.query('SET LOCAL search_path = pg_temp, public, pg_catalog');
      assert.deepEqual(await customersSeen(client), ['42']);
    });

    test('what runs inside a WHERE sees the rows of the scope alone', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      await client.query('BEGIN; SET TRANSACTION READ WRITE');
      await client.query(`CREATE TEMP TABLE seen (id bigint);
        CREATE FUNCTION pg_temp.tell(bigint) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
          $$ BEGIN INSERT INTO pg_temp.seen VALUES ($1); RAISE NOTICE 'saw %', $1; RETURN true; END $$;
        CREATE FUNCTION pg_temp.same(bigint, bigint) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
          $$ BEGIN INSERT INTO pg_temp.seen VALUES ($1); RETURN true; END $$;
        CREATE OPERATOR pg_temp.=== (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_temp.same)`);
      const notices: string[] = [];
      client.on('notice', ({ message }) => notices.push(String(message)));
      await client.query('SELECT id FROM orders WHERE pg_temp.tell(customer_id)');
      await client.query('SELECT id FROM orders WHERE customer_id OPERATOR(pg_temp.===) 7');
      const { rows } = await client.query('SELECT DISTINCT id::text AS id FROM pg_temp.seen');
      assert.deepEqual(rows, [{ id: '42' }], 'neither function was shown another row');
      assert.ok(notices.length > 0 && notices.every((line) => line === 'saw 42'));
      await client.query('ROLLBACK');
      // An error or a wait that depends on a hidden row does not come.
      await client.query('SELECT id FROM orders WHERE 1 / (customer_id - 7) > 100');
      await client.query(`SELECT id FROM orders WHERE CASE customer_id WHEN 7 THEN pg_sleep(20) IS NULL ELSE true END`);
      await client
        .query(`SELECT id FROM orders WHERE (customer_id::text || 'x')::text = '7x' AND note_of(id) IS NULL`)
        .then(
          () => assert.fail('there is no such function'),
          ({ code }) => assert.equal(code, '42883'),
        );
      assert.equal(await refusal(client.query(`SELECT ('x' || customer_id)::int FROM orders`)), '22P02');
    });

    test('a cast or an operator of one’s own replaces none of the policy’s', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      await client.query('BEGIN; SET TRANSACTION READ WRITE');
      await client.query(`CREATE FUNCTION pg_temp.always(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
        CREATE OPERATOR pg_temp.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_temp.always)`);
      await client.query('SET LOCAL search_path = pg_temp, public');
      assert.deepEqual(await customersSeen(client), ['42']);
      await client.query('ROLLBACK');
      await client.query('BEGIN; SET TRANSACTION READ WRITE');
      assert.equal(await refusal(client.query('CREATE CAST (text AS bigint) WITH INOUT AS IMPLICIT')), '42501');
    });

    for (const level of ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'])
      test(`once the rows are taken away, an open transaction reads none: ${level}`, async () => {
        const lease = await leaseOn(
          readOrders,
          { table: 'payments', through: 'view', read: ['id'], rows: { customer_id: 42 } },
          { table: 'countries', read: ['code'], rows: 'all' },
        );
        const client = await agent(lease.issued.credential);
        await client.query(`BEGIN ISOLATION LEVEL ${level}`);
        await client.query('PREPARE mine AS SELECT id FROM orders');
        const counts = async () => {
          const seen: (number | null)[] = [];
          for (const text of [
            'SELECT id FROM orders',
            'EXECUTE mine',
            'SELECT id FROM writ_public.payments',
            'SELECT code FROM countries',
          ])
            seen.push((await client.query(text)).rowCount);
          return seen;
        };
        assert.deepEqual(await counts(), [5, 5, 1, 2]);
        // Not committed yet: from the DELETE on.
        const other = await login({ url: shop.server.url('shop') });
        open.push(other);
        await other.query('BEGIN');
        await other.query('DELETE FROM writ.lease_scope WHERE role_name = $1', [lease.issued.credential.user]);
        assert.deepEqual(await counts(), [0, 0, 0, 0]);
        await other.query('COMMIT');
        assert.deepEqual(await counts(), [0, 0, 0, 0]);
        const { evidence } = await revoke(lease);
        assert.equal(evidence.sessions_ended, 1);
      });

    test('past its end by the server’s clock a session sees nothing, inside a transaction too', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      await client.query('BEGIN');
      assert.deepEqual(await customersSeen(client), ['42']);
      await shop.run(`UPDATE writ.lease_scope SET expires_at = now() - interval '1 second'`);
      assert.deepEqual(await customersSeen(client), []);
    });

    test('cursors and prepared statements do not outlive the revocation', async () => {
      const lease = await leaseOn(readOrders);
      const client = await agent(lease.issued.credential);
      await client.query('PREPARE mine AS SELECT id FROM orders');
      await client.query('BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT id FROM orders; COMMIT');
      await client.query('BEGIN; DECLARE open CURSOR FOR SELECT id FROM orders; FETCH 1 FROM open');
      await blind(lease.issued.credential.user);
      // A cursor that was opened before has read its scope: what ends it is the end of the session.
      assert.equal((await client.query('FETCH 1 FROM open')).rowCount, 1);
      await revoke(lease);
      await assert.rejects(client.query('FETCH 1 FROM held'));
      assert.equal(await refusal(login(lease.issued.credential)), '28P01');
    });

    test('COPY reads the scope, and writes no file and runs no program', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      for (const statement of [
        `COPY orders TO '/srv/orders'`,
        `COPY (SELECT id FROM orders) TO PROGRAM 'cat'`,
        `COPY orders FROM '/etc/passwd'`,
        `SELECT pg_read_file('/etc/passwd')`,
        `SELECT pg_ls_dir('.')`,
      ])
        assert.equal(await refusal(client.query(statement)), noRight, statement);
      assert.deepEqual((await client.query('SELECT count(*)::int AS n FROM (SELECT id FROM orders) o')).rows, [
        { n: 5 },
      ]);
    });

    test('a large object is nobody else’s, and goes with the role', async () => {
      const [a, b] = [await leaseOn(writeOrders), await leaseOn(readOrders)];
      const [one, other] = [await agent(a.issued.credential), await agent(b.issued.credential)];
      const { rows } = await one.query(`SELECT lo_from_bytea(0, 'kept') AS oid`);
      assert.equal(await refusal(other.query('SELECT lo_get($1)', [rows[0].oid])), noRight);
      await revoke(a);
      assert.deepEqual(await shop.run('SELECT 1 FROM pg_largeobject_metadata'), []);
    });

    test('dblink and foreign tables lead nowhere without a password of somebody’s', async () => {
      const available = await shop.run(`SELECT 1 FROM pg_available_extensions WHERE name = 'dblink'`);
      if (available.length > 0)
        await shop.run('CREATE EXTENSION dblink SCHEMA public; CREATE EXTENSION postgres_fdw SCHEMA public');
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      const local = `host=127.0.0.1 port=${shop.server.port} dbname=shop`;
      if (available.length > 0)
        assert.equal(
          await refusal(client.query('SELECT public.dblink_connect($1)', [`${local} user=postgres`])),
          '2F003',
        );
      await client.query('SET default_transaction_read_only = off');
      assert.equal(
        await refusal(client.query('CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw')),
        available.length > 0 ? noRight : '42704',
      );
      assert.equal(await refusal(client.query('CREATE EXTENSION citext')), noRight);
    });

    test('statistics and other sessions tell nothing of hidden rows', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      const { rows } = await client.query(
        `SELECT * FROM pg_stats WHERE tablename IN ('orders', 'customers', 'payments')`,
      );
      assert.deepEqual(rows, []);
      assert.equal(await refusal(client.query('SELECT * FROM pg_statistic')), noRight);
      assert.equal(await refusal(client.query('SELECT * FROM pg_authid')), noRight);
      const watched = await login({ url: shop.server.url('shop') });
      open.push(watched);
      await watched.query(`SELECT 'of somebody else'`);
      const activity = await client.query(
        'SELECT DISTINCT query FROM pg_stat_activity WHERE usename IS DISTINCT FROM session_user AND pid = $1',
        [(watched as unknown as { processID: number }).processID],
      );
      assert.deepEqual(activity.rows, [{ query: '<insufficient privilege>' }]);
    });

    test('by its nature visible: names, notifications and advisory locks', async () => {
      const [a, b] = [await leaseOn(readOrders), await leaseOn(readOrders)];
      const [one, other] = [await agent(a.issued.credential), await agent(b.issued.credential)];
      assert.ok((await one.query(`SELECT 1 FROM pg_class WHERE relname = 'customers'`)).rowCount === 1);
      const heard = new Promise((resolve) => other.once('notification', ({ payload }) => resolve(payload)));
      await other.query('LISTEN channel');
      await one.query(`NOTIFY channel, 'told'`);
      await other.query('SELECT 1');
      assert.equal(await heard, 'told');
      await one.query('SELECT pg_advisory_lock(1)');
      assert.deepEqual((await other.query('SELECT pg_try_advisory_lock(1) AS got')).rows, [{ got: false }]);
      // Nothing of the broker waits for such a lock.
      await revoke(a);
    });

    interface PlanNode {
      'Node Type': string;
      'Plan Rows': number;
      'Rows Removed by Filter'?: number;
      'Index Cond'?: string;
      Plans?: PlanNode[];
    }
    /** The scan of the table itself, in the plan that the agent is shown. */
    const scanOf = async (client: pg.Client, options: string, text: string): Promise<PlanNode> => {
      const { rows } = await client.query(`EXPLAIN (${options}, FORMAT JSON) ${text}`);
      const all = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(all)];
      return all(rows[0]['QUERY PLAN'][0].Plan).find((node) => /Scan/.test(node['Node Type']))!;
    };
    /** Orders of two customers who are not the lease's: many and one. */
    const hideMany = () =>
      shop.run(`INSERT INTO orders (customer_id, amount, note) SELECT 7, 1, 'mine alone' FROM generate_series(1, 2000);
        DELETE FROM orders WHERE customer_id = 8 AND id <> 81; ANALYZE orders`);

    test('by its nature visible: estimates tell how often a value of a scoped column is among hidden rows', async () => {
      await hideMany();
      const { issued } = await leaseOn({ ...readOrders, read: ['id', 'customer_id', 'note'] });
      const client = await agent(issued.credential);
      const rowsOf = async (where: string) =>
        (await scanOf(client, 'COSTS', `SELECT id FROM orders WHERE ${where}`))['Plan Rows'];
      // What is there, and what the estimate says: in proportion, after the share of the lease's own rows.
      const truth = await shop.run<{ n: number }>(
        'SELECT count(*)::int AS n FROM orders WHERE customer_id IN (7, 8) GROUP BY customer_id ORDER BY customer_id',
      );
      assert.deepEqual(truth, [{ n: 2005 }, { n: 1 }]);
      assert.ok((await rowsOf('customer_id = 7')) > (await rowsOf('customer_id = 8')), 'equality is leakproof');
      // A comparison that is not leakproof is estimated without the table's statistics.
      assert.equal(await rowsOf(`note LIKE 'mine%'`), await rowsOf(`note LIKE 'nobo%'`));
      assert.equal(await rowsOf(`note ~ 'mine alone'`), await rowsOf(`note ~ 'nobody has this'`));
    });

    test('by its nature visible: EXPLAIN ANALYZE counts hidden rows with a value, by an index on its column', async () => {
      await hideMany();
      const { issued } = await leaseOn({ ...readOrders, read: ['id', 'customer_id', 'note'] });
      const client = await agent(issued.credential);
      await client.query('SET enable_seqscan = off; SET enable_bitmapscan = off');
      const removed = async (where: string) => {
        const text = `SELECT id FROM orders WHERE ${where}`;
        assert.equal((await client.query(text)).rowCount, 0, 'no row is shown');
        return (await scanOf(client, 'ANALYZE, TIMING OFF', text))['Rows Removed by Filter'] ?? 0;
      };
      // By the key: 1 when somebody's order has the number. By the scope's column: the policy is the index's.
      assert.deepEqual([await removed('id = 71'), await removed('id = 123456')], [1, 0]);
      assert.deepEqual([await removed('customer_id = 7'), await removed('customer_id = 8')], [0, 0]);
      // What is not leakproof runs after the policy, on the lease's own rows alone, and so counts those.
      assert.equal(await removed(`note LIKE 'mine%'`), await removed(`note LIKE 'nobo%'`));
    });

    test('by its nature visible: a write that collides tells that a row is there, and nothing of it', async () => {
      const lease = await leaseOn(writeOrders, {
        table: 'customers',
        read: ['id', 'email'],
        update: ['email'],
        rows: { id: 42 },
      });
      const client = await agent(lease.issued.credential);
      const insert = (id: number) =>
        client.query(`INSERT INTO orders (id, customer_id, amount) VALUES ($1, 42, 1)`, [id]);
      const collided = await insert(71).catch((error: pg.DatabaseError) => error);
      assert.ok('code' in collided && collided.code === '23505', 'an order of another customer has this id');
      assert.deepEqual([collided.detail, collided.constraint], [undefined, 'orders_pkey'], 'the row is not quoted');
      await client.query(`INSERT INTO orders (id, customer_id, amount) VALUES (71, 42, 1) ON CONFLICT DO NOTHING`);
      const upsert = client.query(
        `INSERT INTO orders (id, customer_id, amount) VALUES (71, 42, 1) ON CONFLICT (id) DO UPDATE SET note = 'mine' RETURNING id`,
      );
      assert.equal(await refusal(upsert), noRight, 'and it is neither changed nor shown');
      assert.deepEqual(await shop.run('SELECT note FROM orders WHERE id = 71'), [{ note: 'note 7' }]);
      const taken = client.query(`UPDATE customers SET email = 'c7@example.com'`);
      assert.equal(await refusal(taken), '23505', 'somebody has this address');
      await client.query(`UPDATE customers SET email = 'nobody@example.com'`);
    });

    test('by its nature visible: a foreign key tells whether the row is there, on either side', async () => {
      await shop.run(`CREATE TABLE public.shipments (id bigint PRIMARY KEY, customer_id bigint NOT NULL, order_id bigint REFERENCES public.orders);
        INSERT INTO public.shipments VALUES (1, 7, 421), (2, 42, 422); ALTER TABLE public.shipments OWNER TO shop_owner`);
      await prepare('shipments', ['customer_id']);
      const rows = { customer_id: 42 };
      const { issued } = await leaseOn(writeOrders, {
        table: 'shipments',
        read: ['id', 'order_id'],
        insert: ['id', 'customer_id', 'order_id'],
        rows,
      });
      const client = await agent(issued.credential);
      const ship = (id: number, order: number) =>
        client.query('INSERT INTO shipments (id, customer_id, order_id) VALUES ($1, 42, $2)', [id, order]);
      // Referring to a hidden row is let through, as the server checks references without policies.
      assert.equal((await ship(3, 71)).rowCount, 1);
      assert.equal(await refusal(ship(4, 123_456)), '23503', 'there is no such order');
      // Its own order cannot go while somebody else's shipment refers to it; that one is not quoted.
      const held = await client.query('DELETE FROM orders WHERE id = 421').catch((error: pg.DatabaseError) => error);
      assert.ok('code' in held && held.code === '23503');
      assert.doesNotMatch(`${held.message} ${held.detail}`, /\b(?:1|7)\b/);
      // Nothing of the hidden rows is read or changed by it.
      assert.deepEqual((await client.query('SELECT id::int FROM shipments ORDER BY id')).rows, [{ id: 2 }, { id: 3 }]);
      assert.equal((await client.query('SELECT id FROM orders WHERE id = 71')).rowCount, 0);
    });

    test('what a session is set to is what the plan says, and no more can be had', async () => {
      const { issued } = await leaseOn(readOrders);
      const client = await agent(issued.credential);
      const shown: { [name: string]: string } = {};
      for (const name of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'])
        shown[name] = (await client.query(`SHOW ${name}`)).rows[0][name];
      assert.deepEqual(shown, {
        statement_timeout: '1min',
        lock_timeout: '5s',
        idle_in_transaction_session_timeout: '1min',
      });
      assert.equal(await refusal(client.query('UPDATE orders SET amount = 0')), '25006', 'read-only by default');
      assert.equal(await refusal(client.query('COMMIT; BEGIN READ WRITE; UPDATE orders SET amount = 0')), noRight);
      await client.query('ROLLBACK');
      const writer = await agent((await leaseOn(writeOrders)).issued.credential);
      assert.deepEqual((await writer.query('SHOW default_transaction_read_only')).rows, [
        { default_transaction_read_only: 'off' },
      ]);
      const [role] = await shop.run(
        `SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil = $2::timestamptz - interval '1 day' AS ends
         FROM pg_roles WHERE rolname = $1`,
        [issued.credential.user, issued.providerExpiresAt],
      );
      assert.deepEqual(Object.values(role ?? {}), [false, false, false, false, false, 5, true]);
    });

    test('writes stay in the scope: insert, update, delete, returning, truncate', async () => {
      const lease = await leaseOn(writeOrders);
      const client = await agent(lease.issued.credential);
      const first = await client.query(
        `INSERT INTO orders (customer_id, amount) VALUES (42, 5) RETURNING id, customer_id`,
      );
      assert.equal(first.rowCount, 1);
      for (const statement of [
        `INSERT INTO orders (customer_id, amount) VALUES (7, 5) RETURNING id`,
        `INSERT INTO orders (amount) VALUES (5)`,
        `UPDATE orders SET customer_id = 7 WHERE id = 421`,
        `UPDATE orders SET customer_id = NULL`,
        `UPDATE orders SET secret_margin = 1`,
        'TRUNCATE orders',
        'SELECT secret_margin FROM orders',
        'SELECT * FROM orders',
        'SELECT orders FROM orders',
        'ALTER TABLE orders ADD COLUMN mine int',
        'CREATE TRIGGER mine BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
        'CREATE RULE mine AS ON SELECT TO orders DO INSTEAD NOTHING',
        'SELECT * FROM totals',
      ])
        assert.equal(await refusal(client.query(statement)), noRight, statement);
      assert.equal(
        (await client.query(`UPDATE orders SET note = 'x' WHERE customer_id <> 42 RETURNING id`)).rowCount,
        0,
      );
      assert.equal((await client.query('DELETE FROM orders WHERE id = 71 RETURNING id')).rowCount, 0);
      assert.equal((await client.query('DELETE FROM orders RETURNING id')).rowCount, 6);
      const left = await shop.run<{ n: number }>('SELECT count(*)::int AS n FROM orders');
      assert.equal(left[0]?.n, 246);
      // Generated, identity: a value of the server's own is not given by anybody.
      assert.match(
        await refusal(client.query('INSERT INTO orders (customer_id, amount, doubled) VALUES (42, 1, 9)')),
        /^(?:428C9|42601)$/,
      );
    });

    test('a view holds writes and reads as a policy does; a materialised view is read through one', async () => {
      const payments = {
        table: 'payments',
        through: 'view',
        read: ['id', 'customer_id', 'paid'],
        insert: ['customer_id', 'paid'],
        rows: { customer_id: 42 },
      };
      const totals = { table: 'totals', through: 'view', read: ['total'], rows: { customer_id: 42 } };
      const { issued } = await leaseOn(payments, totals);
      const client = await agent(issued.credential);
      assert.deepEqual((await client.query('SELECT customer_id::int AS id FROM payments')).rows, [{ id: 42 }]);
      assert.equal((await client.query('SELECT total FROM totals')).rowCount, 1);
      assert.equal(
        (await client.query('INSERT INTO payments (customer_id, paid) VALUES (42, 1) RETURNING id')).rowCount,
        1,
      );
      assert.equal(await refusal(client.query('INSERT INTO payments (customer_id, paid) VALUES (7, 1)')), '44000');
      for (const table of ['public.payments', 'public.totals'])
        assert.equal(await refusal(client.query(`SELECT * FROM ${table}`)), noRight);
    });

    test('partitions and children are reached through their parent alone', async () => {
      await shop
        .run(
          `SET ROLE shop_owner; CREATE TABLE public.visits (customer_id int, at date) PARTITION BY RANGE (at); RESET ROLE`,
        )
        .catch(() =>
          shop.run(
            `CREATE TABLE public.visits (customer_id int, at date) PARTITION BY RANGE (at); ALTER TABLE public.visits OWNER TO shop_owner`,
          ),
        );
      await shop.run(`CREATE TABLE public.visits_31 PARTITION OF public.visits FOR VALUES FROM ('2031-01-01') TO ('2032-01-01');
        CREATE TABLE public.people (customer_id int); CREATE TABLE public.staff () INHERITS (public.people);
        INSERT INTO public.visits SELECT n % 50, '2031-05-05' FROM generate_series(1, 100) n;
        INSERT INTO public.staff VALUES (7), (42); INSERT INTO public.people VALUES (42);
        ALTER TABLE public.visits_31 OWNER TO shop_owner; ALTER TABLE public.people OWNER TO shop_owner; ALTER TABLE public.staff OWNER TO shop_owner`);
      await prepare('visits', ['customer_id']);
      await prepare('people', ['customer_id']);
      const rows = { customer_id: 42 };
      const { issued } = await leaseOn(
        { table: 'visits', read: ['customer_id'], rows },
        { table: 'people', read: ['customer_id'], rows },
      );
      const client = await agent(issued.credential);
      assert.equal((await client.query('SELECT customer_id FROM visits')).rowCount, 2);
      assert.equal((await client.query('SELECT customer_id FROM people')).rowCount, 2);
      for (const table of ['visits_31', 'staff'])
        assert.equal(await refusal(client.query(`SELECT customer_id FROM ${table}`)), noRight);
    });

    test('two leases see their own rows at the same time, and joins across scopes work', async () => {
      const both = (customer: number) =>
        leaseOn(
          { ...readOrders, rows: { customer_id: customer } },
          { table: 'customers', read: ['id', 'name'], rows: { id: customer } },
        );
      const [a, b] = [await both(42), await both(7)];
      const text = 'SELECT DISTINCT c.name FROM orders o JOIN customers c ON c.id = o.customer_id';
      const [one, other] = [await agent(a.issued.credential), await agent(b.issued.credential)];
      const [seenByOne, seenByOther] = await Promise.all([one.query(text), other.query(text)]);
      assert.deepEqual([seenByOne.rows, seenByOther.rows], [[{ name: 'customer 42' }], [{ name: 'customer 7' }]]);
    });

    test('whatever the broker’s role has as its defaults: leases that need the same new role at once are all made', async () => {
      await shop.run(`ALTER ROLE writ_broker SET default_transaction_isolation = 'serializable';
        ALTER ROLE writ_broker SET TimeZone = 'America/New_York'; ALTER ROLE writ_broker SET DateStyle = 'SQL, DMY';
        ALTER ROLE writ_broker SET standard_conforming_strings = off; ALTER ROLE writ_broker SET row_security = on`);
      try {
        const made = await Promise.all(
          [1, 2, 3, 4, 5, 6].map((customer) => leaseOn({ ...readOrders, rows: { customer_id: customer } })),
        );
        for (const one of made.slice(0, 2)) await revoke(one);
      } finally {
        await shop.run('ALTER ROLE writ_broker RESET ALL');
      }
    });

    const prepare = (table: string, columns: string[]) =>
      applyPreparation({
        admin: shop.admin,
        ca: null,
        broker: 'writ_broker',
        brokerPassword: null,
        tables: [{ schema: 'public', table, through: 'policy', columns }],
        signal: never,
      });

    test('names of 63 bytes, with quotes, upper case and Unicode, and such values', async () => {
      const table = `Ord"ers' %s ${'ü'.repeat(25)}`;
      const column = `Kunde "id"; DROP TABLE orders --`;
      const long = 'x'.repeat(63);
      const q = (name: string) => `"${name.replaceAll('"', '""')}"`;
      await shop.run(
        `CREATE TABLE public.${q(table)} (${q(column)} text, ${q(long)} int); ALTER TABLE public.${q(table)} OWNER TO shop_owner`,
      );
      const value = `O'Hara" \\ %L $1 — é`;
      await shop.run(`INSERT INTO public.${q(table)} VALUES ($1, 1), ('other', 2)`, [value]);
      await prepare(table, [column]);
      const { issued } = await leaseOn({ table, read: [column, long], rows: { [column]: value } });
      const client = await agent(issued.credential);
      const { rows } = await client.query(`SELECT ${q(long)} AS n FROM ${q(table)}`);
      assert.deepEqual(rows, [{ n: 1 }]);
    });

    test('a scope of each type that can hold one gives its rows, and no value of another writing', async () => {
      await shop.run(`CREATE TYPE public.state AS ENUM ('open', 'closed'); CREATE DOMAIN public.code AS varchar(10);
        CREATE TABLE public.typed (small smallint, "number" integer, amount numeric(10, 2), words text, short varchar(5), padded char(5),
          id uuid, yes boolean, at date, state public.state, code public.code);
        INSERT INTO public.typed VALUES (1, 2, 3.50, 'a b', 'ab', 'ab', '0b9a6f5e-58a1-4d0c-9f0e-7f3d1c2b4a5d', true, '2031-02-03', 'open', 'x'),
          (9, 9, 9, 'z', 'z', 'z', '1b9a6f5e-58a1-4d0c-9f0e-7f3d1c2b4a5d', false, '2031-02-04', 'closed', 'z');
        ALTER TABLE public.typed OWNER TO shop_owner`);
      const values: { [column: string]: { right: Json; wrong: Json[] } } = {
        small: { right: 1, wrong: ['01', '70000', true] },
        number: { right: 2, wrong: ['2.0', ' 2'] },
        amount: { right: '3.50', wrong: ['3,50', '3.50 ', '+3.50'] },
        words: { right: 'a b', wrong: [1] },
        short: { right: 'ab', wrong: [true] },
        padded: { right: 'ab', wrong: [1] },
        id: { right: '0b9a6f5e-58a1-4d0c-9f0e-7f3d1c2b4a5d', wrong: ['{0b9a6f5e-58a1-4d0c-9f0e-7f3d1c2b4a5d}', 'x'] },
        yes: { right: true, wrong: ['t', 'yes', 'on', 1] },
        at: { right: '2031-02-03', wrong: ['03.02.2031', '2031-2-3', 'today', 'infinity '] },
        state: { right: 'open', wrong: ['Open', 'gone', 0] },
        code: { right: 'x', wrong: [0] },
      };
      for (const [column, { right, wrong }] of Object.entries(values)) {
        await prepare('typed', [column]);
        const on = (value: Json) => leaseOn({ table: 'typed', read: ['words'], rows: { [column]: value } });
        const { issued } = await on(right);
        await asAgent(issued.credential, async (client) => {
          await client.query(`SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'`);
          assert.deepEqual((await client.query('SELECT words FROM typed')).rows, [{ words: 'a b' }], column);
        });
        for (const value of wrong)
          await assert.rejects(on(value), { code: 'upstream_refused' }, `${column} ${JSON.stringify(value)}`);
      }
    });

    test('a value that is not written as its type writes it gives no lease', async () => {
      for (const value of [
        '42 ',
        ' 42',
        '4.2e1',
        '042',
        '+42',
        '0x2A',
        '42; DROP TABLE orders',
        'NULL',
        '',
        4.2,
        null,
        true,
        ['42'],
      ])
        await assert.rejects(
          leaseOn({ ...readOrders, rows: { customer_id: value as never } }),
          (error: { code?: string; name?: string }) => error.code === 'upstream_refused' || error.name === 'ZodError',
          JSON.stringify(value),
        );
      const roles = await shop.run(`SELECT rolname FROM pg_roles WHERE rolname LIKE 'writ\\_lse%'`);
      assert.deepEqual(roles, []);
      assert.deepEqual(
        await shop.run(
          `SELECT 1 FROM pg_roles WHERE rolname LIKE 'writ\\_%' AND rolcanlogin AND rolname <> 'writ_broker'`,
        ),
        [],
      );
      const { issued } = await leaseOn({ ...readOrders, rows: { customer_id: '42' } });
      assert.deepEqual(await customersSeen(await agent(issued.credential)), ['42']);
    });

    test('what was given to PUBLIC, or is not as it was prepared, gives no lease', async () => {
      const failsWith = async (providerCode: string | undefined, code: string) =>
        assert.rejects(leaseOn(readOrders), (error: { code?: string; providerCode?: string }) => {
          assert.deepEqual([error.code, error.providerCode], [code, providerCode]);
          return true;
        });
      await shop.run('GRANT SELECT (secret_margin) ON public.orders TO PUBLIC');
      await failsWith(undefined, 'upstream_mismatch');
      await shop.run(
        'REVOKE SELECT (secret_margin) ON public.orders FROM PUBLIC; ALTER TABLE public.orders DISABLE ROW LEVEL SECURITY',
      );
      await failsWith('drift', 'upstream_refused');
      await shop.run(
        'ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY; ALTER POLICY writ_scope ON public.orders USING (true)',
      );
      await failsWith('drift', 'upstream_refused');
      await shop.run('ALTER TABLE public.orders RENAME TO orders_old');
      await failsWith('42P01', 'upstream_refused');
      await shop.run(
        'ALTER TABLE public.orders_old RENAME TO orders; ALTER TABLE public.orders RENAME COLUMN due TO due_on',
      );
      await assert.rejects(leaseOn({ ...readOrders, read: ['due'] }), { code: 'upstream_refused' });
    });

    test('a lease has as many connections as it was given, and ends although all are in use', async () => {
      const lease = await leaseOn(readOrders);
      const clients = await Promise.all(Array.from({ length: 5 }, () => agent(lease.issued.credential)));
      assert.equal(await refusal(login(lease.issued.credential)), '53300');
      const { evidence } = await revoke(lease);
      assert.equal(evidence.sessions_ended, 5);
      for (const client of clients) await assert.rejects(client.query('SELECT 1'));
    });

    test('an agent that gives itself another password is out all the same', async () => {
      const lease = await leaseOn(writeOrders);
      const { user, url } = lease.issued.credential;
      const client = await agent(lease.issued.credential);
      await client.query(`ALTER ROLE "${user}" PASSWORD 'of-its-own'; ALTER ROLE "${user}" SET statement_timeout = 0`);
      const own = { url: String(url).replace(/:[^:@]+@/, ':of-its-own@') };
      assert.deepEqual(await customersSeen(await agent(own)), ['42']);
      assert.equal((await revoke(lease)).evidence.sessions_ended, 2);
      assert.equal(await refusal(login(own)), '28P01');
    });

    test('who goes on reconnecting while it is revoked is out in the end', async () => {
      const lease = await leaseOn(readOrders);
      let over = false;
      const keepComing = async () => {
        while (!over)
          await asAgent(lease.issued.credential, (client) => client.query('SELECT id FROM orders')).catch(() => {});
      };
      const coming = [keepComing(), keepComing(), keepComing()];
      await revoke(lease);
      over = true;
      await Promise.all(coming);
      assert.equal(await refusal(login(lease.issued.credential)), '28P01');
      assert.deepEqual(
        await shop.run('SELECT 1 FROM pg_stat_activity WHERE usesysid = $1::oid', [lease.issued.handle.role_oid]),
        [],
      );
    });

    test('what it made in another database does not keep its role', async () => {
      const lease = await leaseOn(writeOrders);
      await shop.server.run('DROP DATABASE IF EXISTS elsewhere');
      await shop.server.run('CREATE DATABASE elsewhere');
      await shop.server.run('GRANT ALL ON SCHEMA public TO PUBLIC', undefined, 'elsewhere');
      await asAgent({ url: String(lease.issued.credential.url).replace('/shop', '/elsewhere') }, (client) =>
        client.query('CREATE TABLE public.mine (a int)'),
      );
      await revoke(lease);
      await shop.server.run('DROP DATABASE elsewhere');
    });

    test('the password is in no log and in no statement that the server keeps, its verifier in no statistics', async () => {
      await shop.run('CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset()');
      const lease = await leaseOn(readOrders);
      const { user, password } = lease.issued.credential;
      await asAgent(lease.issued.credential, (client) => client.query('SELECT 1'));
      const texts = async (view: string) =>
        (await shop.run<{ query: string }>(`SELECT query FROM ${view}`)).map(({ query }) => query);
      const activity = await texts('pg_stat_activity');
      const [stored] = await shop.run<{ verifier: string }>(
        'SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = $1',
        [user],
      );
      await revoke(lease);
      const statistics = await texts('pg_stat_statements');
      assert.ok(
        statistics.some((text) => text.includes(String(user))),
        'the statistics have the mint',
      );
      assert.match(String(stored?.verifier), /^SCRAM-SHA-256\$/);
      for (const text of statistics) assert.doesNotMatch(text, /SCRAM-SHA-256/);
      assert.ok(shop.server.log().includes(String(user)), 'the log has the statements');
      for (const text of [shop.server.log(), ...activity, ...statistics])
        assert.ok(!String(text).includes(String(password)), 'the password was found');
    });

    test('a thousand leases live at once, and one more is made and ended', async () => {
      const first = await leaseOn(readOrders);
      await shop.run(`DO $$ DECLARE profile text; BEGIN
        SELECT rolname INTO profile FROM pg_roles WHERE rolname LIKE 'writ\\_rights%';
        FOR n IN 1..1000 LOOP
          EXECUTE format('CREATE ROLE %I LOGIN IN ROLE writ_leases, %I', 'writ_lse_many' || n, profile);
          INSERT INTO writ.lease_scope VALUES ('writ_lse_many' || n, 'public.orders'::regclass, 'customer_id', (n % 50)::text, now() + interval '1 hour');
        END LOOP; END $$`);
      const last = await leaseOn(readOrders);
      assert.deepEqual(await customersSeen(await agent(last.issued.credential)), ['42']);
      await revoke(first);
      await revoke(last);
    });
  });
