/** Whoever reads the log cannot hold up what is logged about. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
const run = (program: string) =>
  spawn(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    '--input-type=module',
    '-e',
    `const { createLog, lostLogLines } = await import(${url('./log.ts')});
     const { exit } = await import(${url('../compose/exit.ts')});
     const log = createLog('info');
     ${program}`,
  ]);

test('a log that nobody reads is dropped with a count, and what logs goes on', async () => {
  // More than a pipe and the lines that may wait take.
  const child = run(`
    const line = 'x'.repeat(100_000);
    for (let n = 0; n < 300; n += 1) log.info({ n }, line);
    process.stderr.write('lost ' + lostLogLines());
    setInterval(() => {}, 1000);`);
  child.stdout.pause();
  const [said] = (await once(child.stderr, 'data')) as [Buffer];
  const lost = Number(/^lost (\d+)$/.exec(said.toString())?.[1]);
  // 30 MB were logged and 8 MB may wait.
  assert.ok(lost > 150 && lost < 250, said.toString());
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
});

test('a process whose log nobody reads ends all the same', async () => {
  const child = run(`
    for (let n = 0; n < 100; n += 1) log.info({ n }, 'x'.repeat(10_000));
    await exit(0, 10);`);
  child.stdout.pause();
  assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL']);
});

test('what is read late is read whole before the process ends', async () => {
  const child = run(`
    for (let n = 0; n < 100; n += 1) log.info({ n }, 'x'.repeat(10_000));
    process.stderr.write('logged');
    await exit(3);`);
  child.stdout.pause();
  await once(child.stderr, 'data');
  let read = '';
  child.stdout.on('data', (chunk) => {
    read += chunk;
  });
  child.stdout.resume();
  const [code] = await once(child, 'close');
  assert.deepEqual([code, read.trimEnd().split('\n').length], [3, 100]);
});

test('lines after the reader has gone are counted, each', async () => {
  const child = run(`
    process.stdin.once('data', async () => {
      for (let n = 0; n < 50; n += 1) {
        log.info({ n }, 'a line');
        await new Promise((resolve) => setImmediate(resolve));
      }
      while (lostLogLines() < 50) await new Promise((resolve) => setImmediate(resolve));
      process.stderr.write('lost ' + lostLogLines());
      await exit(0);
    });`);
  child.stdout.destroy();
  child.stdin.write('go');
  const [said] = (await once(child.stderr, 'data')) as [Buffer];
  assert.equal(said.toString(), 'lost 50');
  child.stdin.end();
  if (child.exitCode === null) await once(child, 'exit');
  assert.equal(child.exitCode, 0);
});
