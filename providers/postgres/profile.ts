/**
 * The role that holds a plan's column rights. Leases with the same rights share one, because a table's list
 * of rights has no room for a thousand roles, and two grants on one table at one moment fail each other.
 */
import { ProviderError } from '../contract.ts';
import type { Connection } from './connection.ts';
import { identifier, leaseGroup, literal, ownSchema, profileRole, qualified } from './names.ts';
import { type PlannedTable, relationOf } from './plan.ts';
import type { FoundRelation } from './relations.ts';

/** The rights of one table, whatever the rows. */
const rightsOf = (planned: PlannedTable) => ({
  ...relationOf(planned),
  read: [...planned.read].sort(),
  insert: [...planned.insert].sort(),
  update: [...planned.update].sort(),
  delete: planned.delete,
});

/**
 * Makes the profile where it is not there, and completes it where a table was made anew.
 * @returns its name
 */
export async function ensureProfile(
  connection: Connection,
  prefix: string,
  relations: readonly FoundRelation[],
): Promise<string> {
  const rights = relations.map(({ planned }) => rightsOf(planned));
  const profile = profileRole(prefix, rights);
  if (await isComplete(connection, profile, relations)) return profile;
  // One at a time, and not by an advisory lock: agents can hold those.
  await connection.query(`SELECT 1 FROM ${ownSchema}.turn FOR UPDATE`);
  if (await isComplete(connection, profile, relations)) return profile;
  const { rowCount } = await connection.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [profile]);
  const role = identifier(profile);
  await connection.query(
    [
      // A member itself: who becomes it by SET ROLE is held by the same policies.
      ...(rowCount === 0 ? [`CREATE ROLE ${role} NOLOGIN IN ROLE ${identifier(leaseGroup)}`] : []),
      ...relations.flatMap((relation) => grantsOf(relation, role)),
    ].join('; '),
  );
  return profile;
}

function grantsOf({ planned, sequences }: FoundRelation, role: string): string[] {
  const { schema, name } = relationOf(planned);
  const on = (verb: string, columns: string[]) =>
    columns.length === 0
      ? []
      : [`GRANT ${verb} (${columns.map(identifier).join(', ')}) ON ${qualified(schema, name)} TO ${role}`];
  return [
    ...on('SELECT', planned.read),
    ...on('INSERT', planned.insert),
    ...on('UPDATE', planned.update),
    ...(planned.delete ? [`GRANT DELETE ON ${qualified(schema, name)} TO ${role}`] : []),
    ...sequences.map((sequence) => `GRANT USAGE ON SEQUENCE ${sequence} TO ${role}`),
  ];
}

/** What a role may do with the relations: column by column, and what is for a whole table. */
const rightsSql = `
  SELECT c.oid::text AS oid,
    array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')) AS read,
    array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(r.oid, c.oid, a.attnum, 'INSERT')) AS insert,
    array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(r.oid, c.oid, a.attnum, 'UPDATE')) AS update,
    has_table_privilege(r.oid, c.oid, 'DELETE') AS delete,
    has_table_privilege(r.oid, c.oid, 'TRUNCATE') OR has_table_privilege(r.oid, c.oid, 'TRIGGER') OR has_any_column_privilege(r.oid, c.oid, 'REFERENCES') AS more
  FROM pg_class c, pg_roles r WHERE r.rolname = $1 AND c.oid = ANY ($2::oid[])`;

interface Rights {
  oid: string;
  read: string[];
  insert: string[];
  update: string[];
  delete: boolean;
  more: boolean;
}

async function rightsOn(connection: Connection, role: string, relations: readonly FoundRelation[]) {
  const { rows } = await connection.query<Rights>(rightsSql, [role, relations.map(({ oid }) => oid)]);
  return new Map(rows.map((row) => [row.oid, row]));
}

async function isComplete(connection: Connection, profile: string, relations: readonly FoundRelation[]) {
  const found = await rightsOn(connection, profile, relations);
  const sequences = relations.flatMap((relation) => relation.sequences);
  if (found.size === 0) return false;
  if (sequences.length > 0) {
    const usable = sequences.map(
      (name) => `has_sequence_privilege(${literal(profile)}, ${literal(name)}::regclass, 'USAGE')`,
    );
    const { rows } = await connection.query<{ all: boolean }>(`SELECT ${usable.join(' AND ')} AS "all"`);
    if (rows[0]?.all !== true) return false;
  }
  return relations.every(({ planned, oid }) => {
    const has = found.get(oid);
    const within = (wanted: string[], given: string[] = []) => wanted.every((name) => given.includes(name));
    return (
      within(planned.read, has?.read) &&
      within(planned.insert, has?.insert) &&
      within(planned.update, has?.update) &&
      (!planned.delete || has?.delete === true)
    );
  });
}

/**
 * That the lease's role may do with the plan's tables what the plan says and nothing else: what PUBLIC was
 * given, it has too.
 * @throws ProviderError upstream_mismatch
 */
export async function assertExactRights(
  connection: Connection,
  role: string,
  relations: readonly FoundRelation[],
): Promise<void> {
  const found = await rightsOn(connection, role, relations);
  for (const { planned, oid } of relations) {
    const has = found.get(oid);
    const wider = ([verb, wanted, given]: [string, string[], string[] | undefined]) =>
      (given ?? []).filter((name) => !wanted.includes(name)).map((name) => `${verb} ${name}`);
    const verbs: [string, string[], string[] | undefined][] = [
      ['read', planned.read, has?.read],
      ['insert', planned.insert, has?.insert],
      ['update', planned.update, has?.update],
    ];
    const more = [
      ...verbs.flatMap(wider),
      ...(has?.delete === true && !planned.delete ? ['delete'] : []),
      ...(has?.more === true ? ['truncate, reference or make triggers'] : []),
    ];
    const less = has === undefined || verbs.some(([, wanted, given]) => wanted.some((name) => !given?.includes(name)));
    if (more.length > 0 || less)
      throw new ProviderError(
        'upstream_mismatch',
        `Not the plan: on ${planned.schema}.${planned.table} the role may ${more.length > 0 ? `also ${more.slice(0, 5).join(', ')}: something is granted to PUBLIC or to ${leaseGroup}` : 'do less'}; nothing was made`,
      );
  }
}
