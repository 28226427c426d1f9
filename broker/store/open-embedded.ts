/** Opens PGlite, the embedded database. */
import { PGlite } from '@electric-sql/pglite';
import type { SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils';
import { PrismaPGlite } from 'pglite-prisma-adapter';
import { noProofs } from '../core/proven-rows.ts';
import { countingPrisma } from './counting-prisma.ts';
import { lockFolder } from './folder-lock.ts';
import { migrate } from './migrate.ts';
import type { Statement, Store, StoreOptions } from './open.ts';

export async function openEmbedded(options: StoreOptions): Promise<Store> {
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
  await migrate(db, { schema: 'public', say: options.say ?? (() => {}) });
  const adapter = new PrismaPGlite(db) as unknown as SqlMigrationAwareDriverAdapterFactory;
  let trips = 0;
  const prisma = countingPrisma({ adapter }, () => {
    trips += 1;
  });
  return {
    backend: 'pglite',
    schema: 'public',
    prisma,
    proofs: options.proofs ?? noProofs,
    run: async <Row>(statement: Statement, values: unknown[]) => {
      trips += 1;
      return (await db.query<Row>(statement.text, values)).rows;
    },
    roundTrips: () => trips,
    broken: () => null,
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
