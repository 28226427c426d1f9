/** Whether a PostgreSQL plan is surely within another: fewer tables, columns, verbs or rows. Pure. */
import type { Plan } from '../contract.ts';
import { type PlannedTable, permissionOf } from './plan.ts';

export function narrower(plan: Plan, than: Plan): boolean {
  const [one, other] = [permissionOf(plan), permissionOf(than)];
  return (
    plan.ttl_seconds <= than.ttl_seconds &&
    one.database === other.database &&
    one.server === other.server &&
    one.tables.length > 0 &&
    one.tables.every((table) => other.tables.some((wider) => isWithin(table, wider)))
  );
}

function isWithin(table: PlannedTable, wider: PlannedTable): boolean {
  const subset = (columns: string[], all: string[]) => columns.every((column) => all.includes(column));
  return (
    table.schema === wider.schema &&
    table.table === wider.table &&
    table.through === wider.through &&
    subset(table.read, wider.read) &&
    subset(table.insert, wider.insert) &&
    subset(table.update, wider.update) &&
    (!table.delete || wider.delete) &&
    // Every condition of the wider one holds here as well.
    Object.entries(wider.rows).every(
      ([column, value]) => Object.hasOwn(table.rows, column) && table.rows[column] === value,
    )
  );
}
