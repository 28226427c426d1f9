/**
 * The tables of a plan as the server has them now: that they are prepared, that what holds the rows is
 * unchanged, and that the plan's columns and values are theirs.
 */
import { ProviderError } from '../contract.ts';
import type { Connection } from './connection.ts';
import { leaseGroup, literal, ownSchema, scopePolicy } from './names.ts';
import { type PlannedTable, relationOf, type ScopeValue } from './plan.ts';

/** A table of the plan that was found fit for it. */
export interface FoundRelation {
  planned: PlannedTable;
  /** What the agent is given rights on: the table, or its view. */
  oid: string;
  /** What the scope is about: always the table. */
  scopeOid: string;
  /** Sequences that an insert draws from, as SQL names. */
  sequences: string[];
}

interface Row {
  scope_oid: string | null;
  oid: string | null;
  scope_columns: string[] | null;
  definition: string | null;
  present: string | null;
  columns: { [name: string]: string } | null;
  sequences: string[] | null;
}

/** @throws ProviderError upstream_refused, in words for an admin */
export async function findRelations(connection: Connection, tables: PlannedTable[]): Promise<FoundRelation[]> {
  const wanted = tables.map((planned) => {
    const { schema, name } = relationOf(planned);
    return { schema: planned.schema, table: planned.table, through: planned.through, as_schema: schema, as_name: name };
  });
  const { rows } = await connection.query<Row>(findSql, [JSON.stringify(wanted)]);
  const found = tables.map((planned, index) => fitting(planned, rows[index]!));
  await checkValues(connection, tables, rows);
  return found;
}

/** One row for each table of $1, in order; what is not there is null. */
const findSql = `
  SELECT t.oid::text AS scope_oid, v.oid::text AS oid, p.scope_columns, p.definition,
    CASE w.through
      WHEN 'policy' THEN (SELECT pg_get_expr(pol.polqual, pol.polrelid) FROM pg_policy pol
        WHERE pol.polrelid = t.oid AND pol.polname = '${scopePolicy}' AND NOT pol.polpermissive AND pol.polcmd = '*'
          AND pol.polwithcheck IS NULL AND pol.polroles = ARRAY[to_regrole('${leaseGroup}')::oid] AND t.relrowsecurity)
      ELSE CASE WHEN v.relkind = 'v' AND v.reloptions @> ARRAY['security_barrier=true'] THEN pg_get_viewdef(v.oid) END
    END AS present,
    (SELECT json_object_agg(a.attname, format_type(b.oid, -1)) FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
       JOIN pg_type b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END
     WHERE a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    (SELECT json_agg(DISTINCT s.oid::regclass::text) FROM pg_depend d JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
     WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
       AND d.objid IN (SELECT oid FROM pg_attrdef WHERE adrelid = t.oid)) AS sequences
  FROM json_array_elements($1::json) WITH ORDINALITY AS given (one, place),
    LATERAL (SELECT one->>'schema' AS schema, one->>'table' AS name, one->>'through' AS through,
                    one->>'as_schema' AS as_schema, one->>'as_name' AS as_name) w
    LEFT JOIN pg_class t ON t.relname = w.name AND t.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = w.schema)
    LEFT JOIN pg_class v ON v.relname = w.as_name AND v.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = w.as_schema)
    LEFT JOIN ${ownSchema}.prepared p ON p.relation = t.oid AND p.through = w.through
  ORDER BY given.place`;

function fitting(planned: PlannedTable, row: Row): FoundRelation {
  const { schema, name } = relationOf(planned);
  const table = `${planned.schema}.${planned.table}`;
  if (row.scope_oid === null) throw refused(`there is no table ${table}`, '42P01');
  if (row.scope_columns === null)
    throw refused(`${table} is not prepared (${planned.through}): writ provider postgres prepare`, 'not_prepared');
  if (row.oid === null) throw refused(`there is no view ${schema}.${name}`, '42P01');
  if (row.present === null || row.present !== row.definition)
    throw refused(
      `what holds leases to their rows of ${table} is not what was prepared: writ provider postgres prepare --check`,
      'drift',
    );
  const given = Object.keys(planned.rows).sort();
  const prepared = [...row.scope_columns].sort();
  if (JSON.stringify(given) !== JSON.stringify(prepared))
    throw refused(
      prepared.length === 0
        ? `${table} is prepared as a whole: its rows are "all"`
        : `${table} is prepared for ${prepared.join(', ')}: a capability must give a value for each, and for no other`,
      'other_scope',
    );
  const columns = row.columns ?? {};
  for (const column of [...planned.read, ...planned.insert, ...planned.update, ...given])
    if (!Object.hasOwn(columns, column)) throw refused(`${table} has no column ${column}`, '42703');
  const sequences = planned.insert.length > 0 ? (row.sequences ?? []) : [];
  return { planned, oid: row.oid, scopeOid: row.scope_oid, sequences };
}

/**
 * Values are of the column's type and written as it writes them: '42 ' and 4.2e1 are not 42, although a cast
 * takes them. Asked of the server, which alone knows its types.
 */
async function checkValues(connection: Connection, tables: PlannedTable[], rows: Row[]): Promise<void> {
  const checks = tables.flatMap(({ schema, table, rows: scope }, index) =>
    Object.entries(scope).map(([column, value]) => {
      const type = rows[index]?.columns?.[column] ?? '';
      if (!takes(type, value))
        throw refused(`${schema}.${table}.${column} is ${type}: a ${typeof value} is not compared with it`, '42804');
      return { what: `${schema}.${table}.${column}`, type, text: String(value) };
    }),
  );
  if (checks.length === 0) return;
  // Type names are the server's own writing; values are literals.
  const same = checks.map(({ type, text }) => `${literal(text)}::${type}::text = ${literal(text)}`);
  const answer = await connection.query<{ same: boolean[] }>(`SELECT ARRAY[${same.join(', ')}] AS same`);
  const wrong = checks[answer.rows[0]!.same.indexOf(false)];
  if (wrong !== undefined)
    throw refused(`the value for ${wrong.what} is not written as the type ${wrong.type} writes it`, '22P02');
}

const numeric = new Set(['smallint', 'integer', 'bigint', 'numeric']);

/** Text may stand for any type; a number or a truth value only for its own. */
function takes(type: string, value: ScopeValue): boolean {
  if (typeof value === 'number') return numeric.has(type);
  if (typeof value === 'boolean') return type === 'boolean';
  return true;
}

const refused = (why: string, providerCode: string) =>
  new ProviderError('upstream_refused', `PostgreSQL: ${why}`, { providerCode });
