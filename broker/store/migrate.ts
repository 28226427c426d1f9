/**
 * Applies `prisma/migrations` with Prisma's own engine compiled to WebAssembly: the same `_prisma_migrations`
 * table, no binary to download, and it works over a server and over PGlite alike.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  bindMigrationAwareSqlAdapterFactory,
  type SqlMigrationAwareDriverAdapterFactory,
} from '@prisma/driver-adapter-utils';
import type { SchemaEngine } from '@prisma/schema-engine-wasm';

const root = join(import.meta.dirname, '../../prisma');
const noFilters = { externalTables: [], externalEnums: [] };

/** Opens Prisma's schema engine over a database. The caller frees it. */
async function openEngine(adapter: SqlMigrationAwareDriverAdapterFactory): Promise<SchemaEngine> {
  const schema = await readFile(join(root, 'schema.prisma'), 'utf8');
  const { SchemaEngine } = await import('@prisma/schema-engine-wasm');
  return SchemaEngine.new(
    { datamodels: [['schema.prisma', schema]] },
    () => {},
    bindMigrationAwareSqlAdapterFactory(adapter),
  );
}

async function migrationsList() {
  const base = join(root, 'migrations');
  const names = (await readdir(base, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  const migrationDirectories = await Promise.all(
    names.sort().map(async (path) => ({
      path,
      migrationFile: {
        path: 'migration.sql',
        content: { tag: 'ok' as const, value: await readFile(join(base, path, 'migration.sql'), 'utf8') },
      },
    })),
  );
  const lockfile = { path: 'migration_lock.toml', content: await readFile(join(base, 'migration_lock.toml'), 'utf8') };
  return { baseDir: base, lockfile, shadowDbInitScript: '', migrationDirectories };
}

/**
 * Applies every migration that the database does not have yet.
 * @returns the names of those applied now
 */
export async function migrate(adapter: SqlMigrationAwareDriverAdapterFactory): Promise<string[]> {
  const list = await migrationsList();
  const applied = await appliedMigrations(adapter);
  // The engine is 10 MB of WebAssembly and leaves a ten-second timer behind: it is not even loaded when there
  // is nothing to do.
  if (list.migrationDirectories.every(({ path }) => applied.has(path))) return [];
  const engine = await openEngine(adapter);
  try {
    return (await engine.applyMigrations({ migrationsList: list, filters: noFilters })).appliedMigrationNames;
  } finally {
    engine.free();
  }
}

async function appliedMigrations(adapter: SqlMigrationAwareDriverAdapterFactory): Promise<Set<string>> {
  const connection = await adapter.connect();
  const ask = async (sql: string) =>
    (await connection.queryRaw({ sql, args: [], argTypes: [] })).rows.map(([value]) => value);
  try {
    const [table] = await ask(`SELECT to_regclass('_prisma_migrations')::text`);
    if (table === null) return new Set();
    const done =
      'SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL';
    return new Set((await ask(done)).map(String));
  } finally {
    await connection.dispose();
  }
}

/**
 * The SQL that would bring a database on which all migrations have been applied to what `schema.prisma` says;
 * empty when they agree.
 * @param adapter an empty database of its own
 */
export async function draftMigration(adapter: SqlMigrationAwareDriverAdapterFactory): Promise<string> {
  await migrate(adapter);
  const engine = await openEngine(adapter);
  try {
    const files = [{ path: 'schema.prisma', content: await readFile(join(root, 'schema.prisma'), 'utf8') }];
    const { stdout } = await engine.diff({
      from: { tag: 'schemaDatasource', files, configDir: root },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: null,
      filters: noFilters,
    });
    return stdout === null || stdout.includes('This is an empty migration') ? '' : stdout;
  } finally {
    engine.free();
  }
}
