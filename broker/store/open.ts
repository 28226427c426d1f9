/**
 * Opens the database: a PostgreSQL server when there is a URL, PGlite in this process otherwise. Same SQL,
 * same migrations.
 */
import { PGlite } from '@electric-sql/pglite';
import { PrismaPg } from '@prisma/adapter-pg';
import type { SqlDriverAdapterFactory, SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils';
import pg from 'pg';
import { PrismaPGlite } from 'pglite-prisma-adapter';
import { noProofs, type RowProofs } from '../core/proven-rows.ts';
import { lockFolder } from './folder-lock.ts';
import { migrate } from './migrate.ts';
import { PrismaClient } from './prisma/client.ts';

/**
 * What PostgreSQL takes as a bind parameter. JSON goes in as text (`JSON.stringify`) with a cast in the SQL.
 */
export type SqlValue = Scalar | Scalar[];
type Scalar = string | number | boolean | Date | null;

/** A statement with a name, so that a server prepares it once per connection. */
export interface Statement {
  name: string;
  text: string;
}

export interface Store {
  readonly backend: 'pglite' | 'postgres';
  /** Reads, off the hot path. Never for changes: see README.md here. */
  readonly prisma: PrismaClient;
  /**
   * Runs one statement in one round trip and its own transaction; every state change goes through here
   * together with its audit row.
   * @returns the rows, columns named as the SQL names them; `timestamptz` as Date, `json` parsed
   */
  run<Row>(statement: Statement, values: SqlValue[]): Promise<Row[]>;
  /** For whoever reads or writes a row that grants power: the two belong together. */
  readonly proofs: RowProofs;
  /** Statements run so far, by `run` and by `prisma`: what the benchmark divides by requests. */
  roundTrips(): number;
  close(): Promise<void>;
}

export interface StoreOptions {
  /** PostgreSQL URL; null = embedded. */
  databaseUrl: string | null;
  /** Folder of the embedded database; null = in memory (tests). */
  dataDir: string | null;
  /**
   * Embedded, in memory: start from this dump of a data folder instead of making one (tests: seven times
   * faster).
   */
  image?: Blob;
  poolSize?: number;
  /** How long a server may say nothing, in milliseconds. */
  queryTimeoutMs?: number;
  /** Proves rows, under the key-encryption key; without it no row of this store gives a right. */
  proofs?: RowProofs;
  /** Schema of the server to live in; tests give each suite its own. */
  schema?: string;
}

/**
 * Opens the database and brings its schema up to date.
 * @throws Error when the server does not answer or a migration fails: the broker does not start on a database
 *   it does not know.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  return options.databaseUrl === null ? openEmbedded(options) : openServer(options.databaseUrl, options);
}

async function openEmbedded(options: StoreOptions): Promise<Store> {
  const unlock = options.dataDir === null ? async () => {} : await lockFolder(options.dataDir);
  try {
    return await openLocked(options, unlock);
  } catch (error) {
    await unlock();
    throw error;
  }
}

async function openLocked(options: StoreOptions, unlock: () => Promise<void>): Promise<Store> {
  const image = options.image === undefined ? {} : { loadDataDir: options.image };
  const db = await (options.dataDir === null ? PGlite.create(image) : PGlite.create(options.dataDir));
  const adapter = new PrismaPGlite(db) as unknown as SqlMigrationAwareDriverAdapterFactory;
  await migrate(adapter);
  let trips = 0;
  const prisma = countingPrisma({ adapter }, () => {
    trips += 1;
  });
  return {
    backend: 'pglite',
    prisma,
    proofs: options.proofs ?? noProofs,
    run: async <Row>(statement: Statement, values: SqlValue[]) => {
      trips += 1;
      return (await db.query<Row>(statement.text, values)).rows;
    },
    roundTrips: () => trips,
    close: async () => {
      await prisma.$disconnect();
      await stopIdleTimer(db);
      await db.close();
      await unlock();
    },
  };
}

/**
 * After each command PostgreSQL sets a ten-second timer to flush its statistics, and closing PGlite does not
 * clear it: the process would stay alive until it fires. An immediate flush needs no such timer, and the
 * statement timeout's timer replaces the one that is set.
 */
async function stopIdleTimer(db: PGlite): Promise<void> {
  await db.exec("SET statement_timeout = '20ms'");
  await db.exec('SELECT pg_stat_force_next_flush()').catch(() => {});
}

async function openServer(databaseUrl: string, options: StoreOptions): Promise<Store> {
  const schema = options.schema ?? 'public';
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: options.poolSize ?? 10,
    connectionTimeoutMillis: 5_000,
    // A statement that hangs must not block a request; all of ours are short.
    statement_timeout: 15_000,
    // And a server that says nothing at all must not hold one either: the connection is given up, and those
    // behind it go on.
    query_timeout: options.queryTimeoutMs ?? 20_000,
    application_name: 'writ',
    options: [`search_path=${pg.escapeIdentifier(schema)}`, ...steadyPlans].map((setting) => `-c ${setting}`).join(' '),
  });
  // An idle connection that the server closes is not a reason to die: the next query opens another.
  pool.on('error', () => {});
  await migrateServer(databaseUrl, schema);
  let trips = 0;
  const prisma = countingPrisma({ adapter: new PrismaPg(pool, { schema }) }, () => {
    trips += 1;
  });
  return {
    backend: 'postgres',
    prisma,
    proofs: options.proofs ?? noProofs,
    run: async <Row>(statement: Statement, values: SqlValue[]) => {
      for (let tries = 1; ; tries += 1) {
        trips += 1;
        try {
          return (await pool.query({ name: statement.name, text: statement.text, values })).rows as Row[];
        } catch (error) {
          if (tries === maxTries || !isRolledBack(error)) throw error;
        }
      }
    },
    roundTrips: () => trips,
    close: async () => {
      await prisma.$disconnect();
      await pool.end();
    },
  };
}

