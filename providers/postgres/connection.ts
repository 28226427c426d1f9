/** One connection for one piece of work: opened, used and closed, and cut off when the caller gives up. */
import { Socket } from 'node:net';
import { rootCertificates } from 'node:tls';
import pg from 'pg';
import type { Target } from './target.ts';

export type Connection = Pick<pg.Client, 'query'>;

export interface ConnectOptions {
  /** PEM; null = the system's. */
  ca: string | null;
  /** Shown in `pg_stat_activity`; at most 63 bytes. */
  applicationName: string;
  signal: AbortSignal;
}

/**
 * No pool: what a connection knows (settings, a server that is no primary any more) ends with the work.
 * @throws what `pg` throws; the signal's reason when it has aborted
 */
export async function connected<T>(
  target: Target,
  { ca, applicationName, signal }: ConnectOptions,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const socket = new Socket();
  const client = new pg.Client({
    host: target.address.host,
    port: target.address.port,
    database: target.database,
    user: target.user,
    // Never undefined: `pg` would look for one in the environment and in files.
    password: () => target.password(),
    ssl: tlsOptions(target, ca),
    application_name: applicationName,
    stream: () => socket,
  });
  // A connection that breaks while nothing is asked of it; what is asked next fails with it.
  client.on('error', () => {});
  const cut = () => socket.destroy();
  signal.addEventListener('abort', cut, { once: true });
  try {
    await client.connect();
    const result = await work(client);
    // What was done is done, however the connection ends.
    await client.end().catch(() => {});
    return result;
  } catch (error) {
    // That a commit may have arrived must not be lost in the giving up.
    if (!(error instanceof CommitFailed)) signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', cut);
    socket.destroy();
  }
}

function tlsOptions({ sslMode, address }: Target, ca: string | null) {
  if (sslMode === 'disable') return false;
  if (sslMode === 'require') return { rejectUnauthorized: false };
  return { ca: ca === null ? [...rootCertificates] : ca, rejectUnauthorized: true, host: address.host };
}

/** A transaction of which nothing stays, whatever comes of it. */
export async function withoutTrace<T>(connection: Connection, work: () => Promise<T>): Promise<T> {
  await connection.query(`BEGIN; ${ownSettings}`);
  try {
    return await work();
  } finally {
    await connection.query('ROLLBACK').catch(() => {});
  }
}

/** Commits what the work did, or nothing of it. */
export async function inTransaction<T>(connection: Connection, work: () => Promise<T>): Promise<T> {
  await connection.query(`BEGIN; ${ownSettings}`);
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await connection.query('ROLLBACK').catch(() => {});
    throw error;
  }
  try {
    await connection.query('COMMIT');
  } catch (error) {
    throw new CommitFailed(error);
  }
  return result;
}

/** The answer to a COMMIT was lost, or was no: what was to be committed may be. */
export class CommitFailed extends Error {
  constructor(cause: unknown) {
    super('the commit failed', { cause });
  }
}

/**
 * Local to the transaction, so that they hold behind a pooler too. Nobody's objects stand for the server's
 * own, nothing waits for long, and what is committed is on the standbys that are waited for.
 */
const ownSettings = [
  // Whoever has waited for another sees what that one made, whatever the default of server, database or role.
  `SET LOCAL transaction_isolation = 'read committed'`,
  `SET LOCAL search_path = pg_catalog, pg_temp`,
  `SET LOCAL statement_timeout = '10s'`,
  `SET LOCAL lock_timeout = '5s'`,
  `SET LOCAL idle_in_transaction_session_timeout = '15s'`,
  `SET LOCAL synchronous_commit = on`,
  `SET LOCAL TimeZone = 'UTC'`,
  `SET LOCAL DateStyle = 'ISO, MDY'`,
  `SET LOCAL standard_conforming_strings = on`,
].join('; ');
