/** The process itself: whoever reads its log cannot hold it up. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from './running.test-support.ts';
import { until } from './until.test-support.ts';

test('with a log that nobody reads it serves, counts what it lost, and stops when told to', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'writ-main-'));
  const port = await freePort();
  const main = join(import.meta.dirname, 'main.ts');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
    env: { PATH: process.env.PATH, PORT: String(port), WRIT_DATA_DIR: folder, WRIT_REQUESTS_PER_MINUTE: '0' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  // A pipe that is never emptied.
  child.stdout.pause();
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
  await until('it is up', () =>
    get('/readyz').then(
      (answer) => answer.status === 200,
      () => child.exitCode !== null,
    ),
  );
  // More lines than a pipe holds (64 kB): each request is one.
  for (let n = 0; n < 40; n += 1) {
    const answers = await Promise.all(
      Array.from({ length: 25 }, () => get('/healthz').then((answer) => answer.text())),
    );
    assert.equal(answers.length, 25);
  }
  assert.match(await (await get('/metrics')).text(), /^writ_log_lines_lost_total 0$/m);
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
  await rm(folder, { recursive: true, force: true });
});
