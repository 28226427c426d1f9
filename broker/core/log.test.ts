/** Whoever reads the log cannot hold up what is logged about. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

/** Logs more than a pipe and the lines that may wait take, then says on standard error what was lost. */
const program = `
  const { createLog, lostLogLines } = await import(${JSON.stringify(new URL('./log.ts', import.meta.url).href)});
  const log = createLog('info');
  const line = 'x'.repeat(100_000);
  for (let n = 0; n < 300; n += 1) log.info({ n }, line);
  process.stderr.write('lost ' + lostLogLines());
  setInterval(() => {}, 1000);
`;

test('a log that nobody reads is dropped with a count, and what logs goes on', async () => {
  const child = spawn(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    '--input-type=module',
    '-e',
    program,
  ]);
  child.stdout.pause();
  const [said] = (await once(child.stderr, 'data')) as [Buffer];
  const lost = Number(/^lost (\d+)$/.exec(said.toString())?.[1]);
  // 30 MB were logged and 8 MB may wait.
  assert.ok(lost > 150 && lost < 250, said.toString());
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
});
