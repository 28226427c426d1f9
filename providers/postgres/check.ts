/** What of a preparation does not hold any more, and what else on the server is open to leases. */
import { type Connection, inTransaction } from './connection.ts';
import { leaseGroup, ownSchema, scopePolicy } from './names.ts';
import { type AdminOptions, asAdmin, isPrepared } from './prepare.ts';
import { scopeFunctionSource } from './scope-sql.ts';
import { leasePolicy, othersPolicy } from './table-sql.ts';

export interface Checked {
  /** What breaks a promise, one sentence each. */
  faults: string[];
  /** What an admin should know, and may want. */
  notes: string[];
}

/** Reads alone. @param tables that must be prepared, as SCHEMA.TABLE */
export function checkPreparation(options: AdminOptions, tables: readonly string[] = []): Promise<Checked> {
  return asAdmin(options, (connection) =>
    inTransaction(connection, async () => {
      const faults = await preparationFaults(connection, options.broker, tables);
      return { faults, notes: (await isPrepared(connection)) ? await findings(connection) : [] };
    }),
  );
}

/** What of it breaks a promise; the broker's own role may look too. */
export async function preparationFaults(
  connection: Connection,
  broker: string,
  tables: readonly string[],
): Promise<string[]> {
  if (!(await isPrepared(connection))) return ['Nothing is prepared in this database.'];
  return [
    ...(await faultsOfTables(connection, broker, tables)),
    ...(await faultsOfFoundation(connection, broker)),
    ...(await faultsOfRoles(connection, broker)),
  ];
}

interface PreparedRow {
  name: string | null;
  through: 'policy' | 'view';
  same: boolean;
  row_security: boolean;
  let_through: boolean;
  owned_by_broker: boolean;
  owner: string;
  open: boolean;
  grantable: boolean;
}

async function faultsOfTables(connection: Connection, broker: string, wanted: readonly string[]): Promise<string[]> {
  const { rows } = await connection.query<PreparedRow>(
    `SELECT n.nspname || '.' || c.relname AS name, p.through, c.relrowsecurity AS row_security,
       CASE p.through WHEN 'policy' THEN coalesce((SELECT pg_get_expr(pol.polqual, pol.polrelid) = p.definition FROM pg_policy pol
           WHERE pol.polrelid = c.oid AND pol.polname = '${scopePolicy}' AND NOT pol.polpermissive AND pol.polcmd = '*'
             AND pol.polwithcheck IS NULL AND pol.polroles = ARRAY[to_regrole('${leaseGroup}')::oid]), false)
         ELSE coalesce(pg_get_viewdef(v.oid) = p.definition AND v.reloptions @> ARRAY['security_barrier=true'], false) END AS same,
       EXISTS (SELECT 1 FROM pg_policy o WHERE o.polrelid = c.oid AND o.polname IN ('${leasePolicy}', '${othersPolicy}')) AS let_through,
       pg_get_userbyid(c.relowner) AS owner, coalesce(pg_has_role(b.oid, c.relowner, 'MEMBER'), false) AS owned_by_broker,
       has_any_column_privilege('public', r.oid, 'SELECT, INSERT, UPDATE, REFERENCES') OR has_table_privilege('public', r.oid, 'DELETE, TRUNCATE, TRIGGER') AS open,
       coalesce(has_table_privilege(b.oid, r.oid, 'SELECT WITH GRANT OPTION'), false) AS grantable
     FROM ${ownSchema}.prepared p LEFT JOIN pg_class c ON c.oid = p.relation LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
       LEFT JOIN pg_class v ON p.through = 'view' AND v.relname = c.relname AND v.relnamespace = to_regnamespace(quote_ident('writ_' || n.nspname))
       LEFT JOIN pg_class r ON r.oid = CASE p.through WHEN 'view' THEN v.oid ELSE c.oid END
       LEFT JOIN pg_roles b ON b.rolname = $1
     ORDER BY 1, 2`,
    [broker],
  );
  const named = new Set(rows.map(({ name }) => name));
  return [
    ...wanted.filter((name) => !named.has(name)).map((name) => `${name} is not prepared: no lease can reach it.`),
    ...rows.flatMap((row) => {
      if (row.name === null) return ['A prepared table is gone; prepare anew to forget it.'];
      const policy = row.through === 'policy';
      return [
        ...(row.same ? [] : [`${row.name}: the ${row.through} is not what was prepared.`]),
        ...(policy && !row.row_security
          ? [`${row.name}: row security is off, so that leases would see every row.`]
          : []),
        ...(policy && !row.let_through
          ? [`${row.name}: no policy lets leases through, so that they see nothing.`]
          : []),
        ...(row.owned_by_broker ? [`${row.name}: ${broker} has the rights of its owner, whom no policy holds.`] : []),
        ...(row.open ? [`${row.name}: PUBLIC has rights on it, and leases with it; no lease is given.`] : []),
        ...(row.grantable ? [] : [`${row.name}: ${broker} may not hand on the right to read it.`]),
      ];
    }),
  ];
}

