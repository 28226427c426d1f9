/**
 * What an admin does once for the tables that leases may reach: shown, applied, and undone. Needs no
 * superuser: a role that owns the tables and may create roles.
 */
import { type Connection, connected, inTransaction } from './connection.ts';
import { identifier, leaseGroup, ownSchema } from './names.ts';
import { setPassword } from './password.ts';
import { foundationSql } from './scope-sql.ts';
import { type FoundTable, policySql, undoTableSql, viewSql } from './table-sql.ts';
import type { Target } from './target.ts';

export interface TableToPrepare {
  schema: string;
  table: string;
  through: 'policy' | 'view';
  /** The columns that a capability must give a value for; none = the whole table. */
  columns: string[];
}

export interface AdminOptions {
  admin: Target;
  ca: string | null;
  /** The role that the broker logs in as. */
  broker: string;
  signal: AbortSignal;
}

export interface PrepareOptions extends AdminOptions {
  tables: TableToPrepare[];
  /** Set for the broker's role when it is made or given; null = leave as it is. */
  brokerPassword: string | null;
}

/** Why a table or a role cannot be prepared: whole sentences for an admin. */
export class CannotPrepare extends Error {}

/** The SQL that `applyPreparation` would run now, in order; no password is in it. */
export function planPreparation(options: PrepareOptions): Promise<string[]> {
  return asAdmin(options, (connection) => inTransaction(connection, () => statementsFor(connection, options)));
}

/** In one transaction. @returns the SQL that ran */
export function applyPreparation(options: PrepareOptions): Promise<string[]> {
  return asAdmin(options, (connection) =>
    inTransaction(connection, async () => {
      const statements = await statementsFor(connection, options);
      for (const statement of statements) await connection.query(statement);
      if (options.brokerPassword !== null) await setPassword(connection, options.broker, options.brokerPassword);
      return statements;
    }),
  );
}

/** The SQL that takes everything back; refuses while a lease's role is there. */
export function planUndo(options: AdminOptions): Promise<string[]> {
  return asAdmin(options, (connection) => inTransaction(connection, () => undoFor(connection, options)));
}

/** In one transaction. @returns the SQL that ran */
export function applyUndo(options: AdminOptions): Promise<string[]> {
  return asAdmin(options, (connection) =>
    inTransaction(connection, async () => {
      const statements = await undoFor(connection, options);
      for (const statement of statements) await connection.query(statement);
      return statements;
    }),
  );
}

export function asAdmin<T>(
  { admin, ca, signal }: AdminOptions,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  return connected(admin, { ca, applicationName: 'writ provider postgres prepare', signal }, work);
}

async function statementsFor(connection: Connection, options: PrepareOptions): Promise<string[]> {
  const { broker } = options;
  const roles = await rolesOf(connection, broker);
  const found: { one: TableToPrepare; table: FoundTable }[] = [];
  for (const one of options.tables) found.push({ one, table: await findTable(connection, one) });
  return [
    ...(roles.has(leaseGroup) ? [] : [`CREATE ROLE ${leaseGroup} NOLOGIN`]),
    ...(roles.has(broker) ? [] : [`CREATE ROLE ${identifier(broker)} LOGIN CREATEROLE`]),
    `GRANT ${leaseGroup} TO ${identifier(broker)} WITH ADMIN OPTION`,
    ...(await connectSql(connection, broker)),
    ...foundationSql(broker),
    ...found.flatMap(({ one, table }) =>
      one.through === 'policy' ? policySql(table, broker) : viewSql(table, broker),
    ),
  ];
}

