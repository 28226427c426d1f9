/**
 * Opens the database: a PostgreSQL server when there is a URL, PGlite in this process otherwise. Same SQL,
 * same migrations.
 */
import { openEmbedded } from './open-embedded.ts';
import { openServer } from './open-server.ts';
import type { Store, StoreOptions } from './store.ts';

export type { SqlValue, Statement, Store, StoreOptions } from './store.ts';

/**
 * Opens the database and brings its schema up to date.
 * @throws Error when the server does not answer or a migration fails: the broker does not start on a database
 *   it does not know.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  return options.databaseUrl === null ? openEmbedded(options) : openServer(options.databaseUrl, options);
}
