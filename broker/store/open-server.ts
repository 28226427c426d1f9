/** Opens a PostgreSQL server, directly or through a pooler. */
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { noProofs } from '../core/proven-rows.ts';
import { connectFault } from './connect-fault.ts';
import { type Pooling, prepareConnection } from './connection-settings.ts';
import { countingPrisma } from './counting-prisma.ts';
import { type MigrationConnection, migrate } from './migrate.ts';
import { assertKeptApart, findPooling } from './pooler.ts';
import type { Statement, Store, StoreOptions } from './store.ts';

const applicationName = 'writ';

export async function openServer(databaseUrl: string, options: StoreOptions): Promise<Store> {
  const schema = options.schema ?? 'public';
  const say = options.say ?? (() => {});
  // What is relied on is set on the connection, not in its first packet: poolers refuse what they do not know
  // there, and `?options=` of a URL takes its place.
  const common = { connectionString: databaseUrl, connectionTimeoutMillis: 5_000, keepAlive: true };
  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({ ...common, application_name: `${applicationName} start` });
    // A server that goes away is noticed by the next query.
    client.on('error', () => {});
    await client.connect();
    return client;
  };
  const first = await connect().catch((error) => {
    throw connectFault(error, databaseUrl);
  });
  let pooling: Pooling;
  try {
    pooling = await findPooling(first, connect);
    await migrate(asMigrationConnection(first), { schema, say });
  } finally {
    await first.end();
  }
  if (pooling === 'transaction') {
    await assertKeptApart(connect, schema);
    say(
      'the pooler shares connections between transactions: statements are planned anew each time, and statement_timeout is the role’s',
    );
  }
  const pool = new pg.Pool({
    ...common,
    max: options.poolSize ?? 10,
    // A server that says nothing at all must not hold a request: the connection is given up, and those behind
    // it go on.
    query_timeout: options.queryTimeoutMs ?? 20_000,
    application_name: applicationName,
    onConnect: (client) => prepareConnection(client as pg.Client, schema, pooling),
  });
  // An idle connection that the server closes is not a reason to die: the next query opens another.
  pool.on('error', () => {});
  try {
    // Whatever does not hold keeps the broker from starting, and not its first request from being answered.
    await pool.query('SELECT 1');
  } catch (error) {
    await pool.end();
    throw error;
  }
  let trips = 0;
  const prisma = countingPrisma({ adapter: new PrismaPg(pool, { schema }) }, () => {
    trips += 1;
  });
  // A prepared statement belongs to a connection: where that is shared, each execution brings its own.
  const prepared = pooling === 'session';
  return {
    backend: 'postgres',
    schema,
    prisma,
    proofs: options.proofs ?? noProofs,
    run: async <Row>({ name, text }: Statement, values: unknown[]) => {
      for (let tries = 1; ; tries += 1) {
        trips += 1;
        try {
          return (await pool.query(prepared ? { name, text, values } : { text, values })).rows as Row[];
        } catch (error) {
          if (tries === maxTries || !isRolledBack(error)) throw error;
        }
      }
    },
    roundTrips: () => trips,
    broken: () => null,
    close: async () => {
      await prisma.$disconnect();
      await pool.end();
    },
  };
}

const maxTries = 4;

/**
 * Deadlock or serialisation failure: the server undid the statement, which is a transaction of its own, so
 * that running it again is safe. Statements take their row locks in one order to avoid it; where two orders
 * still meet, the retry succeeds.
 */
function isRolledBack(error: unknown): boolean {
  return ['40P01', '40001'].includes((error as { code?: string }).code ?? '');
}

const asMigrationConnection = (client: pg.Client): MigrationConnection => ({
  exec: (script) => client.query(script),
  query: (text, values) => client.query(text, values ?? []) as never,
});
