/**
 * `npm run migration:draft -- NAME`: writes the next migration from the difference between the newest one and
 * schema.prisma.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { systemClock } from '../broker/core/clock.ts';
import { draftMigration } from '../broker/store/migrate.ts';

const name = process.argv[2];
if (name === undefined || !/^[a-z][a-z0-9_]*$/.test(name)) {
  console.error('usage: npm run migration:draft -- name_in_snake_case');
  process.exit(2);
}
const database = await PGlite.create();
const sql = await draftMigration(database);
await database.close();
if (sql === '') {
  console.log('schema.prisma and the newest migration agree: nothing to write');
} else {
  const stamp = systemClock.now().toISOString().replace(/\D/g, '').slice(0, 14);
  const folder = join(import.meta.dirname, '../prisma/migrations', `${stamp}_${name}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'migration.sql'), sql);
  console.log(`wrote prisma/migrations/${stamp}_${name}/migration.sql; read it before you commit it`);
}
