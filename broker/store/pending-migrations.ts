/** Which migrations of this release a server lacks, looked at without opening it: opening applies them. */
import pg from 'pg';
import { connectFault } from './connect-fault.ts';
import { type AppliedMigration, appliedSql, compareSchema, readMigrations } from './schema-version.ts';

/** @throws Error in words when it cannot be reached */
export async function pendingMigrations(databaseUrl: string, schema = 'public'): Promise<string[]> {
  const own = (await readMigrations()).map(({ name }) => name);
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: 5_000,
    application_name: 'writ doctor',
  });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query(`SELECT set_config('search_path', $1, false)`, [pg.escapeIdentifier(schema)]);
    const { rows } = await client.query<{ there: boolean }>(
      `SELECT to_regclass('_prisma_migrations') IS NOT NULL AS there`,
    );
    const applied = rows[0]?.there === true ? (await client.query<AppliedMigration>(appliedSql)).rows : [];
    return compareSchema(own, applied).pending;
  } catch (error) {
    throw connectFault(error, databaseUrl);
  } finally {
    await client.end().catch(() => {});
  }
}
