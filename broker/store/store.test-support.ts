/**
 * Stores for tests: the embedded database, and the same on a PostgreSQL server where one answers. `npm test`
 * finds out once and says so (scripts/test.ts); a single test file run by hand asks for itself.
 */
import { createHash, randomBytes } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import pg from 'pg';
import { createRowProofs } from '../keys/row-proofs.ts';
import { migrate } from './migrate.ts';
import { openStore, type Store } from './open.ts';
import { applyPreparation } from './prepare.ts';

export const testDatabaseUrl = process.env.TEST_DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres';
export const testRedisUrl = process.env.TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';

/** @returns whether something listens there */
export function answers(url: string): Promise<boolean> {
  const { hostname, port, protocol } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect({
      host: hostname,
      port: Number(port || (protocol.startsWith('redis') ? 6379 : 5432)),
      // Nobody listening is told at once; a busy machine may take its time.
      timeout: 30_000,
    });
    const done = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
    socket.once('timeout', () => done(false));
  });
}

async function service(url: string, what: string): Promise<boolean> {
  if (await answers(url)) return true;
  if (process.env.REQUIRE_SERVICES === '1') throw new Error(`${what} does not answer and REQUIRE_SERVICES=1`);
  return false;
}

export type Backend = 'pglite' | 'postgres';

/**
 * The databases to run a suite on: PostgreSQL where it answers, else the embedded one. `TEST_BACKEND` names
 * one, or `both`. `npm run test:deep` runs on the embedded one what `npm test` ran on PostgreSQL.
 */
export async function testBackends(): Promise<Backend[]> {
  if (process.env.TEST_BACKEND === 'pglite') return ['pglite'];
  const both = await bothBackends();
  return process.env.TEST_BACKEND === 'both' ? both : both.slice(-1);
}

/** For what needs one database, whichever. */
export const testBackend = async (): Promise<Backend> => (await testBackends()).at(-1)!;

/** For suites about the store itself: the embedded database, and PostgreSQL where it answers. */
export async function bothBackends(): Promise<Backend[]> {
  if (process.env.TEST_BACKEND === 'postgres') return ['postgres'];
  return (await service(testDatabaseUrl, 'PostgreSQL (TEST_DATABASE_URL)')) ? ['pglite', 'postgres'] : ['pglite'];
}

export const redisAnswers = () => service(testRedisUrl, 'Redis (TEST_REDIS_URL)');

const migrations = join(import.meta.dirname, '../../prisma/migrations');

/** Names the state of the migrations: what is made once for a state is made anew for the next. */
async function migrationsHash(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(migrations)).sort()) {
    if (!name.endsWith('.toml')) hash.update(await readFile(join(migrations, name, 'migration.sql')));
  }
  return hash.digest('hex').slice(0, 16);
}

/**
 * A migrated, empty embedded database as a file, made to be opened quickly: tests open some two hundred.
 */
export function migratedImage(): Promise<Blob> {
  image ??= readImage();
  return image;
}
let image: Promise<Blob> | undefined;

async function readImage(): Promise<Blob> {
  const folder = join(import.meta.dirname, '../../node_modules/.cache/writ');
  const file = join(folder, `pglite-tiny-${await migrationsHash()}.tar`);
  const known = await readFile(file).catch(() => null);
  if (known !== null) return new Blob([known]);
  // With the usual 16 MB of a segment, most of what each test unpacks would be an empty log.
  const database = await PGlite.create({ initDbStartParams: ['--wal-segsize=1'] });
  await migrate(database);
  await makeSmall(database);
  const dump = await database.dumpDataDir('none');
  await database.close();
  // Test files run side by side: each writes its own file, and the last rename wins.
  await mkdir(folder, { recursive: true });
  const mine = `${file}.${randomBytes(6).toString('hex')}`;
  await writeFile(mine, Buffer.from(await dump.arrayBuffer()));
  await rename(mine, file);
  return dump;
}

/** The same as a folder, for a broker that keeps its database on disk. */
export async function layMigrated(dataDir: string): Promise<void> {
  const known = join(import.meta.dirname, `../../node_modules/.cache/writ/pglite-tiny-${await migrationsHash()}`);
  await mkdir(join(dataDir, '..'), { recursive: true });
  if (await copied(known, dataDir)) return;
  await (await PGlite.create({ dataDir, loadDataDir: await migratedImage() })).close();
  const mine = `${known}.${randomBytes(6).toString('hex')}`;
  await cp(dataDir, mine, { recursive: true });
  // Another test file was quicker.
  await rename(mine, known).catch(() => rm(mine, { recursive: true }));
}

/** @returns whether there was something to copy */
const copied = (from: string, to: string): Promise<boolean> =>
  cp(from, to, { recursive: true }).then(
    () => true,
    (error) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );

