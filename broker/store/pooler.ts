/**
 * Finds out whether a pooler stands between this process and the server, and whether it hands a connection on
 * after each transaction (PgBouncer's `pool_mode = transaction`). Then nothing that belongs to a connection
 * may be relied on: settings, prepared statements, locks.
 */
import type pg from 'pg';
import { assertHolds, type Pooling, prepareConnection } from './connection-settings.ts';

/** How long a second connection is waited for: a pool of one, in session mode, has none to give. */
const patienceMs = 3_000;

/** As pg keeps it: the process id that the other side gave this connection for cancelling. */
const givenPid = (client: pg.Client) => (client as unknown as { processID: number | null }).processID;
const realPid = async (client: pg.Client): Promise<number> =>
  (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;

/**
 * @param first a connection, on which nothing else is under way
 * @param connect opens another
 * @returns `session` for a server itself, and for a pooler that keeps a connection for its client
 * @throws Error in words when it lets no transaction have more than one statement
 */
export async function findPooling(first: pg.Client, connect: () => Promise<pg.Client>): Promise<Pooling> {
  const before = await realPid(first);
  // A server gives its own; a pooler makes one up, as the server process changes.
  if (before === givenPid(first)) return 'session';
  await assertTransactions(first);
  const second = await connect();
  try {
    return await isShared(first, second, before);
  } finally {
    second.end().catch(() => {});
  }
}

/** Migrations are one transaction, and so is what compares history with the record. */
async function assertTransactions(client: pg.Client): Promise<void> {
  try {
    await client.query('BEGIN');
    await client.query('ROLLBACK');
  } catch (error) {
    throw new Error(
      `the pooler in front of the database takes no transactions (${(error as Error).message}): set pool_mode = transaction, or session, for this database`,
      { cause: error },
    );
  }
}

/** Two clients that are both connected are served by two server processes, each always by its own: or not. */
async function isShared(first: pg.Client, second: pg.Client, before: number): Promise<Pooling> {
  const own = await Promise.race([
    realPid(second),
    new Promise<null>((resolve) => setTimeout(resolve, patienceMs, null).unref()),
  ]);
  // The first is idle: what keeps the second waiting is a pool that keeps its connections for their clients.
  if (own === null) return 'session';
  if (own === before) return 'transaction';
  // Uneven turns: a pooler that goes round in a circle is found out too.
  for (const [client, expected] of [first, first, second, first, second, second, first].map(
    (one) => [one, one === first ? before : own] as const,
  )) {
    if ((await realPid(client)) !== expected) return 'transaction';
  }
  return 'session';
}

/**
 * Whether a pooler that shares connections keeps the settings of one client apart from another's.
 * @throws Error that says what does not hold and what to set
 */
export async function assertKeptApart(connect: () => Promise<pg.Client>, schema: string): Promise<void> {
  const ours = await connect();
  try {
    await prepareConnection(ours, schema, 'transaction');
    const other = await connect();
    try {
      await other.query(
        "SELECT set_config('TimeZone', 'Etc/GMT+9', false), set_config('DateStyle', 'SQL, DMY', false)",
      );
      await assertHolds(ours, schema);
    } finally {
      await other.query("SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, MDY', false)");
      await other.end();
    }
  } finally {
    await ours.end();
  }
}
