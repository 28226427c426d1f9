/**
 * The SQL that holds leases to their rows: the scope table, the function that reads it, and what a policy or
 * a view asks. Made once by `writ provider postgres prepare`.
 */
import { identifier, leaseGroup, literal, ownSchema, qualified } from './names.ts';

/**
 * The rows of each lease's role, by the table (its oid) and a column of it. A table without a scope column
 * has one row, with an empty column name.
 */
export const scopeTableSql = `CREATE TABLE IF NOT EXISTS ${ownSchema}.lease_scope (
  role_name name NOT NULL,
  relation oid NOT NULL,
  column_name text NOT NULL,
  value text NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (role_name, relation, column_name)
)`;

/**
 * What was prepared, and how the server wrote it down: a later difference is drift. `through` is policy or
 * view; `definition` is the policy's condition or the view's query.
 */
export const preparedTableSql = `CREATE TABLE IF NOT EXISTS ${ownSchema}.prepared (
  relation oid NOT NULL,
  through text NOT NULL CHECK (through IN ('policy', 'view')),
  scope_columns text[] NOT NULL,
  definition text NOT NULL,
  switched_on boolean NOT NULL,
  PRIMARY KEY (relation, through)
)`;

/** One row, locked by whoever makes a profile: two that grant on one table at once would fail each other. */
export const turnTableSql = `CREATE TABLE IF NOT EXISTS ${ownSchema}.turn (single boolean PRIMARY KEY CHECK (single))`;

/**
 * Why it cannot be got round, and why it ends at once:
 * - `session_user` is who logged in: SET ROLE does not change it, and SET SESSION AUTHORIZATION is for
 *   superusers.
 * - `clock_timestamp()` goes on inside a transaction, where `now()` stands still.
 * - A transaction that still sees a deleted row (REPEATABLE READ, SERIALIZABLE) sees it with the deleter's
 *   number in `xmax`: such a row counts as gone, from the DELETE on and whatever the isolation level. An
 *   aborted DELETE leaves the number too, which errs on the safe side.
 * - Everything is named with its schema, and the search path is the function's own.
 */
const scopeBody = `
BEGIN
  RETURN (SELECT s.value FROM ${ownSchema}.lease_scope AS s
    WHERE s.role_name OPERATOR(pg_catalog.=) session_user AND s.relation OPERATOR(pg_catalog.=) $1
      AND s.column_name OPERATOR(pg_catalog.=) $2 AND s.expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()
      AND s.xmax::text OPERATOR(pg_catalog.=) '0');
END`;

export const scopeFunctionSql = `CREATE OR REPLACE FUNCTION ${ownSchema}.scope(relation oid, column_name text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $writ$${scopeBody}
$writ$`;

/** The body as the server keeps it, to see whether somebody changed it. */
export const scopeFunctionSource = `${scopeBody}\n`;

export interface ScopeColumn {
  name: string;
  /** As `format_type` of the base type writes it: with its schema where it must, and without a length. */
  type: string;
}

/**
 * The condition of a policy or a view. The scope is read once a statement, and an index on the column is
 * used. One comparison a column and no more: the server evaluates the cheapest first among what it calls
 * leakproof, and nothing that an agent writes with an effect of its own is cheaper.
 */
export function scopeCondition(schema: string, table: string, columns: readonly ScopeColumn[]): string {
  const value = (column: string) =>
    `${ownSchema}.scope(${literal(qualified(schema, table))}::regclass, ${literal(column)})`;
  if (columns.length === 0) return `(SELECT ${value('')} IS NOT NULL)`;
  return columns.map(({ name, type }) => `${identifier(name)} = (SELECT ${value(name)}::${type})`).join(' AND ');
}

/** The objects that are not about one table. */
export function foundationSql(broker: string): string[] {
  const role = identifier(broker);
  return [
    `CREATE SCHEMA IF NOT EXISTS ${ownSchema}`,
    `REVOKE ALL ON SCHEMA ${ownSchema} FROM PUBLIC`,
    `GRANT USAGE ON SCHEMA ${ownSchema} TO ${role}`,
    scopeTableSql,
    preparedTableSql,
    turnTableSql,
    `INSERT INTO ${ownSchema}.turn VALUES (true) ON CONFLICT DO NOTHING`,
    `REVOKE ALL ON ${ownSchema}.lease_scope, ${ownSchema}.prepared, ${ownSchema}.turn FROM PUBLIC`,
    `GRANT SELECT, INSERT, DELETE ON ${ownSchema}.lease_scope TO ${role}`,
    `GRANT SELECT ON ${ownSchema}.prepared TO ${role}`,
    `GRANT SELECT, UPDATE ON ${ownSchema}.turn TO ${role}`,
    scopeFunctionSql,
    `REVOKE ALL ON FUNCTION ${ownSchema}.scope(oid, text) FROM PUBLIC`,
    `GRANT EXECUTE ON FUNCTION ${ownSchema}.scope(oid, text) TO ${leaseGroup}`,
  ];
}
