/** What a PostgreSQL plan may do at most, as patterns: `select` on `schema.table` or a column of it. */
import { literally, type Plan, type Reach } from '../contract.ts';
import { permissionOf } from './plan.ts';

export function reach(plan: Plan): Reach[] {
  return permissionOf(plan).tables.flatMap((one): Reach[] => {
    const table = `${literally(one.schema)}.${literally(one.table)}`;
    const rows = Object.entries(one.rows).map(([column, value]) => `${column} = ${JSON.stringify(value)}`);
    const onlyIf = rows.length === 0 ? {} : { onlyIf: `rows with ${rows.join(' and ')}` };
    const columns = { select: one.read, insert: one.insert, update: one.update };
    const verbs = Object.entries(columns).filter(([, names]) => names.length > 0);
    return [
      ...verbs.map(([verb, names]) => ({
        actions: [verb],
        resources: [table, ...names.map((column) => `${table}.${literally(column)}`)],
        ...onlyIf,
      })),
      ...(one.delete ? [{ actions: ['delete'], resources: [table, `${table}.*`], ...onlyIf }] : []),
    ];
  });
}