/**
 * How the server plans our statements: one plan serves all the values a statement is given, and it finds its
 * rows through indexes. Left to itself, the server plans some of them anew on every execution because it
 * thinks that the values would help (which cost five times the execution), reads whole tables that were small
 * when it first looked, for as long as it keeps the plan, and compiles what it has misjudged.
 * `broker/plans.test.ts` shows what comes of it on an empty database.
 */
export const steadyPlans = [
  'plan_cache_mode=force_generic_plan',
  'random_page_cost=1.1',
  'seq_page_cost=100',
  'jit=off',
];

const maxTries = 4;

/**
 * Deadlock or serialisation failure: the server undid the statement, which is a transaction of its own, so
 * that running it again is safe. Statements take their row locks in one order to avoid it; where two orders
 * still meet, the retry succeeds.
 */
function isRolledBack(error: unknown): boolean {
  return ['40P01', '40001'].includes((error as { code?: string }).code ?? '');
}

/** @param count called for every statement that goes to the database */
function countingPrisma(options: { adapter: SqlDriverAdapterFactory }, count: () => void): PrismaClient {
  const prisma = new PrismaClient({ ...options, log: [{ emit: 'event', level: 'query' }] });
  prisma.$on('query', count);
  return prisma as unknown as PrismaClient;
}

/**
 * Migrates over one connection of its own: the engine's advisory lock, which keeps two starting processes
 * apart, belongs to a connection. The adapter would cut a script at every semicolon, inside function bodies
 * too; the server itself takes the whole script, in one transaction.
 */
async function migrateServer(databaseUrl: string, schema: string): Promise<void> {
  const options = `-c search_path=${pg.escapeIdentifier(schema)}`;
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: 1,
    connectionTimeoutMillis: 5_000,
    application_name: 'writ migrate',
    options,
  });
  try {
    await pool.query(`CREATE SCHEMA IF NOT EXISTS ${pg.escapeIdentifier(schema)}`);
    const factory = new PrismaPg(pool, { schema });
    await migrate({
      provider: factory.provider,
      adapterName: factory.adapterName,
      connectToShadowDb: () => factory.connectToShadowDb(),
      connect: async () => {
        const connection = await factory.connect();
        connection.executeScript = async (script) => void (await pool.query(script));
        return connection;
      },
    });
  } finally {
    await pool.end();
  }
}
