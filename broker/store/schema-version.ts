/**
 * Which migrations this release brings, which the database has, and what the difference means. A release works
 * on its own schema only: what it does not know may have changed the meaning of what it does know.
 */
import { hash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface Migration {
  name: string;
  script: string;
  /** As Prisma's own tools compute it. */
  checksum: string;
}

export const migrationsFolder = join(import.meta.dirname, '../../prisma/migrations');

/** The migrations of this release, in their order. */
export async function readMigrations(): Promise<Migration[]> {
  const names = (await readdir(migrationsFolder, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const script = await readFile(join(migrationsFolder, name, 'migration.sql'), 'utf8');
      return { name, script, checksum: hash('sha256', script, 'hex') };
    }),
  );
}

/** One row of Prisma's table of migrations. */
export interface AppliedMigration {
  name: string;
  finished: boolean;
}

/** What the database's migrations are, compared with this release's. */
export interface SchemaState {
  pending: string[];
  /** Applied, and not this release's: it is older than the database. */
  unknown: string[];
  /** Begun by a release that ran them one step at a time, and never finished. */
  unfinished: string[];
}

export function compareSchema(own: readonly string[], applied: readonly AppliedMigration[]): SchemaState {
  const finished = new Set(applied.filter((one) => one.finished).map(({ name }) => name));
  return {
    pending: own.filter((name) => !finished.has(name)),
    unknown: [...finished].filter((name) => !own.includes(name)).sort(),
    unfinished: applied.filter((one) => !one.finished && !finished.has(one.name)).map(({ name }) => name),
  };
}

/** What keeps this release from working on that schema, whatever it may do; null = nothing. */
export function schemaFault({ unknown, unfinished }: SchemaState): string | null {
  if (unknown.length > 0) {
    const what = unknown.length === 1 ? 'a migration' : 'migrations';
    return `the database's schema is newer than this release of Writ: it has ${what} that this release does not know (${unknown.join(', ')}). Start the release that made it, or a newer one`;
  }
  if (unfinished.length > 0) {
    return `a migration was begun and did not finish (${unfinished.join(', ')}). Look at what it has done, complete or undo it by hand, and set finished_at or rolled_back_at of its row in _prisma_migrations`;
  }
  return null;
}

/** The rows that count, of a table that is there. */
export const appliedSql =
  'SELECT migration_name AS name, finished_at IS NOT NULL AS finished FROM _prisma_migrations WHERE rolled_back_at IS NULL';