async function rolesOf(connection: Connection, broker: string): Promise<Set<string>> {
  const { rows } = await connection.query<{ name: string; powers: string | null; may_create: boolean }>(
    `SELECT rolname AS name, rolcreaterole AS may_create,
       nullif(concat_ws(', ', CASE WHEN rolsuper THEN 'is a superuser' END,
                              CASE WHEN rolbypassrls THEN 'bypasses row security' END), '') AS powers
     FROM pg_roles WHERE rolname IN ($1, $2)`,
    [broker, leaseGroup],
  );
  for (const { name, powers } of rows)
    if (powers !== null) throw new CannotPrepare(`The role ${name} ${powers}, so that no row can be kept from it.`);
  if (rows.some(({ name, may_create }) => name === broker && !may_create))
    throw new CannotPrepare(`The role ${broker} may not create roles: ALTER ROLE ${identifier(broker)} CREATEROLE.`);
  return new Set(rows.map(({ name }) => name));
}

/** Every role may connect, unless somebody took that away. */
async function connectSql(connection: Connection, broker: string): Promise<string[]> {
  const { rows } = await connection.query<{ open: boolean; name: string }>(
    `SELECT has_database_privilege('public', current_database(), 'CONNECT') AS open, current_database() AS name`,
  );
  const { open, name } = rows[0]!;
  return open ? [] : [`GRANT CONNECT ON DATABASE ${identifier(name)} TO ${leaseGroup}, ${identifier(broker)}`];
}

/**
 * Types whose text means the same in every session, whatever an agent sets there (DateStyle, TimeZone,
 * lc_numeric …).
 */
const steadyTypes = new Set([
  'smallint',
  'integer',
  'bigint',
  'numeric',
  'text',
  'character varying',
  'bpchar',
  'uuid',
  'boolean',
  'date',
]);

async function findTable(connection: Connection, one: TableToPrepare): Promise<FoundTable> {
  const shown = `${one.schema}.${one.table}`;
  const { rows } = await connection.query<{
    oid: string;
    kind: string;
    row_security: boolean;
    switched_on: boolean | null;
    broker_owns: boolean;
  }>(
    `SELECT c.oid::text AS oid, c.relkind AS kind, c.relrowsecurity AS row_security,
            c.relpersistence = 't' AS temporary
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
    [one.schema, one.table],
  );
  const row = rows[0];
  if (row === undefined) throw new CannotPrepare(`There is no table ${shown}.`);
  if (one.through === 'policy' && !['r', 'p'].includes(row.kind))
    throw new CannotPrepare(`${shown} is no table, so that it can have no policy: name it with --view.`);
  if (!['r', 'p', 'v', 'm', 'f'].includes(row.kind)) throw new CannotPrepare(`${shown} has no rows.`);
  const columns = await connection.query<{ name: string; type: string; is_enum: boolean; sequence: string | null }>(
    `SELECT a.attname AS name, format_type(b.oid, -1) AS type, b.typtype = 'e' AS is_enum,
            (SELECT s.oid::regclass::text FROM pg_depend d JOIN pg_depend e ON e.refobjid = a.attrelid AND e.refobjsubid = a.attnum AND e.classid = 'pg_attrdef'::regclass
               JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
             WHERE d.classid = 'pg_attrdef'::regclass AND d.objid = e.objid AND d.refclassid = 'pg_class'::regclass LIMIT 1) AS sequence
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
       JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [row.oid],
  );
  const scope = one.columns.map((name) => {
    const column = columns.rows.find((candidate) => candidate.name === name);
    if (column === undefined) throw new CannotPrepare(`${shown} has no column ${name}.`);
    if (!column.is_enum && !steadyTypes.has(column.type) && !/(?:^|\.)citext$/.test(column.type))
      throw new CannotPrepare(
        `The column ${name} of ${shown} is of the type ${column.type}, whose text depends on a session’s settings: scope by another column.`,
      );
    return { name, type: column.type };
  });
  return {
    schema: one.schema,
    table: one.table,
    kind: row.kind,
    guarded: row.row_security && !(await switchedOnByUs(connection, row.oid)),
    columns: scope,
    allColumns: columns.rows.map(({ name }) => name),
    sequences: columns.rows.flatMap(({ sequence }) => sequence ?? []),
  };
}

