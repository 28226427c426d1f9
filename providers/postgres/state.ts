/** What a plan of PostgreSQL is about: how many rows each of its tables has within the plan's bounds. */
import { type JsonObject, type Plan, ProviderError } from '../contract.ts';
import { withoutTrace } from './connection.ts';
import { asProviderError } from './errors.ts';
import { asBroker, type Ground } from './ground.ts';
import { giveRows, primaryTime } from './issue.ts';
import { qualified } from './names.ts';
import { type PlannedTable, permissionOf, relationOf } from './plan.ts';
import { findRelations } from './relations.ts';

/** More are not counted: it would cost the server more than the answer tells. */
const mostRows = 100_000;

export interface RowCount {
  schema: string;
  table: string;
  rows: number;
}

/** Longer than any counting takes; what is given for it is taken back with the transaction. */
const givenForMs = 60_000;

/**
 * As a lease would see them: the broker's role gets the plan's rows for the length of a transaction that is
 * rolled back.
 * @throws ProviderError
 */
export async function countRows(ground: Ground, plan: Plan, signal: AbortSignal): Promise<JsonObject> {
  const { tables } = permissionOf(plan);
  try {
    const counts = await asBroker(ground, 'writ state', signal, (connection) =>
      withoutTrace(connection, async () => {
        const until = new Date((await primaryTime(connection)).getTime() + givenForMs);
        const relations = await findRelations(connection, tables);
        await giveRows(connection, ground.settings.WRIT_POSTGRES_URL.user, relations, until);
        const counted: RowCount[] = [];
        for (const { planned } of relations) {
          const { rows } = await connection.query<{ count: string }>(countSql(planned));
          counted.push({ schema: planned.schema, table: planned.table, rows: Number(rows[0]?.count) });
        }
        return counted;
      }),
    );
    const many = counts.find(({ rows }) => rows > mostRows);
    if (many !== undefined)
      throw new ProviderError('upstream_refused', `${many.schema}.${many.table} has more than ${mostRows} rows`);
    return { tables: counts as unknown as JsonObject[] };
  } catch (error) {
    throw asProviderError(error, { signal, doing: 'counting rows' });
  }
}

function countSql(planned: PlannedTable): string {
  const { schema, name } = relationOf(planned);
  return `SELECT count(*) FROM (SELECT 1 FROM ${qualified(schema, name)} LIMIT ${mostRows + 1}) AS counted`;
}

/** The same in words, a line each. Pure. */
export function countsInWords({ state }: Plan): string[] {
  if (state === undefined) return [];
  return (state.seen.tables as unknown as RowCount[]).map(
    ({ schema, table, rows }) =>
      `${schema}.${table} as it is: ${rows} ${rows === 1 ? 'row' : 'rows'} within these bounds`,
  );
}
