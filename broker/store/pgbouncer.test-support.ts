/** A PgBouncer for tests, in front of the test server. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../sandbox/free-port.ts';

export const pgbouncerPath = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/usr/local/bin/pgbouncer'].find(existsSync);

/** Whether there is one to test with; with REQUIRE_SERVICES=1 there must be. */
export function pgbouncerIsHere(): boolean {
  if (pgbouncerPath === undefined && process.env.REQUIRE_SERVICES === '1')
    throw new Error('pgbouncer is not installed and REQUIRE_SERVICES=1');
  return pgbouncerPath !== undefined;
}

export interface Bouncer {
  /** The same database, through it. */
  through(url: string): string;
  stop(): Promise<void>;
}

/**
 * @param target a database of the server to stand in front of
 * @param roles who may log in, without a password
 * @param more lines for its configuration
 */
export async function startPgbouncer(
  target: string,
  mode: 'session' | 'transaction' | 'statement',
  roles: readonly string[] = [],
  more: readonly string[] = [],
): Promise<Bouncer> {
  const { hostname, port, username } = new URL(target);
  const folder = await mkdtemp(join(tmpdir(), 'writ-pgbouncer-'));
  const own = await freePort();
  await writeFile(join(folder, 'users.txt'), [username, ...roles].map((name) => `"${name}" ""\n`).join(''));
  await writeFile(
    join(folder, 'pgbouncer.ini'),
    `[databases]
* = host=${hostname} port=${port || 5432}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
unix_socket_dir =
auth_type = trust
auth_file = ${join(folder, 'users.txt')}
pool_mode = ${mode}
default_pool_size = 20
max_client_conn = 500
${more.join('\n')}
`,
  );
  const child = spawn(pgbouncerPath!, [...(await userFlag(folder)), join(folder, 'pgbouncer.ini')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  await listening(own, child, () => said);
  return {
    through: (url) => Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(own) }).href,
    stop: async () => {
      if (child.exitCode === null) {
        const gone = once(child, 'exit');
        child.kill('SIGKILL');
        await gone;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** It refuses to run as root, and gives up being root when it is told for whom. */
async function userFlag(folder: string): Promise<string[]> {
  if (process.getuid?.() !== 0) return [];
  await chmod(folder, 0o755);
  return ['-u', 'nobody'];
}

async function listening(port: number, child: ChildProcess, said: () => string): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`pgbouncer ended: ${said()}`);
    const socket = connect(port, '127.0.0.1');
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
