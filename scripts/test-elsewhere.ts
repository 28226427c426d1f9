/**
 * `npm run test:elsewhere`: the store's tests, and sessions from grant to revocation, where others run a
 * broker: on a PostgreSQL server with another time zone, DateStyle and collation, directly and behind
 * PgBouncer in both modes. The servers are private to this run and need no rights: `apt-get install
 * postgresql pgbouncer`. Arguments are files to run instead of those.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pgbouncerPath, startPgbouncer } from '../broker/store/pgbouncer.test-support.ts';
import { answers } from '../broker/store/store.test-support.ts';
import { freePort } from '../sandbox/free-port.ts';

const root = join(import.meta.dirname, '..');
const files = [
  'broker/store/*.test.ts',
  'broker/audit/verify.test.ts',
  'broker/keys/ring.test.ts',
  'broker/manifests/publish.test.ts',
  'broker/sessions/*.test.ts',
  'broker/leases/revoke.test.ts',
  'broker/worker/reconciler.test.ts',
  'broker/http/app.test.ts',
  'broker/http/session-door.test.ts',
  'approvals/outbox.test.ts',
  'sandbox/two-workers.test.ts',
];
/** What its databases have as their defaults; `broker/store/connection.test.ts` has more of them. */
const defaults = { timezone: 'America/New_York', datestyle: 'SQL, DMY' };

const asked = process.argv.slice(2);
const binaries = await newestServer();
if (binaries === null || pgbouncerPath === undefined) {
  console.error('needs PostgreSQL’s server and PgBouncer: apt-get install postgresql pgbouncer');
  process.exit(1);
}
// Neither server runs as root: as root both run as the user that Debian's package makes.
const demoted = process.getuid?.() === 0 ? ['runuser', '-u', 'postgres', '--'] : [];
const folder = await mkdtemp(join(tmpdir(), 'writ-elsewhere-'));
await chmod(folder, 0o777);
const data = join(folder, 'data');
let server: ChildProcess | null = null;
let failed = 0;
try {
  run([
    join(binaries, 'initdb'),
    '-D',
    data,
    '-U',
    'postgres',
    '-E',
    'UTF8',
    '--auth=trust',
    '--no-sync',
    ...collation(),
  ]);
  const port = await freePort();
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'off',
    log_min_messages: 'panic',
    ...defaults,
  };
  const flags = Object.entries({ ...settings, max_connections: 300 }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
  const [command = '', ...rest] = [...demoted, join(binaries, 'postgres'), '-D', data, ...flags];
  server = spawn(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] });
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  while (!(await answers(url))) {
    if (server.exitCode !== null) throw new Error('the server did not start');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log(`a server with ${Object.values(defaults).join(', ')} and ${collation().join(' ')} on port ${port}`);
  failed += await test('directly', { TEST_DATABASE_URL: url });
  for (const mode of ['session', 'transaction'] as const) {
    const bouncer = await startPgbouncer(url, mode, [], ['max_client_conn = 1000']);
    failed += await test(`behind PgBouncer, pool_mode = ${mode}`, {
      TEST_DATABASE_URL: url,
      TEST_POOLER_URL: bouncer.through(url),
    });
    await bouncer.stop();
  }
} finally {
  if (server !== null && server.exitCode === null) {
    const gone = once(server, 'exit');
    run([join(binaries, 'pg_ctl'), 'stop', '-D', data, '-m', 'immediate', '-s']);
    await gone;
  }
  await rm(folder, { recursive: true, force: true });
}
process.exit(failed === 0 ? 0 : 1);

function run(command: string[]): void {
  const [first = '', ...rest] = [...demoted, ...command];
  const { status, stderr } = spawnSync(first, rest, { encoding: 'utf8', cwd: tmpdir() });
  if (status !== 0) throw new Error(`${command.join(' ')}: ${stderr}`);
}

async function test(where: string, env: { [name: string]: string }): Promise<number> {
  console.log(`\n--- ${where}`);
  const args = ['--disable-warning=ExperimentalWarning', 'scripts/test.ts', ...(asked.length > 0 ? asked : files)];
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: 'inherit',
    // The embedded database is the same everywhere: `npm test` has tested on it.
    env: { ...process.env, TEST_BACKEND: 'postgres', ...env },
  });
  const [code] = await once(child, 'exit');
  return code === 0 ? 0 : 1;
}

/** One that orders `a` before `B`, unlike C: ICU's, as machines without locales have it too. */
function collation(): string[] {
  return ['--locale-provider=icu', '--icu-locale=en-US', '--locale=C.UTF-8'];
}

/** @returns the folder of its binaries */
async function newestServer(): Promise<string | null> {
  const versions = await readdir('/usr/lib/postgresql').catch(() => []);
  const newest = versions
    .map(Number)
    .filter(Number.isInteger)
    .toSorted((a, b) => b - a)[0];
  return newest === undefined ? null : `/usr/lib/postgresql/${newest}/bin`;
}