async function faultsOfFoundation(connection: Connection, broker: string): Promise<string[]> {
  const { rows } = await connection.query<{ source: string; definer: boolean; path: boolean; open: boolean }>(
    `SELECT prosrc AS source, prosecdef AS definer, coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false) AS path,
            has_function_privilege('public', oid, 'EXECUTE') AS open
     FROM pg_proc WHERE oid = to_regprocedure('${ownSchema}.scope(oid, text)')`,
  );
  const scope = rows[0];
  if (scope === undefined) return [`The function ${ownSchema}.scope(oid, text) is gone.`];
  const holders = await connection.query<{ name: string }>(
    `SELECT DISTINCT coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') AS name
     FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass('${ownSchema}.lease_scope')
       AND a.grantee <> c.relowner AND a.grantee IS DISTINCT FROM to_regrole(quote_ident($1))`,
    [broker],
  );
  return [
    ...(scope.source === scopeFunctionSource && scope.definer && scope.path
      ? []
      : [`The function ${ownSchema}.scope is not what was prepared.`]),
    ...(scope.open ? [`PUBLIC may run ${ownSchema}.scope.`] : []),
    ...holders.rows.map(({ name }) => `${name} has rights on ${ownSchema}.lease_scope, which says who sees what.`),
  ];
}

async function faultsOfRoles(connection: Connection, broker: string): Promise<string[]> {
  const { rows } = await connection.query<{ name: string; powers: string }>(
    `SELECT r.rolname AS name, concat_ws(' and ', CASE WHEN rolsuper THEN 'is a superuser' END,
              CASE WHEN rolbypassrls THEN 'has BYPASSRLS' END, CASE WHEN rolreplication THEN 'may replicate' END) AS powers
     FROM pg_roles r WHERE (rolsuper OR rolbypassrls OR rolreplication) AND (r.rolname IN ($1, '${leaseGroup}')
       OR r.oid IN (SELECT member FROM pg_auth_members WHERE roleid = to_regrole('${leaseGroup}') AND NOT admin_option))`,
    [broker],
  );
  const above = await connection.query<{ name: string }>(
    `SELECT roleid::regrole::text AS name FROM pg_auth_members WHERE member = to_regrole('${leaseGroup}')`,
  );
  return [
    ...rows.map(({ name, powers }) => `The role ${name} ${powers}: no row can be kept from it.`),
    ...above.rows.map(({ name }) => `${leaseGroup} is a member of ${name}, and every lease has its rights.`),
  ];
}

const shownAtMost = 10;

/** What PUBLIC has, every lease has. */
async function findings(connection: Connection): Promise<string[]> {
  const ask = async (text: string) => (await connection.query<{ name: string }>(text)).rows.map(({ name }) => name);
  const told = (names: string[], what: string) =>
    names.length === 0
      ? []
      : [
          `${what}: ${names.slice(0, shownAtMost).join(', ')}${names.length > shownAtMost ? ` and ${names.length - shownAtMost} more` : ''}`,
        ];
  const own = `n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'`;
  return [
    ...told(
      await ask(
        `SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${own} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
           AND has_any_column_privilege('public', c.oid, 'SELECT, INSERT, UPDATE') ORDER BY 1`,
      ),
      'PUBLIC may read or write',
    ),
    ...told(
      await ask(
        `SELECT c.oid::regclass || ' of ' || c.relowner::regrole AS name FROM ${ownSchema}.prepared p JOIN pg_class c ON c.oid = p.relation
         WHERE p.through = 'policy' AND NOT c.relforcerowsecurity ORDER BY 1`,
      ),
      'no policy holds the owner (FORCE ROW LEVEL SECURITY is not set), nor functions that run as the owner',
    ),
    ...told(
      await ask(
        `SELECT p.oid::regprocedure::text AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${own} AND p.prosecdef
           AND has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY 1`,
      ),
      'PUBLIC may run, with the rights of their owners',
    ),
    ...told(
      await ask(
        `SELECT n.nspname AS name FROM pg_namespace n WHERE has_schema_privilege('public', n.oid, 'CREATE') AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1`,
      ),
      'PUBLIC may create objects in the schemas',
    ),
    ...told(
      await ask(
        `SELECT datname AS name FROM pg_database d WHERE datallowconn AND datname <> current_database() AND has_database_privilege('public', d.oid, 'CONNECT') ORDER BY 1`,
      ),
      'leases may connect to the databases',
    ),
    ...told(
      await ask(
        `SELECT datname AS name FROM pg_database d WHERE datname = current_database() AND has_database_privilege('public', d.oid, 'TEMPORARY')`,
      ),
      'leases may make temporary tables and functions (REVOKE TEMPORARY … FROM PUBLIC, where no application needs it) in',
    ),
    ...told(
      await ask(
        `SELECT extname AS name FROM pg_extension WHERE extname IN ('dblink', 'postgres_fdw', 'file_fdw', 'adminpack')`,
      ),
      'extensions that reach out of the database',
    ),
  ];
}
