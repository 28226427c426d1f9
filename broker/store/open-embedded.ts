/** Opens PGlite, the embedded database: on disk in a thread of its own, in memory in this one. */
import { mkdir, readFile } from 'node:fs/promises';
import { PGlite } from '@electric-sql/pglite';
import type { SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils';
import { PrismaPGlite } from 'pglite-prisma-adapter';
import { noProofs } from '../core/proven-rows.ts';
import { steadyPlans } from './connection-settings.ts';
import { countingPrisma } from './counting-prisma.ts';
import { type EmbeddedDatabase, embeddedHere, startEmbedded } from './embedded-database.ts';
import { lockFolder } from './folder-lock.ts';
import { assertSpace, freeSpaceOf, mayWrite, type Space } from './free-space.ts';
import { migrate } from './migrate.ts';
import type { Statement, Store, StoreOptions } from './store.ts';

export async function openEmbedded(options: StoreOptions): Promise<Store> {
  const { dataDir } = options;
  if (dataDir === null) {
    engine ??= compileEngine();
    const db = await PGlite.create({
      pgliteWasmModule: await engine,
      ...(options.image === undefined ? {} : { loadDataDir: options.image }),
    });
    return openOn(embeddedHere(db), options, { margin: 0, free: () => Number.POSITIVE_INFINITY });
  }
  const unlock = await lockFolder(dataDir);
  let db: EmbeddedDatabase | null = null;
  try {
    await mkdir(dataDir, { recursive: true });
    const space: Space = { margin: options.minFreeBytes ?? 0, free: options.freeBytes ?? freeSpaceOf(dataDir) };
    assertSpace(space);
    db = startEmbedded(dataDir, options.queryTimeoutMs ?? 20_000);
    const opened = db;
    const store = await openOn(opened, options, space);
    return { ...store, close: () => store.close().finally(unlock) };
  } catch (error) {
    await db?.close();
    await unlock();
    throw error;
  }
}

/** Made once: made anew for each of many that one process opens, it would be half of the time. */
let engine: Promise<WebAssembly.Module> | undefined;

async function compileEngine(): Promise<WebAssembly.Module> {
  const file = new URL('./pglite.wasm', import.meta.resolve('@electric-sql/pglite'));
  return WebAssembly.compile(await readFile(file));
}

async function openOn(db: EmbeddedDatabase, options: StoreOptions, space: Space): Promise<Store> {
  await migrate(db, { schema: 'public', say: options.say ?? (() => {}) });
  await db.exec(steadyPlans.map(({ name, value }) => `SET ${name} = '${value}'`).join('; '));
  const adapter = new PrismaPGlite(db as unknown as PGlite) as unknown as SqlMigrationAwareDriverAdapterFactory;
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
      if (space.margin > 0 && mayWrite(statement.text)) assertSpace(space);
      return db.run<Row>(statement, values);
    },
    roundTrips: () => trips,
    broken: () => db.broken(),
    close: async () => {
      await prisma.$disconnect();
      await db.close();
    },
  };
}
