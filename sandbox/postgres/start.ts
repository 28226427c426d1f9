/** A private PostgreSQL server on loopback, that asks everybody but its superuser for a password. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { freePort } from '../free-port.ts';
import type { Binaries } from './binaries.ts';

export interface PostgresSandbox {
  version: string;
  port: number;
  /** The superuser's, for a database. */
  url(database?: string): string;
  /** One statement or many, as the superuser. */
  run<Row extends pg.QueryResultRow>(text: string, values?: unknown[], database?: string): Promise<Row[]>;
  /** Whether everybody from here comes without a password, as with `trust` in pg_hba.conf. */
  letIn(everybody: boolean): Promise<void>;
  /** What the server has written to its log so far. */
  log(): string;
  /** Stops it; `start` brings it back with its data. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** A read replica of it, streaming: its data are copied while it is stopped for a moment. */
  standby(): Promise<PostgresSandbox>;
  /** Stops it and removes its data. */
  close(): Promise<void>;
}

export interface PostgresSandboxOptions {
  /** Where the folder of its data is made. Default: among the temporary ones. */
  folder?: string;
  /** Lines for postgresql.conf. */
  settings?: { [name: string]: string };
  /** A certificate and its key, PEM: then it speaks TLS. */
  tls?: { certificate: string; key: string };
}

/** PostgreSQL refuses to run as root: as root it runs as nobody. */
const demoted: { uid: number; gid: number } | null = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : null;

export async function startPostgres(
  installed: Binaries,
  options: PostgresSandboxOptions = {},
): Promise<PostgresSandbox> {
  const folder = mkdtempSync(join(options.folder ?? tmpdir(), 'writ-postgres-'));
  const data = join(folder, 'data');
  if (demoted !== null) {
    chownSync(folder, demoted.uid, demoted.gid);
    openTheWay(folder);
  }
  const binaries = withinReach(installed, folder);
  run(binaries, ['initdb', '-D', data, '-U', 'postgres', '-E', 'UTF8', '--locale=C', '--auth=trust', '--no-sync']);
  writeOwned(join(data, 'pg_hba.conf'), logins('scram-sha-256'));
  if (options.tls !== undefined) {
    writeOwned(join(data, 'server.crt'), options.tls.certificate);
    writeOwned(join(data, 'server.key'), options.tls.key);
  }
  return serve({ binaries, folder, data }, options);

  function writeOwned(file: string, text: string): void {
    writeFileSync(file, text);
    chmodSync(file, 0o600);
    if (demoted !== null) chownSync(file, demoted.uid, demoted.gid);
  }
}

/** A folder of root's own is no way for the server's user: it may pass, and still not look. */
function openTheWay(folder: string): void {
  for (const above of foldersAbove(folder)) {
    const { mode } = statSync(above);
    if ((mode & 0o001) === 0) chmodSync(above, (mode & 0o777) | 0o001);
  }
}

/** Only the superuser, and only from here, comes without a password. */
const logins = (others: 'scram-sha-256' | 'trust') =>
  [
    'host all postgres 127.0.0.1/32 trust',
    'host replication postgres 127.0.0.1/32 trust',
    `host all all 127.0.0.1/32 ${others}`,
    '',
  ].join('\n');

interface Installation {
  binaries: Binaries;
  folder: string;
  data: string;
}

/** Starts a server on data that are there, on a port of its own. */
async function serve(place: Installation, options: PostgresSandboxOptions): Promise<PostgresSandbox> {
  const { binaries, folder, data } = place;
  const port = await freePort();
  const settings: { [name: string]: string } = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'off',
    shared_buffers: '32MB',
    max_connections: '100',
    password_encryption: 'scram-sha-256',
    log_statement: 'all',
    log_min_messages: 'warning',
    ...(options.tls === undefined ? {} : { ssl: 'on' }),
    ...options.settings,
  };
  const url = (database = 'postgres') => `postgres://postgres@127.0.0.1:${port}/${database}`;
  let said = '';
  let server: ChildProcess | null = null;
  const start = async () => {
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const child = spawn(join(binaries.folder, 'postgres'), ['-D', data, ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: data,
      ...demoted,
    });
    child.stderr.on('data', (chunk) => {
      said += chunk;
    });
    server = child;
    await answering(url(), child, () => said);
  };
  const stop = async () => {
    if (server === null || server.exitCode !== null || server.signalCode !== null) return;
    const gone = once(server, 'exit');
    // Immediate shutdown: what is connected is cut off, as in a crash.
    server.kill('SIGQUIT');
    await gone;
  };
  const standby = async () => {
    const copy = mkdtempSync(join(tmpdir(), 'writ-standby-'));
    const copied = join(copy, 'data');
    await stop();
    cpSync(data, copied, { recursive: true, preserveTimestamps: true });
    await start();
    chmodSync(copied, 0o700);
    writeFileSync(join(copied, 'standby.signal'), '');
    rmSync(join(copied, 'postmaster.pid'), { force: true });
    if (demoted !== null) giveAway(copy);
    const primary = `host=127.0.0.1 port=${port} user=postgres application_name=standby`;
    return serve(
      { ...place, folder: copy, data: copied },
      { ...options, settings: { ...options.settings, primary_conninfo: primary } },
    );
  };
  await start();
  return {
    version: binaries.version,
    port,
    url,
    run: (text, values, database) =>
      withClient(url(database), async (client) => {
        const { rows } = values === undefined ? await client.query(text) : await client.query(text, values);
        return rows ?? [];
      }),
    letIn: async (everybody) => {
      writeFileSync(join(data, 'pg_hba.conf'), logins(everybody ? 'trust' : 'scram-sha-256'));
      const loadedAt = () =>
        withClient(url(), async (client) => (await client.query('SELECT pg_conf_load_time()::text AS at')).rows[0].at);
      const before = await loadedAt();
      await withClient(url(), (client) => client.query('SELECT pg_reload_conf()'));
      while ((await loadedAt()) === before);
    },
    log: () => said,
    start,
    stop,
    standby,
    close: async () => {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** To the server's user, with all that is in it. */
function giveAway(path: string): void {
  chownSync(path, demoted!.uid, demoted!.gid);
  if (statSync(path).isDirectory()) for (const name of readdirSync(path)) giveAway(join(path, name));
}

/** What is installed in a folder of root's own is copied to where the server's user may look. */
function withinReach(installed: Binaries, folder: string): Binaries {
  const root = dirname(installed.folder);
  if (demoted === null || foldersAbove(root).every((above) => (statSync(above).mode & 0o001) !== 0)) return installed;
  cpSync(root, join(folder, 'server'), { recursive: true, verbatimSymlinks: true });
  return { ...installed, folder: join(folder, 'server', 'bin') };
}

function foldersAbove(path: string): string[] {
  const above = dirname(path);
  return above === path ? [] : [above, ...foldersAbove(above)];
}

function run({ folder }: Binaries, [command = '', ...args]: string[]): void {
  const { status, stderr, error } = spawnSync(join(folder, command), args, {
    encoding: 'utf8',
    cwd: tmpdir(),
    ...demoted,
  });
  if (status !== 0) throw new Error(`${command}: ${error?.message ?? stderr}`);
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Asked until it answers: it says nothing when it is ready. */
async function answering(url: string, child: ChildProcess, said: () => string): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`PostgreSQL ended: ${said()}`);
    try {
      return await withClient(url, async (client) => void (await client.query('SELECT 1')));
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
