import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Outcome, runTestFiles } from './test-file.ts';

const home = await mkdtemp(join(tmpdir(), 'writ-runner-'));
after(() => rm(home, { recursive: true, force: true }));
let count = 0;

interface Options {
  silenceMinutes?: number;
  signal?: AbortSignal;
}

/** Runs sources as test files of one process. `{{folder}}` stands for a place where they may leave word. */
async function runSources(
  sources: string[],
  options: Options = {},
): Promise<{ outcomes: (Outcome | null)[]; word(name: string): Promise<string | null> }> {
  const folder = join(home, String(count++));
  await mkdir(folder);
  const files = sources.map((_, at) => join(folder, at === 0 ? 'sample.test.mjs' : `sample${at}.test.mjs`));
  for (const [at, source] of sources.entries()) await writeFile(files[at]!, source.replaceAll('{{folder}}', folder));
  const outcomes = await runTestFiles({
    parts: files.map((file, at) => ({ file, env: { PART: String(at) } })),
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
  return { outcomes, word: (name) => readFile(join(folder, name), 'utf8').catch(() => null) };
}

async function runSource(
  source: string,
  options?: Options,
): Promise<Outcome & { word(name: string): Promise<string | null> }> {
  const { outcomes, word } = await runSources([source], options);
  return { ...outcomes[0]!, word };
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
    test('bad', (t) => t.test('within', () => { throw new Error('no good\\nnor more'); }));
    test('left out', { skip: 'no such thing here' }, () => {});`);
  const { tests, passed, failed, skipped } = outcome.counts;
  assert.deepEqual([tests, passed, failed, skipped], [4, 1, 2, 1]);
  assert.deepEqual(
    outcome.failed.map(({ test, why }) => `${test.replace(/ \(line .*/, '')}: ${why}`),
    ['within: no good'],
  );
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
  const runner = `import { runTestFiles } from ${JSON.stringify(join(import.meta.dirname, 'test-file.ts'))};
    await runTestFiles({ parts: [{ file: ${JSON.stringify(file)}, env: {} }], folder: ${JSON.stringify(join(folder, 'own'))}, env: process.env,
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

test('of files that share a process, each is told what is its own', async () => {
  const { outcomes } = await runSources([
    `${head}
    import { suite, after } from 'node:test';
    import assert from 'node:assert';
    suite('some', () => { test('good', () => assert.equal(process.env.PART, '0')); });
    test('left out', { skip: 'no such thing here' }, () => {});
    after(() => { globalThis.gone = true; });`,
    `${head}
    import assert from 'node:assert';
    test('the first is over', () => { assert.equal(globalThis.gone, true); assert.equal(process.env.PART, '1'); });
    test('bad', () => { throw new Error('no good'); });`,
    `${head} await 0; throw new Error('cannot be loaded'); test('never', () => {});`,
    `${head}
    import { tmpdir } from 'node:os';
    test('forgets its folder and its server', async () => {
      mkdtempSync(tmpdir() + '/forgotten-');
      globalThis.server = createServer();
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    });`,
    `${head} test('starts a process', () => { ${spawnForever} server.close(); });`,
    `${head} test('none of this', () => {});`,
  ]);
  const shown = outcomes.map((one) => [one?.counts.tests, one?.counts.passed, one?.counts.failed, one?.skipped.length]);
  assert.deepEqual(shown, [
    [2, 1, 0, 1],
    [2, 1, 1, 0],
    [0, 0, 0, 0],
    [1, 1, 0, 0],
    [1, 1, 0, 0],
    [1, 1, 0, 0],
  ]);
  const faults = outcomes.map((one) => one?.faults.join('; ') ?? '');
  assert.match(faults[2]!, /^failed outside of its tests: Error: cannot be loaded/);
  assert.match(faults[3]!, /^left in the process: TCPServerWrap; left in its temporary folder: forgotten-/);
  assert.match(faults[4]!, /^left in the process: process \d+$/);
  assert.deepEqual([faults[0], faults[1], faults[5]], ['', '', 'left processes behind']);
  assert.match(outcomes[1]!.output, /no good/);
});

test('what one ends is not what another is', async () => {
  const { outcomes } = await runSources([
    `${head} test('good', () => {});`,
    `${head} test('ends them all', () => { process.exit(0); });`,
    `${head} test('has not begun', () => {});`,
  ]);
  assert.deepEqual(
    outcomes.map((one) => one && [one.counts.passed, one.faults]),
    [[1, []], [0, ['has no test, or ended before its tests did (exit code 0)']], null],
  );
});

test('which test an error belongs to is found as node finds it', async () => {
  const file = join(home, 'belongs.test.mjs');
  await writeFile(
    file,
    `${head}
    import { suite, before } from 'node:test';
    import { connect } from 'node:net';
    import assert from 'node:assert';
    import { setTimeout as wait } from 'node:timers/promises';
    suite('outer', () => {
      let ready = false;
      before(() => { ready = true; });
      suite('inner', async () => { await 0; test('knows its suites', async () => { await 0; assert.ok(ready); }); });
    });
    test('timer', async () => { setTimeout(() => { throw new Error('one'); }, 5); await wait(50); });
    test('rejection', async () => { setTimeout(async () => { await 0; throw new Error('two'); }, 5); await wait(50); });
    test('socket', async () => {
      const server = createServer(() => { throw new Error('three'); });
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
      const socket = connect(server.address().port, '127.0.0.1');
      await wait(50);
      socket.destroy();
      server.close();
    });
    test('too late', async () => { setTimeout(() => { throw new Error('four'); }, 20); });
    test('outer test', async (t) => {
      await wait(50);
      await t.test('inner test', async () => { setImmediate(() => { throw new Error('five'); }); await wait(20); });
    });
    test('never ends', async () => {
      setTimeout(() => { throw new Error('six'); }, 5);
      await new Promise(() => { setInterval(() => {}, 1000).unref(); });
    });`,
  );
  const told = async (flags: string[]): Promise<string[]> => {
    const all = ['--disable-warning=ExperimentalWarning', ...flags, '--test-reporter=spec', file];
    const ran = promisify(execFile)(process.execPath, all, { env: { ...process.env, NODE_TEST_CONTEXT: undefined } });
    const { stdout } = await ran.catch((failed: { stdout: string }) => failed);
    return stdout.split('\n').map((line) => line.replace(/ ?\([\d.]+ms\)|duration_ms .*/, ''));
  };
  const ours = await told([`--import=${join(import.meta.dirname, 'test-scopes.ts')}`]);
  assert.deepEqual(ours, await told([]));
  assert.ok(ours.includes('ℹ fail 6'), ours.join('\n'));
});
