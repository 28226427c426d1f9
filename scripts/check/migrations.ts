/** `schema.prisma` and the migrations must say the same, or a fresh database and an old one would differ. */
import { PGlite } from '@electric-sql/pglite';
import { draftMigration } from '../../broker/store/migrate.ts';
import type { Part } from './part.ts';

/** @param draft the SQL that is still missing from the migrations */
export function migrationFaults(draft: string): string[] {
  if (draft.trim() === '') return [];
  return [
    'schema.prisma is ahead of prisma/migrations; run npm run migration:draft -- NAME. Missing:',
    ...draft.trim().split('\n'),
  ];
}

export const migrations: Part = {
  name: 'migrations agree with schema.prisma',
  run: async () => {
    const database = await PGlite.create();
    try {
      return { faults: migrationFaults(await draftMigration(database)), notes: [] };
    } finally {
      await database.close();
    }
  },
};
