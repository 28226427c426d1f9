/**
 * `writ audit verify`: recomputes the record's chains over a plain connection, so that any login that may
 * read the rows can check them.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { checkpointKey, publicName, readCheckpoints } from '../../broker/audit/checkpoint-format.ts';
import { type Anchors, type Verification, verifyAudit } from '../../broker/audit/verify.ts';
import { CommandError, type LoadBrokerSide } from './broker-side.ts';

export interface VerifyOptions {
  /** Files with checkpoints: the broker's own, or its log. */
  checkpoints: readonly string[];
  /** Name of the key that must have signed them. */
  checkpointKey: string | undefined;
}

type Environment = { [name: string]: string | undefined };

/**
 * Verifies the record on the server of DATABASE_URL; without one, the embedded database where the broker's
 * side is there.
 *
 * @returns 0 when every chain holds; 1 when one does not, naming its first broken row
 * @throws CommandError when there is nothing to verify from here; Error when the database or a file cannot be
 *   read
 */
export async function verify(
  env: Environment,
  loadBrokerSide: LoadBrokerSide,
  options: VerifyOptions,
): Promise<number> {
  const key = options.checkpointKey ?? (await ownKey(env));
  const texts = await Promise.all(options.checkpoints.map((file) => readFile(file, 'utf8')));
  const read = texts.length === 0 ? null : readCheckpoints(texts, key);
  if (typeof read === 'string') {
    console.error(`✘ ${read}`);
    return 1;
  }
  const { chains, rows, broken, delivered } = await verificationOf(env, loadBrokerSide, read?.anchors ?? new Map());
  if (broken !== null) {
    console.error(`✘ chain ${broken.chain}, row ${broken.seq}: ${broken.what}`);
    return 1;
  }
  console.log(`✔ ${rows} rows in ${chains} chains hold`);
  if (read !== null) {
    const compared = key === null ? ', which was compared with nothing: see `writ audit key`' : '';
    console.log(`✔ ${read.count} checkpoints hold, the last of ${read.last.at}; signed by ${read.key}${compared}`);
    // No fault by itself: whoever verifies a copy has an older one by then.
    if (delivered !== undefined && delivered > read.last.number)
      console.error(
        `! the broker has delivered ${delivered} checkpoints: those after ${read.last.number} are not in what was given, which is an older copy, or was cut at its end`,
      );
  }
  return 0;
}

/**
 * `writ audit key`: the name of the key that signs checkpoints. @throws CommandError without the key above it
 */
export async function showKey(env: Environment): Promise<number> {
  const key = await ownKey(env);
  if (key === null)
    throw new CommandError('WRIT_KEY_ENCRYPTION_KEY is not set: the key of the checkpoints is derived from it');
  console.log(key);
  return 0;
}

/** Where the key-encryption key is at hand: in the environment, or beside an embedded database. */
async function ownKey(env: Environment): Promise<string | null> {
  const beside = join(env.WRIT_DATA_DIR || '.writ', 'key-encryption-key');
  const text =
    env.WRIT_KEY_ENCRYPTION_KEY || (env.DATABASE_URL ? null : await readFile(beside, 'utf8').catch(() => null));
  return text === null ? null : publicName(checkpointKey(Buffer.from(text.trim(), 'base64url')));
}

/** `delivered`: how many checkpoints the database says were; undefined where it says nothing of it. */
type Verified = Verification & { delivered?: number };

async function verificationOf(env: Environment, loadBrokerSide: LoadBrokerSide, anchors: Anchors): Promise<Verified> {
  const url = env.DATABASE_URL || null;
  if (url !== null) return verifyServer(url, env.WRIT_DATABASE_SCHEMA || 'public', anchors);
  if (loadBrokerSide !== null) return (await loadBrokerSide()).verifyEmbedded(anchors);
  throw new CommandError(
    'DATABASE_URL is not set. For a broker on a PostgreSQL server, set it to the URL of that database. An embedded database ' +
      'is verified where its broker runs: stop the broker and run `npx writ audit verify` in its folder',
  );
}

/** What is signed and not delivered yet stands in `pending`, a line each. */
const deliveredSql = `SELECT number - coalesce(array_length(string_to_array(pending, E'\\n'), 1), 0) AS delivered FROM audit_checkpoint`;

/** Reads only, and migrates nothing: a login that may SELECT from the tables is enough. */
async function verifyServer(url: string, schema: string, anchors: Anchors): Promise<Verified> {
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
    const run = async ({ text }: { text: string }, values: (string | number)[]) =>
      (await client.query({ text, values })).rows;
    const verification = await verifyAudit({ run }, undefined, anchors);
    // A login that may not read it verifies the chains all the same.
    const written = await client.query<{ delivered: number }>(deliveredSql).catch(() => null);
    return { ...verification, ...written?.rows[0] };
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === '42P01') throw new CommandError(`The schema ${schema} of this database holds no record of Writ’s`);
    if (code === '42501')
      throw new CommandError(
        `${(error as Error).message}: verifying reads audit_event, audit_chain, session, grants, lease, review and manifest of ${schema}`,
      );
    throw error;
  } finally {
    await client.end();
  }
}