/** Whether an earlier preparation switched row security on for the table. */
async function switchedOnByUs(connection: Connection, oid: string): Promise<boolean> {
  if (!(await isPrepared(connection))) return false;
  const { rows } = await connection.query<{ switched_on: boolean }>(
    `SELECT switched_on FROM ${ownSchema}.prepared WHERE relation = $1::oid AND through = 'policy'`,
    [oid],
  );
  return rows[0]?.switched_on === true;
}

/** Whether the schema is there. */
export async function isPrepared(connection: Connection): Promise<boolean> {
  const { rows } = await connection.query<{ there: boolean }>(
    `SELECT to_regclass('${ownSchema}.prepared') IS NOT NULL AS there`,
  );
  return rows[0]?.there === true;
}

async function undoFor(connection: Connection, { broker }: AdminOptions): Promise<string[]> {
  if (!(await isPrepared(connection))) throw new CannotPrepare('Nothing is prepared in this database.');
  const tables = await connection.query<{
    schema: string;
    table: string;
    through: 'policy' | 'view';
    switched_on: boolean;
  }>(
    `SELECT n.nspname AS schema, c.relname AS table, p.through, p.switched_on
     FROM ${ownSchema}.prepared p JOIN pg_class c ON c.oid = p.relation JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2, 3`,
  );
  // Leases and profiles may not hand on their membership. Who made the group may, from PostgreSQL 16 on.
  const roles = await connection.query<{ name: string; can_login: boolean; broker: boolean; elsewhere: boolean }>(
    `SELECT r.rolname AS name, r.rolcanlogin AS can_login, r.rolname = $1 AS broker,
            EXISTS (SELECT 1 FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
                      AND d.dbid <> 0 AND d.dbid <> (SELECT oid FROM pg_database WHERE datname = current_database())) AS elsewhere
     FROM pg_roles r WHERE r.rolname IN ($1, $2)
        OR r.oid IN (SELECT member FROM pg_auth_members WHERE roleid = to_regrole($2) AND NOT admin_option) ORDER BY r.rolname`,
    [broker, leaseGroup],
  );
  const leases = roles.rows.filter(({ can_login, broker: isBroker }) => can_login && !isBroker).map(({ name }) => name);
  if (leases.length > 0)
    throw new CannotPrepare(
      `${leases.length} roles of leases are there (${leases.slice(0, 5).join(', ')}${leases.length > 5 ? ' …' : ''}): end the leases first.`,
    );
  const elsewhere = roles.rows.some((role) => role.elsewhere);
  const profiles = roles.rows.filter(({ name, broker: isBroker }) => !isBroker && name !== leaseGroup);
  const viewSchemas = [...new Set(tables.rows.flatMap((row) => (row.through === 'view' ? `writ_${row.schema}` : [])))];
  const drop = (name: string) => [`DROP OWNED BY ${identifier(name)}`, `DROP ROLE ${identifier(name)}`];
  const become = `SET LOCAL ROLE ${identifier(broker)}`;
  return [
    `GRANT ${identifier(broker)} TO CURRENT_USER`,
    // The broker made these roles, and what they have is from it.
    ...(profiles.length === 0
      ? []
      : [
          become,
          ...profiles.flatMap(({ name }) => [`GRANT ${identifier(name)} TO ${identifier(broker)}`, ...drop(name)]),
          'RESET ROLE',
        ]),
    ...tables.rows.flatMap(({ schema, table, through, switched_on }) =>
      undoTableSql({ schema, table }, through, switched_on),
    ),
    ...viewSchemas.map((schema) => `DROP SCHEMA ${identifier(schema)}`),
    `DROP SCHEMA ${ownSchema} CASCADE`,
    `DROP OWNED BY ${identifier(broker)}`,
    ...(elsewhere ? [] : [`GRANT ${leaseGroup} TO CURRENT_USER`]),
    `DROP OWNED BY ${leaseGroup}`,
    // Roles belong to the whole server: another database of it may be prepared too.
    ...(elsewhere ? [] : [`DROP ROLE ${identifier(broker)}`, `DROP ROLE ${leaseGroup}`]),
  ];
}
