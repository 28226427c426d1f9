/** The database's own time: the one that all processes share. */
import type { Statement, Store } from './open.ts';

// As a number, so that no time zone or date style of the server's has a part in it.
const clockStatement: Statement = {
  name: 'database_clock',
  text: `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms`,
};

export async function databaseClock(store: Store): Promise<Date> {
  const [row] = await store.run<{ ms: number }>(clockStatement, []);
  return new Date(Number(row?.ms));
}
