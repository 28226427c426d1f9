/**
 * What the code relies on in a connection. A server, a database or a role may have other defaults, a URL may
 * bring its own, and a pooler may lose what we ask for: each connection sets them, and reads them back.
 */
import type pg from 'pg';

/** A setting that must hold, and how it is asked for. */
interface Required {
  name: string;
  value: string;
  /** Whether another value does as well. Default: none does. */
  holds?(value: string): boolean;
}

/**
 * Without these, statements mean something else or answers are read wrong. The first four are reported by the
 * server, so that a pooler that shares connections keeps them per client.
 */
const reported: readonly Required[] = [
  // Prisma's driver reads every time as UTC, whatever offset it is written with.
  { name: 'TimeZone', value: 'UTC' },
  { name: 'DateStyle', value: 'ISO, MDY' },
  { name: 'client_encoding', value: 'UTF8' },
  { name: 'standard_conforming_strings', value: 'on' },
];
const unreported: readonly Required[] = [
  { name: 'IntervalStyle', value: 'postgres' },
  { name: 'bytea_output', value: 'hex' },
  { name: 'array_nulls', value: 'on' },
  { name: 'transform_null_equals', value: 'off' },
  // A statement that waited for a row must see what the other has made of it.
  { name: 'default_transaction_isolation', value: 'read committed' },
  // Below 0 a time in milliseconds loses its last digits, and a passkey's counter too.
  { name: 'extra_float_digits', value: '1', holds: (value) => Number(value) > 0 },
  // A search through marks of credentials would leave some of the leases out.
  { name: 'gin_fuzzy_search_limit', value: '0' },
  // What the server refuses is one statement, not every other on the connection.
  { name: 'exit_on_error', value: 'off' },
];

/** Wanted, but answers are right without: how long things may take, and which plans are made. */
const wished: readonly Required[] = [
  // A statement that hangs must not block a request; all of ours are short.
  { name: 'statement_timeout', value: '15s' },
  { name: 'idle_in_transaction_session_timeout', value: '60s' },
  // The limit above is the only one: waiting for a row is no fault, and neither is an idle pool.
  { name: 'lock_timeout', value: '0' },
  { name: 'idle_session_timeout', value: '0' },
  // A row that a policy hides is an error, and not a lease that nobody revokes.
  { name: 'row_security', value: 'off' },
];

/**
 * How the server plans our statements: one plan serves all the values a statement is given, and it finds its
 * rows through indexes. Left to itself, the server plans some of them anew on every execution because it
 * thinks that the values would help (which cost five times the execution), reads whole tables that were small
 * when it first looked, for as long as it keeps the plan, and compiles what it has misjudged.
 * `broker/plans.test.ts` shows what comes of it on an empty database.
 */
export const steadyPlans: readonly Required[] = [
  { name: 'plan_cache_mode', value: 'force_generic_plan' },
  { name: 'random_page_cost', value: '1.1' },
  { name: 'seq_page_cost', value: '100' },
  { name: 'jit', value: 'off' },
];

/** Whether what is set stays: `transaction` = a pooler hands the connection on after each transaction. */
export type Pooling = 'session' | 'transaction';

/**
 * Sets, and reads back.
 * @throws Error that names each setting that does not hold and the SQL that makes it hold
 */
export async function prepareConnection(
  client: Pick<pg.Client, 'query'>,
  schema: string,
  pooling: Pooling,
): Promise<void> {
  const set = pooling === 'session' ? [...reported, ...unreported, ...wished, ...steadyPlans] : reported;
  const calls = set.map(({ name, value }) => `set_config('${name}', '${value}', false)`);
  if (pooling === 'session') {
    // Temporary tables last, where they can stand for none of ours.
    calls.push(`set_config('search_path', '"${schema}", pg_temp', false)`);
    calls.push(
      `CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END`,
    );
  }
  await client.query(`SELECT ${calls.join(', ')}`);
  await assertHolds(client, schema);
}

/** @throws Error that names each setting that does not hold and the SQL that makes it hold */
export async function assertHolds(client: Pick<pg.Client, 'query'>, schema: string): Promise<void> {
  const required = [...reported, ...unreported];
  const read = required.map(({ name }) => `current_setting('${name}') AS "${name}"`);
  const { rows } = await client.query(
    `SELECT ${read.join(', ')}, current_setting('synchronous_commit') AS synchronous_commit, current_setting('session_replication_role') AS session_replication_role,
            current_setting('search_path') AS search_path, current_schema() AS current_schema, quote_ident(session_user) AS role`,
  );
  const row = rows[0] as { [name: string]: string | null };
  const faults = required
    .filter(({ name, value, holds }) => row[name] !== value && holds?.(row[name] ?? '') !== true)
    .map((one) => ({ ...one, is: row[one.name] }));
  // A commit that was answered and is lost with the server is a credential that nobody knows of.
  if (row.synchronous_commit === 'off') faults.push({ name: 'synchronous_commit', value: 'on', is: 'off' });
  // Otherwise no trigger runs, and the record is neither chained nor append-only.
  if (row.session_replication_role !== 'origin') {
    faults.push({ name: 'session_replication_role', value: 'origin', is: row.session_replication_role });
  }
  if (row.current_schema !== schema) faults.push({ name: 'search_path', value: schema, is: row.search_path });
  if (faults.length === 0) return;
  const what = faults.map(({ name, value, is }) => `${name} is '${is}' and must be '${value}'`).join('; ');
  const how = faults.map(({ name, value }) => `ALTER ROLE ${row.role} SET ${name} = '${value}';`).join(' ');
  throw new Error(
    `the database connection does not keep the settings that Writ relies on: ${what}. A pooler may lose them, and a role's or a database's defaults may stand against them. Set them for the role, and let poolers reconnect: ${how}`,
  );
}
