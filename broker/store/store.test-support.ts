/**
 * Stores for tests: the embedded database, and the same on a PostgreSQL server where one answers. `npm test` finds out once and says so (scripts/test.ts);
 * a single test file run by hand asks for itself.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import type { SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils';
import { PrismaPGlite } from 'pglite-prisma-adapter';
import { migrate } from './migrate.ts';
import { openStore, type Store } from './open.ts';

export const testDatabaseUrl = process.env.TEST_DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres';
export const testRedisUrl = process.env.TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';

/** @returns whether something listens there */
export function answers(url: string): Promise<boolean> {
  const { hostname, port, protocol } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect({
      host: hostname,
      port: Number(port || (protocol.startsWith('redis') ? 6379 : 5432)),
      timeout: 2000,
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

/** The databases to run a suite on: `pglite`, and `postgres` where it answers. */
export async function testBackends(): Promise<('pglite' | 'postgres')[]> {
  return (await service(testDatabaseUrl, 'PostgreSQL (TEST_DATABASE_URL)')) ? ['pglite', 'postgres'] : ['pglite'];
}

export const redisAnswers = () => service(testRedisUrl, 'Redis (TEST_REDIS_URL)');

/** A schema name of its own, so that suites on one server do not meet. */
export const testSchema = () => `test_${randomBytes(8).toString('hex')}`;

/** Drops a test's schema. */
export async function dropSchema(schema: string): Promise<void> {
  const store = await openStore({ databaseUrl: testDatabaseUrl, dataDir: null, schema, poolSize: 1 });
  await store.run({ name: 'drop_schema', text: `DROP SCHEMA IF EXISTS ${schema} CASCADE` }, []);
  await store.close();
}

/** A migrated, empty embedded database as a file, made once for each state of the migrations. */
export async function migratedImage(): Promise<Blob> {
  const migrations = join(import.meta.dirname, '../../prisma/migrations');
  const hash = createHash('sha256');
  for (const name of (await readdir(migrations)).sort()) {
    if (!name.endsWith('.toml')) hash.update(await readFile(join(migrations, name, 'migration.sql')));
  }
  const folder = join(import.meta.dirname, '../../node_modules/.cache/writ');
  const file = join(folder, `pglite-${hash.digest('hex').slice(0, 16)}.tar`);
  const known = await readFile(file).catch(() => null);
  if (known !== null) return new Blob([known]);
  const database = await PGlite.create();
  await migrate(new PrismaPGlite(database) as unknown as SqlMigrationAwareDriverAdapterFactory);
  const dump = await database.dumpDataDir('none');
  await database.close();
  // Test files run side by side: each writes its own file, and the last rename wins.
  await mkdir(folder, { recursive: true });
  const mine = `${file}.${randomBytes(6).toString('hex')}`;
  await writeFile(mine, Buffer.from(await dump.arrayBuffer()));
  await rename(mine, file);
  return dump;
}

/** A migrated, empty store; `close` removes what it left on the server. */
export async function openTestStore(backend: 'pglite' | 'postgres'): Promise<Store> {
  if (backend === 'pglite') return openStore({ databaseUrl: null, dataDir: null, image: await migratedImage() });
  const schema = testSchema();
  const store = await openStore({ databaseUrl: testDatabaseUrl, dataDir: null, schema });
  const close = async () => {
    await store.close();
    await dropSchema(schema);
  };
  return { ...store, close };
}
