/** The process as it is run: what it announces, and whom it obeys. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { layMigrated } from './store/store.test-support.ts';
import { until } from './until.test-support.ts';

const root = join(import.meta.dirname, '..');

interface Running {
  child: ChildProcess;
  url: string;
  exited: Promise<number | null>;
}

const npm = ['npm', 'start'];
// The second flag as for every test file (docs/decisions/test-runner.md).
const flags = ['--disable-warning=ExperimentalWarning', '--liftoff-only'];
const alone = [process.execPath, ...flags, join(import.meta.dirname, 'main.ts')];

/** In a process group of its own, as a terminal or a supervisor does. */
async function start(command: string[], dataDir: string, env: Record<string, string> = {}): Promise<Running> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    cwd: root,
    env: { PATH: process.env.PATH, HOME: dataDir, WRIT_DATA_DIR: dataDir, PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  for await (const line of createInterface({ input: child.stdout! })) {
    const said = line.startsWith('{') ? (JSON.parse(line) as { msg?: string; url?: string }) : {};
    if (said.msg === 'writ is up') {
      child.stdout!.resume();
      return { child, url: said.url!, exited };
    }
  }
  throw new Error('the broker did not start');
}

const answers = (url: string) =>
  fetch(`${url}/healthz`).then(
    (answer) => answer.ok,
    () => false,
  );

test('npm start hands a signal on: the broker stops with it, and so does a terminal’s Ctrl-C, which comes twice', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'writ-main-'));
  try {
    const told = await start(npm, dataDir);
    assert.ok(await answers(told.url));
    told.child.kill('SIGTERM');
    assert.equal(await told.exited, 0);
    await until('nothing answers', async () => !(await answers(told.url)));
    // To the whole group, as a terminal does; npm hands it on besides, and ends by it.
    const atTerminal = await start(npm, dataDir);
    process.kill(-atTerminal.child.pid!, 'SIGINT');
    await atTerminal.exited;
    await until('nothing answers', async () => !(await answers(atTerminal.url)));
    const twice = await start(alone, dataDir);
    twice.child.kill('SIGINT');
    twice.child.kill('SIGINT');
    assert.equal(await twice.exited, 0, 'what is in flight is finished');
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

test('the address that is announced is one that answers, of IPv6 too', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'writ-main-'));
  await layMigrated(join(dataDir, 'database'));
  try {
    for (const [listen, host] of [
      ['::1', /^http:\/\/\[::1\]:\d+$/],
      ['[::1]', /^http:\/\/\[::1\]:\d+$/],
      ['127.0.0.2', /^http:\/\/127\.0\.0\.2:\d+$/],
    ] as const) {
      const running = await start(alone, dataDir, { WRIT_LISTEN: listen });
      assert.match(running.url, host);
      assert.ok(await answers(running.url), listen);
      const discovery = (await (await fetch(`${running.url}/.well-known/openid-configuration`)).json()) as object;
      assert.equal((discovery as { issuer: string }).issuer, running.url);
      running.child.kill('SIGTERM');
      assert.equal(await running.exited, 0);
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});
