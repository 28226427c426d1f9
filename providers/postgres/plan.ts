/** Parameters → the exact permission. Pure. */
import { type JsonObject, type Plan, ProviderError } from '../contract.ts';
import { viewSchema } from './names.ts';
import type { PostgresParams } from './params.ts';

/** A value that a column must have. */
export type ScopeValue = string | number | boolean;

export interface PlannedTable {
  schema: string;
  table: string;
  through: 'policy' | 'view';
  read: string[];
  insert: string[];
  update: string[];
  delete: boolean;
  /** Column → value, all of which must hold; empty = all rows. */
  rows: { [column: string]: ScopeValue };
}

/** What a plan of this provider holds in `permission`. */
export interface PostgresPermission {
  database: string;
  server: 'primary' | 'replica';
  tables: PlannedTable[];
}

export interface PlanBounds {
  database: string;
  hasReplica: boolean;
}

/** @throws ProviderError bad_params where a replica is named and there is none */
export function planFor(params: PostgresParams, ttlSeconds: number, bounds: PlanBounds): Plan {
  if (params.server === 'replica' && !bounds.hasReplica)
    throw new ProviderError('bad_params', 'WRIT_POSTGRES_REPLICA_ADDRESS is not set', { path: 'server' });
  for (const [index, { schema, through }] of params.tables.entries())
    if (through === 'view' && Buffer.byteLength(viewSchema(schema)) > 63)
      throw new ProviderError('bad_params', 'the schema’s name is too long for a schema of views', {
        path: `tables.${index}.schema`,
      });
  const tables = params.tables.map(
    (one): PlannedTable => ({
      schema: one.schema,
      table: one.table,
      through: one.through,
      read: one.read ?? [],
      insert: one.insert ?? [],
      update: one.update ?? [],
      delete: one.delete,
      rows: one.rows === 'all' ? {} : Object.fromEntries(Object.entries(one.rows).sort(byName)),
    }),
  );
  tables.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const permission: PostgresPermission = { database: bounds.database, server: params.server, tables };
  return { provider: 'postgres', permission: permission as unknown as JsonObject, ttl_seconds: ttlSeconds };
}

export const permissionOf = (plan: Plan): PostgresPermission => plan.permission as unknown as PostgresPermission;

/** The schema and name that an agent uses: the table's own, or its view's. */
export function relationOf({ schema, table, through }: PlannedTable): { schema: string; name: string } {
  return { schema: through === 'view' ? viewSchema(schema) : schema, name: table };
}

/** Whether nothing is changed by it. */
export const readsOnly = ({ tables }: PostgresPermission): boolean =>
  tables.every((one) => one.insert.length + one.update.length === 0 && !one.delete);

/** No separator can stand in for a part of a name. */
const keyOf = ({ schema, table }: PlannedTable) => JSON.stringify([schema, table]);
const byName = ([a]: [string, unknown], [b]: [string, unknown]) => (a < b ? -1 : a > b ? 1 : 0);