/** Leaves out what makes opening it slow, and nobody misses: two more databases, and 128 MB of buffers. */
async function makeSmall(database: PGlite): Promise<void> {
  await database.exec('UPDATE pg_database SET datistemplate = false');
  for (const name of ['template0', 'template1']) await database.exec(`DROP DATABASE ${name}`);
  await database.exec("ALTER SYSTEM SET shared_buffers = '8MB'");
  await database.exec('CHECKPOINT');
}

async function onServer<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: testDatabaseUrl });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const urlOf = (database: string, server = testDatabaseUrl) =>
  Object.assign(new URL(server), { pathname: `/${database}` }).href;
/** Where the tests' brokers find the server, when it is not where its databases are made: behind a pooler. */
const brokersServer = process.env.TEST_POOLER_URL ?? testDatabaseUrl;

/**
 * A migrated, empty database on the test server, copied from a template that is made once.
 * @param kind `empty`: without any schema of ours
 * @returns its URL for a broker, the server's own, and how to drop it
 */
export async function createTestDatabase(
  kind: 'migrated' | 'empty' = 'migrated',
): Promise<{ url: string; direct: string; drop(): Promise<void> }> {
  const template = `writ_template_${await migrationsHash()}`;
  // The run's name: scripts/test/databases.ts drops what a test that was cut has left.
  const name = `writ_test_${process.env.WRIT_TEST_RUN ?? '0_0'}_${randomBytes(8).toString('hex')}`;
  await onServer(async (client) => {
    // Test files run side by side: one makes the template, the others wait for it.
    await client.query('SELECT pg_advisory_lock(8420)');
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [template]);
    if (rowCount === 0) {
      await client.query(`DROP DATABASE IF EXISTS ${template}_new`);
      await client.query(`CREATE DATABASE ${template}_new`);
      await (await openStore({ databaseUrl: urlOf(`${template}_new`), dataDir: null, poolSize: 1 })).close();
      await client.query(`ALTER DATABASE ${template}_new RENAME TO ${template}`);
    }
    // The server's default writes every page to its log as well.
    const from = kind === 'empty' ? 'template0' : template;
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${from} STRATEGY file_copy`);
    await client.query('SELECT pg_advisory_unlock(8420)');
  });
  return {
    url: urlOf(name, brokersServer),
    direct: urlOf(name),
    drop: () => onServer(async (client) => void (await client.query(`DROP DATABASE ${name} WITH (FORCE)`))),
  };
}

/**
 * The same, prepared for two roles of its own.
 * @returns the owner's URL (a superuser), and the one that a broker runs with
 */
export async function createPreparedDatabase(): Promise<{ url: string; runtimeUrl: string; drop(): Promise<void> }> {
  // Past a pooler: it knows no roles that a test makes.
  const { direct: url, drop } = await createTestDatabase();
  const suffix = randomBytes(6).toString('hex');
  const [migrationRole, runtimeRole] = [`writ_test_owner_${suffix}`, `writ_test_runtime_${suffix}`];
  const options = { databaseUrl: url, schema: 'public', migrationRole, runtimeRole, runtimePassword: suffix };
  await applyPreparation(options);
  return {
    url,
    runtimeUrl: Object.assign(new URL(url), { username: runtimeRole, password: suffix }).href,
    drop: async () => {
      await drop();
      await onServer(async (client) => void (await client.query(`DROP ROLE ${migrationRole}, ${runtimeRole}`)));
    },
  };
}

/**
 * A migrated, empty database for a broker that a test starts in this process: what it is started with, and
 * how to drop it once the broker has stopped.
 */
export async function placeBroker(
  backend?: Backend,
): Promise<{ env: { DATABASE_URL?: string }; overrides: { inMemory?: Blob }; drop(): Promise<void> }> {
  if ((backend ?? (await testBackend())) === 'pglite')
    return { env: {}, overrides: { inMemory: await migratedImage() }, drop: () => Promise.resolve() };
  const { url, drop } = await createTestDatabase();
  return { env: { DATABASE_URL: url }, overrides: {}, drop };
}

/** A migrated, empty store; `close` removes what it left on the server. */
export async function openTestStore(backend?: Backend): Promise<Store> {
  const proofs = createRowProofs(randomBytes(32));
  if ((backend ?? (await testBackend())) === 'pglite')
    return openStore({ databaseUrl: null, dataDir: null, image: await migratedImage(), proofs });
  const database = await createTestDatabase();
  const store = await openStore({ databaseUrl: database.url, dataDir: null, proofs });
  const close = async () => {
    await store.close();
    await database.drop();
  };
  return { ...store, close };
}
