/**
 * Starts what is measured: broker and reference processes, on a database made for this run and dropped after
 * it.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { freePort } from '../../sandbox/free-port.ts';
import { type Child, startChild } from './child.ts';
import type { Servers } from './measure.ts';
import type { Backend } from './options.ts';

const serverUrl = process.env.TEST_DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres';

/** What the processes of one run keep their data in. */
export interface Place {
  backend: Backend;
  /** Variables that point a broker, or the reference, at it. */
  env: Record<string, string>;
  remove(): Promise<void>;
}

async function onServer<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: serverUrl, connectionTimeoutMillis: 2_000 });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** @returns the server's version, or null when it does not answer */
export function postgresVersion(): Promise<string | null> {
  const ask = async (client: pg.Client) =>
    (await client.query<{ server_version: string }>('SHOW server_version')).rows[0]?.server_version ?? '';
  return onServer(ask).catch(() => null);
}

export async function makePlace(backend: Backend): Promise<Place> {
  if (backend === 'pglite') {
    const folder = await mkdtemp(join(tmpdir(), 'writ-bench-'));
    const remove = () => rm(folder, { recursive: true, force: true });
    return { backend, env: { WRIT_DATA_DIR: folder }, remove };
  }
  const database = `writ_bench_${randomBytes(6).toString('hex')}`;
  await onServer((client) => client.query(`CREATE DATABASE ${database}`));
  const url = Object.assign(new URL(serverUrl), { pathname: `/${database}` }).href;
  return {
    backend,
    env: { DATABASE_URL: url, WRIT_KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64url') },
    remove: () => onServer(async (client) => void (await client.query(`DROP DATABASE ${database} WITH (FORCE)`))),
  };
}

/**
 * Limits that would stand in a benchmark's way, and beats that would be counted as requests' round trips, are
 * switched off.
 */
const measured = {
  WRIT_BENCH_INSTANT: '1',
  WRIT_GCP_SERVICE_ACCOUNTS: 'writ-1@demo-project.iam.gserviceaccount.com',
  WRIT_GCP_SHARED_SERVICE_ACCOUNTS: 'writ-2@demo-project.iam.gserviceaccount.com',
  WRIT_GRANTS_PER_MINUTE: '0',
  WRIT_SESSIONS_PER_MINUTE: '0',
  WRIT_REQUESTS_PER_MINUTE: '0',
  WRIT_HEARTBEAT_MISSES: '100',
  WRIT_SESSION_TOKEN_SECONDS: '3600',
  WRIT_RECONCILE_SECONDS: '60',
  WRIT_LOG_LEVEL: 'warn',
};

export const thisTree = join(import.meta.dirname, '../..');

/** A process of the benchmark as that tree has it. */
export const processOf = (tree: string, file: string): string => pathToFileURL(join(tree, 'scripts/bench', file)).href;

/** Which agent: `plain` asks for permissions; rules with a history judge the tool calls of `calls`. */
export type Manifests = 'plain' | 'calls';

/**
 * @param world variables of the sandbox; the first process listens where its issuer says.
 * @param tree folder of the sources whose broker it is
 */
export async function startBrokers(
  world: Record<string, string>,
  place: Place,
  processes: number,
  manifests: Manifests = 'plain',
  tree: string = thisTree,
): Promise<Servers> {
  const children: Child[] = [];
  const urls: string[] = [];
  for (let n = 0; n < processes; n += 1) {
    const port = n === 0 ? world.PORT! : String(await freePort());
    children.push(
      await startChild(processOf(tree, 'broker-process.ts'), {
        ...world,
        ...place.env,
        ...measured,
        WRIT_MANIFEST_DIR: join(import.meta.dirname, 'manifests', manifests),
        PORT: port,
        ...profiling('broker'),
      }),
    );
    urls.push(`http://127.0.0.1:${port}`);
  }
  return { children, urls };
}

export async function startReferences(key: string, place: Place, processes: number): Promise<Servers> {
  const start = () =>
    startChild('reference-process.ts', { REFERENCE_KEY: key, ...place.env, ...profiling('reference') });
  const children = await Promise.all(Array.from({ length: processes }, start));
  return { children, urls: await Promise.all(children.map((child) => child.ask<string>('url'))) };
}

/**
 * `BENCH_PROFILE=broker` (or `reference`) writes a CPU profile of those processes into the working directory.
 */
function profiling(which: string): Record<string, string> {
  return process.env.BENCH_PROFILE === which ? { BENCH_NODE_OPTIONS: '--cpu-prof' } : {};
}
