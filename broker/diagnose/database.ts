/** What the database is to the broker: that it takes writes, and whether its role could change history. */
import type { Finding } from '../core/vocabulary.ts';
import { databaseFault, migrationsCheck } from '../store/check-database.ts';
import { roleWarning } from '../store/check-role.ts';
import { databaseClock } from '../store/database-clock.ts';
import type { Store } from '../store/open.ts';
import { findingOf, skewFinding } from './finding.ts';

export async function diagnoseDatabase(store: Store, now: () => Date): Promise<Finding[]> {
  const embedded = store.backend === 'pglite';
  return [
    findingOf(
      'the database takes writes',
      await databaseFault(store),
      'Look at DATABASE_URL, at the server’s disk, and whether it leads to the primary.',
    ),
    findingOf(
      'its schema is this release’s',
      await migrationsCheck(store)(),
      'Start the release that made it, or run `npx writ database prepare --apply` as the owner.',
    ),
    embedded
      ? {
          what: 'the broker’s role cannot change history or the schema',
          state: 'unknown',
          found: 'the embedded database has no roles: whoever has its files has it all',
        }
      : findingOf(
          'the broker’s role cannot change history or the schema',
          await roleWarning(store),
          'Run `npx writ database prepare --apply`, and connect as the role that it makes.',
        ),
    skewFinding('the database', now().getTime() - (await databaseClock(store)).getTime()),
  ];
}
