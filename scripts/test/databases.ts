/**
 * Databases that tests make on the test server carry their run's name, and a run holds a lock of that name:
 * databases whose lock is free belong to a run that crashed.
 */
import { randomInt } from 'node:crypto';
import pg from 'pg';

/** First key of the advisory locks that running test runs hold. */
const lockSpace = 8421;

export interface RunDatabases {
  /** To be given to the tests of one file as WRIT_TEST_RUN. */
  nameFor(file: number): string;
  /** Drops what the tests of one file have left. @returns its names */
  dropLeft(file: number): Promise<string[]>;
  close(): Promise<void>;
}

/** Takes a name for this run, and drops what runs that died have left. Its locks end with its connection. */
export async function openRunDatabases(url: string): Promise<RunDatabases> {
  const client = new pg.Client({ connectionString: url, application_name: 'writ tests' });
  await client.connect();
  // A server that goes away is for the tests to notice.
  client.on('error', () => {});
  const tryLock = async (run: number): Promise<boolean> =>
    (await client.query('SELECT pg_try_advisory_lock($1, $2) AS taken', [lockSpace, run])).rows[0].taken;
  let run = randomInt(1, 1_000_000_000);
  while (!(await tryLock(run))) run = randomInt(1, 1_000_000_000);

  const drop = async (names: string[]) => {
    for (const name of names) await client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`);
    return names;
  };
  const named = async (like: string): Promise<string[]> => {
    const { rows } = await client.query('SELECT datname FROM pg_database WHERE datname LIKE $1', [like]);
    return rows.map(({ datname }) => datname);
  };
  for (const name of await named('writ\\_test\\_%\\_%\\_%')) {
    const other = Number(name.split('_')[2]);
    // Run 0 are files run by hand, without a lock.
    if (other > 0 && (await tryLock(other))) await drop([name]);
  }
  return {
    nameFor: (file) => `${run}_${file}`,
    dropLeft: async (file) => drop(await named(`writ\\_test\\_${run}\\_${file}\\_%`)),
    close: () => client.end(),
  };
}
