/**
 * Applies `prisma/migrations`, and notes them in the table of Prisma's own tools. All that is missing goes
 * into one transaction under one lock: several first starts wait for each other, a process that dies leaves
 * nothing half done, and it works through a pooler that gives each transaction another connection.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PGlite } from '@electric-sql/pglite';
import {
  bindMigrationAwareSqlAdapterFactory,
  type SqlMigrationAwareDriverAdapterFactory,
} from '@prisma/driver-adapter-utils';
import { PrismaPGlite } from 'pglite-prisma-adapter';
import {
  type AppliedMigration,
  appliedSql,
  compareSchema,
  type Migration,
  migrationsFolder,
  readMigrations,
  type SchemaState,
  schemaFault,
} from './schema-version.ts';

/** One connection, to PGlite or to a server. */
export interface MigrationConnection {
  /** Runs a script of any number of statements. */
  exec(script: string): Promise<unknown>;
  query<Row>(text: string, values?: (string | number)[]): Promise<{ rows: Row[] }>;
}

export interface MigrateOptions {
  schema: string;
  /** Told what an operator should know of a start that takes long. */
  say(message: string): void;
}

/**
 * The key of the lock that Prisma's own tools take: they, and releases of before, keep apart from this one
 * too.
 */
const lockKey = 72_707_369;

/** As Prisma's engine makes it. */
const migrationsTable = `CREATE TABLE IF NOT EXISTS _prisma_migrations (
  id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ, migration_name VARCHAR(255) NOT NULL, logs TEXT,
  rolled_back_at TIMESTAMPTZ, started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0)`;

/**
 * Applies every migration that the database does not have yet. Needs no more than SELECT on the table of
 * migrations where nothing is missing.
 * @returns the names of those applied now
 * @throws Error in an operator's words when the schema is newer than this release, a migration was left half
 *   done, or the role may not make what is missing
 */
export async function migrate(
  connection: MigrationConnection,
  options: MigrateOptions = { schema: 'public', say: () => {} },
): Promise<string[]> {
  const own = await readMigrations();
  const before = await readState(connection, own, options.schema).catch((error) => {
    throw unreadable(error);
  });
  if (before.pending.length === 0) return [];
  if (before.pending.length === own.length) await assertUnicode(connection);
  // What the one before has committed is seen once its lock is free, whatever the database's default is.
  await connection.exec('BEGIN ISOLATION LEVEL READ COMMITTED');
  try {
    await connection.exec(sessionOf(options.schema));
    await takeLock(connection, options.say);
    // Whoever held the lock may have done it all.
    const { pending } = await readState(connection, own, options.schema);
    if (pending.length > 0) await applyAll(connection, own, pending, options);
    await connection.exec('COMMIT');
    return pending;
  } catch (error) {
    await connection.exec('ROLLBACK').catch(() => {});
    throw explained(error, before.pending);
  }
}

/**
 * Names and words are of any language; where bytes stand for characters, a text is cut in the middle of one.
 * @throws Error in an operator's words
 */
async function assertUnicode(connection: MigrationConnection): Promise<void> {
  const { rows } = await connection.query<{ encoding: string }>(
    `SELECT current_setting('server_encoding') AS encoding`,
  );
  const encoding = rows[0]?.encoding;
  if (encoding === 'UTF8') return;
  throw new Error(
    `the database has the encoding ${encoding}, and Writ needs UTF8: make one with \`CREATE DATABASE writ ENCODING 'UTF8' TEMPLATE template0\` and name it in DATABASE_URL`,
  );
}

/** For this transaction alone: no time limits, and names that are ours. */
const sessionOf = (schema: string) => `
  SET LOCAL search_path = "${schema}"; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL standard_conforming_strings = on;
  SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
  SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'`;

/** Waits as long as the other's migration lasts, and says so. */
async function takeLock(connection: MigrationConnection, say: (message: string) => void): Promise<void> {
  const { rows } = await connection.query<{ taken: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS taken', [
    lockKey,
  ]);
  if (rows[0]?.taken === true) return;
  say('another process is migrating the database: waiting until it has finished');
  await connection.query('SELECT pg_advisory_xact_lock($1)', [lockKey]);
  say('the other migration has finished: going on');
}

