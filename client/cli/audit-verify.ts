/**
 * `writ audit verify`: recomputes the record's chains over a plain connection, so that any login that may
 * read the rows can check them.
 */
import pg from 'pg';
import { type Verification, verifyAudit } from '../../broker/audit/verify.ts';
import { CommandError, type LoadBrokerSide } from './broker-side.ts';

/**
 * Verifies the record on the server of DATABASE_URL; without one, the embedded database where the broker's
 * side is there.
 *
 * @returns 0 when every chain holds; 1 when one does not, naming its first broken row
 * @throws CommandError when there is nothing to verify from here; Error when the database cannot be read
 */
export async function verify(
  env: { [name: string]: string | undefined },
  loadBrokerSide: LoadBrokerSide,
): Promise<number> {
  const { chains, rows, broken } = await verificationOf(env, loadBrokerSide);
  if (broken === null) {
    console.log(`✔ ${rows} rows in ${chains} chains hold`);
    return 0;
  }
  console.error(`✘ chain ${broken.chain}, row ${broken.seq}: ${broken.what}`);
  return 1;
}

async function verificationOf(
  env: { [name: string]: string | undefined },
  loadBrokerSide: LoadBrokerSide,
): Promise<Verification> {
  const url = env.DATABASE_URL || null;
  if (url !== null) return verifyServer(url, env.WRIT_DATABASE_SCHEMA || 'public');
  if (loadBrokerSide !== null) return (await loadBrokerSide()).verifyEmbedded();
  throw new CommandError(
    'DATABASE_URL is not set. For a broker on a PostgreSQL server, set it to the URL of that database. An embedded database ' +
      'is verified where its broker runs: stop the broker and run `npx writ audit verify` in its folder',
  );
}

/** Reads only, and migrates nothing: a login that may SELECT from the two tables is enough. */
async function verifyServer(url: string, schema: string): Promise<Verification> {
  if (!/^postgres(ql)?:\/\//.test(url)) throw new CommandError('DATABASE_URL: must be a postgres:// URL');
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw new CommandError('WRIT_DATABASE_SCHEMA: must be the name of a schema in lower case');
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 5_000,
    // A server that does not answer must not block the command; a page of rows takes far less.
    query_timeout: 60_000,
    application_name: 'writ audit verify',
  });
  // A connection lost between two statements: the next statement fails, and says so.
  client.on('error', () => {});
  await client.connect();
  try {
    // One transaction: it reads one state of the record, changes nothing, and keeps its settings behind a
    // pooler that shares connections. A statement prepared there could be another client's: none has a name.
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await client.query(`SET LOCAL search_path = ${pg.escapeIdentifier(schema)}, pg_temp`);
    return await verifyAudit({ run: async ({ text }, values) => (await client.query({ text, values })).rows });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === '42P01') throw new CommandError(`The schema ${schema} of this database holds no record of Writ’s`);
    throw error;
  } finally {
    await client.end();
  }
}
