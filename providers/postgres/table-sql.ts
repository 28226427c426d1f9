/** The SQL that prepares one table: its policies, or a view on it, and what the broker may grant. */
import { identifier, leaseGroup, literal, ownSchema, qualified, scopePolicy, viewSchema } from './names.ts';
import { type ScopeColumn, scopeCondition } from './scope-sql.ts';

/** Lets leases through to where the scope policy holds them: some policy must be permissive. */
export const leasePolicy = 'writ_leases';
/** Keeps things as they were for everybody else, where row security was off before. */
export const othersPolicy = 'writ_others';

/** One table as it is found on the server. */
export interface FoundTable {
  schema: string;
  table: string;
  /** pg_class.relkind. */
  kind: string;
  /** Row security is on, and not because of us. */
  guarded: boolean;
  columns: ScopeColumn[];
  allColumns: string[];
  /** Sequences behind columns' defaults, as SQL names. */
  sequences: string[];
}

const everyVerb = 'SELECT, INSERT, UPDATE, DELETE';

export function policySql(found: FoundTable, broker: string): string[] {
  const table = qualified(found.schema, found.table);
  const drop = (name: string) => `DROP POLICY IF EXISTS ${name} ON ${table}`;
  return [
    ...[scopePolicy, leasePolicy, othersPolicy].map(drop),
    found.guarded
      ? `CREATE POLICY ${leasePolicy} ON ${table} TO ${leaseGroup} USING (true) WITH CHECK (true)`
      : `CREATE POLICY ${othersPolicy} ON ${table} TO PUBLIC USING (true) WITH CHECK (true)`,
    `CREATE POLICY ${scopePolicy} ON ${table} AS RESTRICTIVE TO ${leaseGroup}\n  USING (${scopeCondition(found.schema, found.table, found.columns)})`,
    ...(found.guarded ? [] : [`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`]),
    `GRANT USAGE ON SCHEMA ${identifier(found.schema)} TO ${leaseGroup}`,
    `GRANT ${everyVerb} ON ${table} TO ${identifier(broker)} WITH GRANT OPTION`,
    ...found.sequences.map((name) => `GRANT USAGE ON SEQUENCE ${name} TO ${identifier(broker)} WITH GRANT OPTION`),
    remembered(
      found,
      'policy',
      `SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = ${oidOf(found)} AND polname = ${literal(scopePolicy)}`,
    ),
  ];
}

export function viewSql(found: FoundTable, broker: string): string[] {
  const schema = viewSchema(found.schema);
  const view = qualified(schema, found.table);
  const table = qualified(found.schema, found.table);
  // Only a table can be written through: what a view on a view would do is for its author to say.
  const writable = found.kind === 'r' || found.kind === 'p';
  return [
    `CREATE SCHEMA IF NOT EXISTS ${identifier(schema)}`,
    `REVOKE ALL ON SCHEMA ${identifier(schema)} FROM PUBLIC`,
    `GRANT USAGE ON SCHEMA ${identifier(schema)} TO ${leaseGroup}`,
    `DROP VIEW IF EXISTS ${view}`,
    `CREATE VIEW ${view} WITH (security_barrier = true) AS\n  SELECT ${found.allColumns.map(identifier).join(', ')}\n  FROM ${table}\n  WHERE ${scopeCondition(found.schema, found.table, found.columns)}${writable ? '\n  WITH CASCADED CHECK OPTION' : ''}`,
    `REVOKE ALL ON ${view} FROM PUBLIC`,
    `GRANT ${writable ? everyVerb : 'SELECT'} ON ${view} TO ${identifier(broker)} WITH GRANT OPTION`,
    ...(writable
      ? found.sequences.map((name) => `GRANT USAGE ON SEQUENCE ${name} TO ${identifier(broker)} WITH GRANT OPTION`)
      : []),
    remembered(found, 'view', `SELECT pg_get_viewdef(${literal(view)}::regclass)`),
  ];
}

const oidOf = ({ schema, table }: FoundTable) => `${literal(qualified(schema, table))}::regclass`;

function remembered(found: FoundTable, through: 'policy' | 'view', definition: string): string {
  const columns = `ARRAY[${found.columns.map(({ name }) => literal(name)).join(', ')}]::text[]`;
  return `INSERT INTO ${ownSchema}.prepared (relation, through, scope_columns, definition, switched_on)
  VALUES (${oidOf(found)}, '${through}', ${columns}, (${definition}), ${through === 'policy' && !found.guarded})
  ON CONFLICT (relation, through) DO UPDATE SET scope_columns = EXCLUDED.scope_columns, definition = EXCLUDED.definition, switched_on = EXCLUDED.switched_on`;
}

/** Takes one table back to what it was. */
export function undoTableSql(
  { schema, table }: { schema: string; table: string },
  through: 'policy' | 'view',
  switchedOn: boolean,
): string[] {
  const name = qualified(schema, table);
  if (through === 'view') return [`DROP VIEW IF EXISTS ${qualified(viewSchema(schema), table)}`];
  return [
    ...(switchedOn ? [`ALTER TABLE ${name} DISABLE ROW LEVEL SECURITY`] : []),
    ...[scopePolicy, leasePolicy, othersPolicy].map((policy) => `DROP POLICY IF EXISTS ${policy} ON ${name}`),
  ];
}
