import { after, before, test } from 'node:test';
import { type ConformanceHarness, conformance } from '../conformance.ts';
import type { JsonObject } from '../contract.ts';
import { tooManyConnectionsSeconds } from './errors.ts';
import {
  adminPassword,
  asAgent,
  brokerPassword,
  openShop,
  type Shop,
  serversToTest,
  startHarness,
} from './harness.test-support.ts';

const readOrders = { table: 'orders', read: ['id', 'amount', 'due'], rows: { customer_id: '42' } };
const one = (table: object) => ({ tables: [{ ...readOrders, ...table }] });

const goodParams = [
  { tables: [readOrders] },
  {
    tables: [
      { table: 'orders', read: ['id', 'customer_id', 'note'], update: ['note'], rows: { customer_id: 42 } },
      { table: 'customers', read: ['id', 'name'], rows: { id: 42 } },
      { table: 'countries', read: ['code'], rows: 'all' },
    ],
  },
  { tables: [{ table: 'payments', through: 'view', read: ['id', 'paid'], rows: { customer_id: 42 } }] },
];

const badParams: ConformanceHarness['badParams'] = [
  { params: {}, path: 'tables' },
  { params: { tables: [] }, path: 'tables' },
  { params: { tables: [readOrders, readOrders] }, path: 'tables.1' },
  { params: { tables: [readOrders], database: 'other' }, path: 'database' },
  { params: { tables: [readOrders], server: 'replica' }, path: 'server' },
  { params: { tables: [{ ...readOrders, insert: ['id'] }], server: 'replica' }, path: 'tables.0.insert' },
  { params: one({ rows: undefined }), path: 'tables.0.rows' },
  { params: one({ rows: {} }), path: 'tables.0.rows' },
  { params: one({ rows: 'some' }), path: 'tables.0.rows' },
  { params: one({ rows: { customer_id: null } }), path: 'tables.0.rows.customer_id' },
  { params: one({ rows: { customer_id: 4.2 } }), path: 'tables.0.rows.customer_id' },
  { params: one({ rows: { customer_id: '' } }), path: 'tables.0.rows.customer_id' },
  { params: one({ rows: { customer_id: '42\u0000' } }), path: 'tables.0.rows.customer_id' },
  { params: one({ rows: { customer_id: ['42'] } }), path: 'tables.0.rows.customer_id' },
  { params: one({ rows: { a: 1, b: 1, c: 1, d: 1, e: 1 } }), path: 'tables.0.rows' },
  { params: one({ read: [] }), path: 'tables.0.read' },
  { params: one({ read: undefined }), path: 'tables.0.read' },
  { params: one({ read: ['id', 'id'] }), path: 'tables.0.read.1' },
  { params: one({ read: ['*', 'i\u200bd'] }), path: 'tables.0.read.1' },
  { params: one({ table: 'ö'.repeat(32) }), path: 'tables.0.table' },
  { params: one({ table: '' }), path: 'tables.0.table' },
  { params: one({ schema: 'pg_catalog' }), path: 'tables.0.schema' },
  { params: one({ schema: 'information_schema' }), path: 'tables.0.schema' },
  { params: one({ schema: 'writ' }), path: 'tables.0.schema' },
  { params: one({ schema: 's'.repeat(60), through: 'view' }), path: 'tables.0.schema' },
  { params: one({ through: 'hope' }), path: 'tables.0.through' },
  { params: one({ truncate: true }), path: 'tables.0.truncate' },
];

/** What the process prints while a harness is open: the provider has no logger of its own. */
function capturePrinted(): { text(): string; stop(): void } {
  const streams = [process.stdout, process.stderr];
  const originals = streams.map((stream) => stream.write);
  let printed = '';
  for (const [index, stream] of streams.entries())
    stream.write = ((...given: Parameters<typeof stream.write>) => {
      printed += String(given[0]);
      return originals[index]?.apply(stream, given) ?? true;
    }) as typeof stream.write;
  return {
    text: () => printed,
    stop: () => {
      for (const [index, stream] of streams.entries()) stream.write = originals[index] as typeof stream.write;
    },
  };
}

/** A statement that must give rows inside the scope, and one that must be refused or give none. */
const statements: { inside: string; outside: string[] }[] = [
  {
    inside: 'SELECT id, amount, due FROM orders',
    outside: ['SELECT id FROM orders WHERE customer_id <> 42', 'SELECT note FROM orders', 'SELECT id FROM customers'],
  },
  {
    inside: `WITH u AS (UPDATE orders SET note = 'seen' WHERE id = 421 RETURNING id)
      SELECT u.id, c.name FROM u, orders o JOIN customers c ON c.id = o.customer_id, countries WHERE o.note IS NOT NULL`,
    outside: [
      'SELECT id FROM orders WHERE customer_id IS DISTINCT FROM 42',
      'SELECT id FROM customers WHERE id <> 42',
      `UPDATE orders SET note = 'x' WHERE id = 71 RETURNING id`,
      'SELECT name FROM countries',
    ],
  },
  {
    inside: 'SELECT id, paid FROM payments',
    outside: ['SELECT id FROM payments WHERE id <> 42', 'SELECT id FROM public.payments'],
  },
];

