/**
 * `writ` where the broker runs: what the package on its own cannot do. The rest is tested with the package
 * (client/cli).
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePort } from '../../sandbox/free-port.ts';
import { layMigrated } from '../store/store.test-support.ts';

let dataDir: string;
before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'writ-data-'));
  await layMigrated(join(dataDir, 'database'));
});
after(() => rm(dataDir, { recursive: true }));

function writ(args: string[], env: Record<string, string>): Promise<{ code: number; stdout: string; stderr: string }> {
  // The second flag as for every test file (docs/decisions/test-runner.md).
  const flags = ['--disable-warning=ExperimentalWarning', '--liftoff-only'];
  const command = [...flags, join(import.meta.dirname, 'writ.ts'), ...args];
  return new Promise((resolve) => {
    execFile(process.execPath, command, { env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

test('keys rotate, audit verify and history check work on the embedded database', async () => {
  const env = { WRIT_DATA_DIR: dataDir, WRIT_KEY_LEAD_SECONDS: '90' };
  const rotated = await writ(['keys', 'rotate'], env);
  assert.equal(rotated.code, 0, rotated.stderr);
  assert.match(rotated.stdout, /^✔ key \S+ is published now and signs in 90 s\n$/);
  const verified = await writ(['audit', 'verify'], env);
  assert.equal(verified.code, 0, verified.stderr);
  assert.match(verified.stdout, /^✔ [1-9]\d* rows in [1-9]\d* chains hold\n$/);
  const checked = await writ(['history', 'check'], env);
  assert.deepEqual(checked, { code: 0, stdout: '✔ 0 cells of history are as the record made them\n', stderr: '' });
});

test('admin token replaces what is there, whoever wrote it', async () => {
  const env = { WRIT_DATA_DIR: dataDir };
  const tokens = [(await writ(['admin', 'token'], env)).stdout, (await writ(['admin', 'token'], env)).stdout];
  for (const token of tokens) assert.match(token, /^writ_admin_[\w-]{43}\n$/);
  assert.notEqual(tokens[0], tokens[1]);
});

test('a key is withdrawn where the broker runs', async () => {
  const env = { WRIT_DATA_DIR: dataDir };
  const rotated = await writ(['keys', 'rotate'], env);
  const kid = /key (\S+) is published/.exec(rotated.stdout)?.[1] ?? '';
  const gone = await writ(['keys', 'withdraw', kid], env);
  assert.equal(gone.code, 0, gone.stderr);
  assert.match(gone.stdout, /^✔ key \S+ is withdrawn; \S+ signs now\n$/);
  assert.equal((await writ(['keys', 'withdraw', kid], env)).code, 1);
  const dashed = await writ(['keys', 'withdraw', '-3bXq-0_aZ9kLmNo'], env);
  assert.deepEqual([dashed.code, dashed.stderr], [1, '✘ there is no key -3bXq-0_aZ9kLmNo to withdraw\n']);
});

test('database prepare is for a server', async () => {
  const { code, stderr } = await writ(['database', 'prepare', '--apply'], { WRIT_DATA_DIR: dataDir });
  assert.equal(code, 1);
  assert.match(stderr, /DATABASE_URL is not set; the embedded database has no roles/);
});

test('provider postgres prepare says what it needs', async () => {
  const missing = await writ(['provider', 'postgres', 'prepare', '--table', 'public.orders'], {});
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /WRIT_POSTGRES_ADMIN_URL, of a role that owns the tables/);
  const env = { WRIT_POSTGRES_ADMIN_URL: 'postgres://admin:hidden@127.0.0.1:1/shop' };
  assert.match((await writ(['provider', 'postgres', 'prepare', '--apply'], env)).stderr, /name at least one table/);
  const away = await writ(['provider', 'postgres', 'prepare', '--check'], env);
  assert.deepEqual([away.code, away.stderr.includes('hidden')], [1, false]);
  assert.equal((await writ(['provider', 'postgres', 'undo'], env)).code, 2);
});

test('doctor tries the environment where no broker runs, and makes nothing', async () => {
  const fresh = join(dataDir, 'never-started');
  const port = await freePort();
  const { code, stdout, stderr } = await writ(['doctor'], { WRIT_DATA_DIR: fresh, PORT: String(port) });
  assert.deepEqual([code, stderr], [1, '']);
  assert.match(stdout, /^✔ settings: the environment can be read$/m);
  assert.match(stdout, /^✔ database: the database takes writes$/m);
  assert.match(stdout, /^– aws: it is set up: none of its variables is set$/m);
  assert.match(
    stdout,
    /^✘ issuer: this broker is found at http:\/\/127\.0\.0\.1:\d+: nothing of ours answered \(ECONNREFUSED\)\n {4}→ Have the name/m,
  );
  assert.equal(existsSync(fresh), false);
  const faulty = await writ(['doctor', '--json'], { WRIT_DATA_DIR: fresh, PORT: 'x', WRIT_ROLE: 'api' });
  const { holds, findings } = JSON.parse(faulty.stdout) as {
    holds: boolean;
    findings: { part: string; found: string }[];
  };
  assert.deepEqual([faulty.code, holds, findings.map(({ part }) => part)], [1, false, ['settings', 'settings']]);
  const away = await writ(['doctor'], {
    DATABASE_URL: 'postgres://me:hidden@127.0.0.1:1/writ',
    WRIT_KEY_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
    WRIT_ISSUER_URL: 'http://127.0.0.1:8420',
  });
  assert.match(
    away.stdout,
    /^✘ database: the database can be opened: the database writ of me at 127\.0\.0\.1:1 .*nothing listens/,
  );
  assert.doesNotMatch(away.stdout, /hidden/);
});

test('every fault of the environment is told at once', async () => {
  const { code, stdout, stderr } = await writ(['keys', 'rotate'], {
    WRIT_DATA_DIR: dataDir,
    PORT: 'x',
    WRIT_ROLE: 'api',
  });
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /^The configuration has 2 faults:\n {2}- PORT: .*\n {2}- WRIT_ROLE: /);
});
