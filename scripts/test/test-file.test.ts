import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { type Outcome, runTestFile } from './test-file.ts';

const home = await mkdtemp(join(tmpdir(), 'writ-runner-'));
after(() => rm(home, { recursive: true, force: true }));
let count = 0;

/** Runs `source` as a test file. `{{folder}}` stands for a place where it may leave word. */
async function runSource(
  source: string,
  options: { silenceMinutes?: number; signal?: AbortSignal } = {},
): Promise<Outcome & { word(name: string): Promise<string | null> }> {
  const folder = join(home, String(count++));
  await mkdir(folder);
  const file = join(folder, 'sample.test.mjs');
  await writeFile(file, source.replaceAll('{{folder}}', folder));
  const outcome = await runTestFile({
    file,
    folder: join(folder, 'own'),
    env: process.env,
    flags: [],
    live: false,
    silenceMinutes: options.silenceMinutes ?? 10,
    graceSeconds: 3,
    signal: options.signal ?? new AbortController().signal,
    say: () => {},
  });
  assert.equal((await readdir(folder)).includes('own'), false, 'its folder is gone');
  return { ...outcome, word: (name) => readFile(join(folder, name), 'utf8').catch(() => null) };
}

const head = `
  import { test } from 'node:test';
  import { spawn } from 'node:child_process';
  import { writeFileSync, mkdtempSync } from 'node:fs';
  import { createServer } from 'node:net';
`;
const spawnForever = `
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  child.unref();
  writeFileSync('{{folder}}/pid', String(child.pid));
`;

async function isGone(pid: string | null): Promise<boolean> {
  for (;;) {
    try {
      process.kill(Number(pid), 0);
    } catch {
      return true;
    }
    await wait(10);
  }
}

test('what passes, fails and is skipped is counted and said', async () => {
  const outcome = await runSource(`${head}
    test('good', () => {});
    test('bad', () => { throw new Error('no good'); });
    test('left out', { skip: 'no such thing here' }, () => {});`);
  const { tests, passed, failed, skipped } = outcome.counts;
  assert.deepEqual([tests, passed, failed, skipped], [3, 1, 1, 1]);
  assert.deepEqual(outcome.skipped, [{ test: 'left out', why: 'no such thing here' }]);
  assert.match(outcome.output, /no good/);
  assert.deepEqual(outcome.faults, []);
  assert.ok(outcome.cpuSeconds > 0);
});

test('a file with no test, or that ends before its tests, has failed', async () => {
  assert.match((await runSource(head)).faults.join(), /has no test/);
  const early = await runSource(`${head} test('one', () => { process.exit(0); });`);
  assert.match(early.faults.join(), /ended before its tests did \(exit code 0\)/);
  const killed = await runSource(`${head} test('one', () => { process.kill(process.pid, 'SIGKILL'); });`);
  assert.match(killed.faults.join(), /ended before its tests did \(SIGKILL\)/);
});

test('what a file leaves behind is a fault, and is removed', async () => {
  const files = await runSource(`${head}
    import { tmpdir } from 'node:os';
    test('one', () => { mkdtempSync(tmpdir() + '/forgotten-'); });`);
  assert.match(files.faults.join(), /left in its temporary folder: forgotten-/);
  const process = await runSource(`${head} test('one', () => { ${spawnForever} });`);
  assert.deepEqual(process.faults, ['left processes behind']);
  assert.ok(await isGone(await process.word('pid')));
});

test('a test that hangs is cut by the watchdog, which says which it is and what it waits for, and ends its children', async () => {
  const outcome = await runSource(
    `${head}
    test('outer', async (t) => {
      await t.test('hangs for good', async () => {
        ${spawnForever}
        const server = createServer();
        await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
        await new Promise(() => {});
      });
    });`,
    { silenceMinutes: 0.02 },
  );
  const [fault] = outcome.faults;
  assert.match(fault ?? '', /cut: nothing began or ended for 0.02 minutes; under way: outer \(.*\) › hangs for good/);
  assert.match(fault ?? '', /waits for connections to its port \d+/);
  assert.match(fault ?? '', /has the child \d+ .*setInterval/);
  assert.ok(await isGone(await outcome.word('pid')));
});

test('a file that does not exit when its tests are over is ended, its children first, and what failed is said', async () => {
  const outcome = await runSource(`${head}
    test('fails before it ends its child', () => {
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
      writeFileSync('{{folder}}/pid', String(child.pid));
      throw new Error('no good');
    });`);
  assert.match(outcome.faults[0] ?? '', /^did not exit within 3 s of its last test/);
  assert.match(outcome.faults[0] ?? '', /has the child \d+ .*setInterval/);
  assert.equal(outcome.faults.length, 1);
  assert.equal(outcome.counts.failed, 1);
  assert.match(outcome.output, /no good/);
  assert.ok(await isGone(await outcome.word('pid')));

  const busy = await runSource(`${head} test('leaves a timer', () => { setInterval(() => {}, 1000); });`);
  assert.match(busy.faults.join(), /did not exit within 3 s of its last test/);
});

test('a test that is busy for good is cut too, and the report says where it is', async () => {
  const outcome = await runSource(
    `${head}
    function turnsForever() { for (;;) Math.random(); }
    test('is busy', () => { turnsForever(); });`,
    { silenceMinutes: 0.02 },
  );
  assert.match(outcome.faults.join(), /is busy in turnsForever \(file:.*sample\.test\.mjs:\d+\)/);
});

test('an interrupted file ends its children and leaves nothing', async () => {
  const interrupt = new AbortController();
  const running = runSource(
    `${head} test('waits', async () => { ${spawnForever} await new Promise(() => { setInterval(() => {}, 1000); }); });`,
    { signal: interrupt.signal },
  );
  const pidFile = join(home, String(count - 1), 'pid');
  for (;;) {
    await wait(20);
    if ((await readFile(pidFile, 'utf8').catch(() => '')) !== '') break;
  }
  interrupt.abort();
  const outcome = await running;
  assert.match(outcome.faults.join(), /^interrupted; under way: waits/);
  assert.ok(await isGone(await outcome.word('pid')));
});

test('when the runner itself is killed, its files kill themselves and their children', async () => {
  const { spawn } = await import('node:child_process');
  const folder = join(home, 'orphans');
  await mkdir(folder);
  const file = join(folder, 'sample.test.mjs');
  await writeFile(
    file,
    `${head.replaceAll('{{folder}}', folder)} test('waits', async () => { ${spawnForever.replaceAll('{{folder}}', folder)} await new Promise(() => { setInterval(() => {}, 1000); }); });`,
  );
  const runner = `import { runTestFile } from ${JSON.stringify(join(import.meta.dirname, 'test-file.ts'))};
    await runTestFile({ file: ${JSON.stringify(file)}, folder: ${JSON.stringify(join(folder, 'own'))}, env: process.env,
      flags: [], live: false, silenceMinutes: 10, graceSeconds: 3, signal: new AbortController().signal, say: () => {} });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', runner], { stdio: 'ignore' });
  const pid = async () => {
    for (;;) {
      const text = await readFile(join(folder, 'pid'), 'utf8').catch(() => '');
      if (text !== '') return text;
      await wait(20);
    }
  };
  const victim = await pid();
  child.kill('SIGKILL');
  assert.ok(await isGone(victim));
});
