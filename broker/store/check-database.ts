/** What readiness asks of the database: that it takes writes, and that its schema is this release's. */
import type { Statement, Store } from './open.ts';
import { type AppliedMigration, appliedSql, compareSchema, readMigrations, schemaFault } from './schema-version.ts';

/**
 * Writes for real, to the log of the database and to no table: nothing to clean up, and a full disk shows. In
 * a transaction that may not write it would still be let through, so that is asked for too, as is the right to
 * write what a grant writes.
 */
const writesStatement: Statement = {
  name: 'ready_writes',
  text: `
    SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only,
           (SELECT string_agg(name, ', ' ORDER BY name) FROM unnest(ARRAY['session', 'grants', 'lease', 'audit_event']) AS name
            WHERE NOT has_table_privilege(name, 'INSERT')) AS no_right,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, 'writ', 'ready') IS NOT NULL END AS written`,
};

const appliedStatement: Statement = { name: 'ready_migrations', text: appliedSql };

/** @returns why it takes no writes, in words; null = it does. @throws when it does not answer */
export async function writesFault(store: Store): Promise<string | null> {
  const [row] = await store.run<{ standby: boolean; read_only: boolean; no_right: string | null }>(writesStatement, []);
  if (row === undefined) return 'the database does not answer';
  if (row.standby) return 'the database is a standby and takes no writes: DATABASE_URL must lead to the primary';
  if (row.read_only) return 'the database is read-only (default_transaction_read_only)';
  if (row.no_right !== null)
    return `the role of DATABASE_URL may not write ${row.no_right}: run \`writ database prepare\``;
  return null;
}

/**
 * @returns asks what is wrong with the schema, in words; null = it is this release's. Throws when it cannot be
 * read
 */
export function migrationsCheck(store: Store): () => Promise<string | null> {
  let own: string[] | null = null;
  return async () => {
    own ??= (await readMigrations()).map(({ name }) => name);
    const state = compareSchema(own, await store.run<AppliedMigration>(appliedStatement, []));
    if (state.pending.length > 0) return `the database lacks migrations of this release (${state.pending.join(', ')})`;
    return schemaFault(state);
  };
}
