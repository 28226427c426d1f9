/** A PostgreSQL plan in words. */
import type { Plan, PlanDescription } from '../contract.ts';
import { type PlannedTable, permissionOf, relationOf, type ScopeValue } from './plan.ts';

/** A page shows one fact a line; longer lines are gone on with in the next. */
const longestLine = 400;

/** @param limits what the server was found not to hold, in words */
export function describePlan(plan: Plan, limits: readonly string[] = []): PlanDescription {
  const { database, server, tables } = permissionOf(plan);
  const summary = [
    ...tables.flatMap(inWords),
    `In the database ${shown(database)}${server === 'replica' ? ', on its read replica' : ''}, as a role made for this lease`,
    ...limits,
  ];
  const kill =
    'Writ takes the rows away, ends the sessions and drops the role; then it tries the password, which the server must refuse.';
  const own = `The server itself shows no row and takes no login after ${plan.ttl_seconds} seconds.`;
  return {
    summary: summary.flatMap(folded),
    revocability:
      server === 'replica'
        ? { kind: 'eventual', text: `${kill} The replica follows when it has replayed that. ${own}` }
        : { kind: 'immediate', text: `${kill} ${own}` },
  };
}

function inWords(planned: PlannedTable): string[] {
  const { schema, name } = relationOf(planned);
  const table = `${shown(planned.schema)}.${shown(planned.table)}`;
  const where = scopeInWords(planned.rows);
  const columns = (names: string[]) => names.map(shown).join(', ');
  return [
    ...(planned.read.length > 0 ? [`Read ${columns(planned.read)} of ${table}${where}`] : []),
    ...(planned.insert.length > 0 ? [`Add rows to ${table}${where}, giving ${columns(planned.insert)}`] : []),
    ...(planned.update.length > 0 ? [`Change ${columns(planned.update)} of ${table}${where}`] : []),
    ...(planned.delete ? [`Delete rows of ${table}${where}`] : []),
    planned.through === 'policy'
      ? `A row-security policy on ${table} holds it to these rows`
      : `The view ${shown(schema)}.${shown(name)} holds it to these rows; it has no right on the table itself`,
  ];
}

function scopeInWords(rows: PlannedTable['rows']): string {
  const parts = Object.entries(rows).map(([column, value]) => `${shown(column)} = ${valueShown(value)}`);
  return parts.length === 0 ? ', every row' : ` where ${parts.join(' and ')}`;
}

/** Names as SQL writes them, so that `Orders` and `orders` are told apart. */
const shown = (name: string) => (/^[a-z_][a-z0-9_$]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);

/** Text that is no plain number or word is quoted, so that its blanks are seen. */
const valueShown = (value: ScopeValue) =>
  typeof value === 'string' && !/^[A-Za-z0-9_-]+$/.test(value) ? `'${value.replaceAll("'", "''")}'` : String(value);

function folded(line: string): string[] {
  const lines: string[] = [];
  for (let rest = line; rest !== ''; ) {
    if (rest.length <= longestLine) return [...lines, rest];
    const blank = rest.lastIndexOf(' ', longestLine);
    const cut = blank < 100 ? longestLine : blank;
    lines.push(rest.slice(0, cut));
    rest = `… ${rest.slice(cut).trimStart()}`;
  }
  return lines;
}
