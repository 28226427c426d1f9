/** What readiness asks of the database: that it takes writes, and that its schema is this release's. */
import { DiskFull } from './free-space.ts';
import { runtimeFunctions, runtimeRights } from './runtime-rights.ts';
import { type AppliedMigration, appliedSql, compareSchema, readMigrations, schemaFault } from './schema-version.ts';
import type { Statement, Store } from './store.ts';

const quoted = (text: string) => `'${text}'`;
const tables = Object.entries(runtimeRights).flatMap(([table, { insert, delete: deletes }]) =>
  ['SELECT', ...(insert ? ['INSERT'] : []), ...(deletes ? ['DELETE'] : [])].map((right) => [table, right]),
);
const columns = Object.entries(runtimeRights).flatMap(([table, { update = [] }]) =>
  update.map((column) => [table, column]),
);
const listed = (rows: readonly (readonly string[])[]) =>
  rows.map((row) => `(${row.map(quoted).join(', ')})`).join(', ');

/** Every right that the broker's statements need, and this role has not. What is not there, nobody has. */
const lacking = `
    SELECT CASE "right" WHEN 'SELECT' THEN 'read ' WHEN 'INSERT' THEN 'write ' ELSE 'delete from ' END || "table" AS lack
    FROM (VALUES ${listed(tables)}) AS need ("table", "right")
    WHERE has_table_privilege(to_regclass(quote_ident("table")), "right") IS NOT TRUE
    UNION ALL
    SELECT DISTINCT 'change ' || "table" FROM (VALUES ${listed(columns)}) AS need ("table", "column")
    LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(quote_ident("table")) AND a.attname = "column"
    WHERE has_column_privilege(a.attrelid, a.attnum, 'UPDATE') IS NOT TRUE
    UNION ALL
    SELECT 'call ' || split_part("function", '(', 1) FROM unnest(ARRAY[${runtimeFunctions.map(quoted).join(', ')}]) AS "function"
    WHERE has_function_privilege(to_regprocedure("function"), 'EXECUTE') IS NOT TRUE`;

/**
 * Writes for real, to the log of the database and to no table: nothing to clean up, and a full disk shows. In
 * a transaction that may not write it would still be let through, so that is asked for too, as is every right
 * that the next request may need.
 */
const writesStatement: Statement = {
  name: 'ready_writes',
  text: `
    SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only,
           EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass('audit_event') AND tgname = 'audit_event_chain' AND tgenabled IN ('O', 'A')) AS chains,
           ARRAY(SELECT lack FROM (${lacking}) AS lacking ORDER BY lack) AS lacks,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, 'writ', 'ready') IS NOT NULL END AS written`,
};

const appliedStatement: Statement = { name: 'ready_migrations', text: appliedSql };

/** Of what is lacking, named at most. */
const shown = 8;

/** @returns why it takes no writes, in words; null = it does. @throws when it does not answer */
export async function writesFault(store: Store): Promise<string | null> {
  return (await look(store)).fault;
}

/** What `writesFault` asks, and whether what is written is put on record. @throws as it does */
export async function databaseFault(store: Store): Promise<string | null> {
  const { fault, chains } = await look(store);
  if (fault !== null || chains) return fault;
  return 'the trigger audit_event_chain is missing or disabled, as a restore may leave it: the record is not chained. `ALTER TABLE audit_event ENABLE TRIGGER ALL`, then look for what was written meanwhile with `writ audit verify`';
}

interface Look {
  fault: string | null;
  chains: boolean;
}

async function look(store: Store): Promise<Look> {
  const rows = await store.run<Row>(writesStatement, []).catch((error: Error) => {
    if (error instanceof DiskFull) return error.message;
    throw error;
  });
  if (typeof rows === 'string') return { fault: rows, chains: true };
  const [row] = rows;
  return row === undefined
    ? { fault: 'the database does not answer', chains: true }
    : { fault: faultOf(row), chains: row.chains };
}

interface Row {
  standby: boolean;
  read_only: boolean;
  lacks: string[];
  chains: boolean;
}

function faultOf(row: Row): string | null {
  if (row.standby) return 'the database is a standby and takes no writes: DATABASE_URL must lead to the primary';
  if (row.read_only) return 'the database is read-only (default_transaction_read_only)';
  if (row.lacks.length === 0) return null;
  const more = row.lacks.length > shown ? `, and ${row.lacks.length - shown} more` : '';
  return `the role of DATABASE_URL may not ${row.lacks.slice(0, shown).join(', ')}${more}: run \`writ database prepare\``;
}

/**
 * @returns asks what is wrong with the schema, in words; null = it is this release's. Throws when it cannot
 * be read
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