async function applyAll(
  connection: MigrationConnection,
  own: readonly Migration[],
  pending: readonly string[],
  { schema, say }: MigrateOptions,
): Promise<void> {
  // Making a schema is a privilege on the database: not asked for where there is nothing to make.
  const { rows } = await connection.query<{ there: boolean }>(
    'SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1) AS there',
    [schema],
  );
  if (rows[0]?.there !== true) await connection.exec(`CREATE SCHEMA "${schema}"`);
  if (!(await hasTable(connection, schema))) await connection.exec(migrationsTable);
  for (const { name, script, checksum } of own) {
    if (!pending.includes(name)) continue;
    say(`applying migration ${name}`);
    await connection.exec(script);
    // The time of the transaction is the time of all of them.
    await connection.query(
      'INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, applied_steps_count) VALUES ($1, $2, now(), $3, 1)',
      [randomUUID(), checksum, name],
    );
  }
}

/** Asked of the catalogue: it answers whatever the role may see. */
async function hasTable(connection: MigrationConnection, schema: string): Promise<boolean> {
  const { rows } = await connection.query<{ there: boolean }>(
    `SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = '_prisma_migrations') AS there`,
    [schema],
  );
  return rows[0]?.there === true;
}

/** @throws Error when this release cannot work on what is there */
async function readState(
  connection: MigrationConnection,
  own: readonly Migration[],
  schema: string,
): Promise<SchemaState> {
  const names = own.map(({ name }) => name);
  const rows = (await hasTable(connection, schema))
    ? (await connection.query<AppliedMigration>(appliedSql.replace('_prisma', `"${schema}"._prisma`))).rows
    : [];
  const state = compareSchema(names, rows);
  const fault = schemaFault(state);
  if (fault !== null) throw new Error(fault);
  return state;
}

/** As after a restore that brought no rights along. */
function unreadable(error: unknown): unknown {
  const { code, message } = error as { code?: string; message: string };
  if (code !== '42501') return error;
  return new Error(
    `the role of DATABASE_URL may not see which migrations the database has (${message}): run \`writ database prepare\``,
    { cause: error },
  );
}

/** @returns in an operator's words, when it is the role that may not */
function explained(error: unknown, pending: readonly string[]): unknown {
  const { code, message } = error as { code?: string; message: string };
  if (code === '25006') {
    return new Error(
      `the database lacks migrations (${pending.join(', ')}) and takes no writes (${message}): is it a standby?`,
      { cause: error },
    );
  }
  if (code !== '42501') return error;
  return new Error(
    `the database lacks migrations (${pending.join(', ')}) and this role may not make them (${message}). Run \`writ database prepare\` first, or start once as the role that owns the schema`,
    { cause: error },
  );
}

/**
 * The SQL that would bring a database on which all migrations have been applied to what `schema.prisma` says;
 * empty when they agree.
 * @param database an empty one of its own
 */
export async function draftMigration(database: PGlite): Promise<string> {
  await migrate(database);
  const root = join(migrationsFolder, '..');
  const content = await readFile(join(root, 'schema.prisma'), 'utf8');
  const files = [{ path: 'schema.prisma', content }];
  const adapter = new PrismaPGlite(database) as unknown as SqlMigrationAwareDriverAdapterFactory;
  const { SchemaEngine } = await import('@prisma/schema-engine-wasm');
  const engine = await SchemaEngine.new(
    { datamodels: [['schema.prisma', content]] },
    () => {},
    bindMigrationAwareSqlAdapterFactory(adapter),
  );
  try {
    const { stdout } = await engine.diff({
      from: { tag: 'schemaDatasource', files, configDir: root },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: null,
      filters: { externalTables: [], externalEnums: [] },
    });
    return stdout === null || stdout.includes('This is an empty migration') ? '' : stdout;
  } finally {
    engine.free();
  }
}