async function reaches(credential: JsonObject, statement: string): Promise<boolean> {
  try {
    return await asAgent(credential, async (client) => ((await client.query(statement)).rowCount ?? 0) > 0);
  } catch (error) {
    const { code } = error as { code?: string };
    // No right; the login is refused; it is ended while it asks.
    if (['42501', '28P01', '28000', '57P01'].includes(code ?? '')) return false;
    throw error;
  }
}

async function make(shop: Shop): Promise<ConformanceHarness> {
  await shop.reset();
  const { provider, gate, clock, close } = await startHarness(shop);
  const printed = capturePrinted();
  /** The server gives another end than it was asked for. */
  const oddEnd = (end: string) => () =>
    shop.run(`CREATE OR REPLACE FUNCTION public.odd() RETURNS trigger LANGUAGE plpgsql AS
        $odd$ BEGIN NEW.expires_at := ${end}; RETURN NEW; END $odd$;
      DROP TRIGGER IF EXISTS odd ON writ.lease_scope;
      CREATE TRIGGER odd BEFORE INSERT ON writ.lease_scope FOR EACH ROW EXECUTE FUNCTION public.odd()`);
  let pending: Promise<unknown> = Promise.resolve();
  const later = (work: () => Promise<unknown>) => {
    pending = pending.then(work);
  };
  return {
    // What a test has done to the server is done before the provider asks it.
    provider: { ...provider, issue: (context) => pending.then(() => provider.issue(context)) },
    clock,
    goodParams,
    badParams,
    statefulParams: goodParams,
    changeState: async () =>
      void (await shop.run(`DELETE FROM orders WHERE id = (SELECT min(id) FROM orders WHERE customer_id = 42);
        INSERT INTO payments (customer_id, paid) VALUES (42, 1)`)),
    async use(credential, inside, index = 0) {
      const { inside: good, outside } = statements[index]!;
      const tried = await Promise.all((inside ? [good] : outside).map((statement) => reaches(credential, statement)));
      return tried.some(Boolean) ? 'accepted' : 'refused';
    },
    upstream: {
      requests: gate.requests,
      fail: (kind) => {
        gate.fail(kind === 'hang' ? 'hang' : kind === 'unavailable' ? { code: '57P03', message: 'starting up' } : null);
        later(() =>
          shop.run(
            `ALTER ROLE writ_broker ${kind === 'refused' ? 'NOCREATEROLE' : 'CREATEROLE'} CONNECTION LIMIT ${kind === 'throttled' ? 0 : -1};
             DROP TRIGGER IF EXISTS odd ON writ.lease_scope`,
          ),
        );
      },
      throttledSeconds: tooManyConnectionsSeconds,
      // It hangs at the login.
      hangsBeforeMint: true,
      odd: {
        'ends-in-the-past': () => later(oddEnd("now() - interval '1 hour'")),
        'ends-too-late': () => later(oddEnd("now() + interval '1 year'")),
      },
      expectedRefusalCode: '42501',
    },
    breaks: {
      'a role with no connection left': () => shop.run('ALTER ROLE writ_broker CONNECTION LIMIT 0').then(() => {}),
      'a policy that is gone': () => shop.run('ALTER TABLE orders DISABLE ROW LEVEL SECURITY').then(() => {}),
      'another password': () => shop.run(`ALTER ROLE writ_broker PASSWORD 'another'`).then(() => {}),
    },
    output: printed.text,
    otherSecrets: () => [brokerPassword, adminPassword],
    // The server's clock is the machine's and stands where it is: instead, every end comes nearer.
    async advance(ms) {
      clock.advance(ms);
      await shop.run(`UPDATE writ.lease_scope SET expires_at = expires_at - interval '${ms} milliseconds'`);
      await shop.run(`DO $$ DECLARE r record; BEGIN
        FOR r IN SELECT rolname, rolvaliduntil FROM pg_roles WHERE rolname LIKE 'writ\\_lease%' AND rolvaliduntil > '-infinity'
        LOOP EXECUTE format('ALTER ROLE %I VALID UNTIL %L', r.rolname, r.rolvaliduntil - interval '${ms} milliseconds'); END LOOP; END $$`);
    },
    async close() {
      printed.stop();
      await close();
      await pending;
    },
  };
}

const servers = serversToTest();
if (servers.length === 0) test('NOT TESTED: no PostgreSQL server is installed here', { skip: true }, () => {});
for (const binaries of servers) {
  let shop: Shop;
  before(async () => {
    shop = await openShop(binaries);
  });
  after(() => shop.close());
  conformance(`PostgreSQL ${binaries.version}`, () => make(shop), true);
}
