/** The quickstart’s options, and Ctrl-C while it starts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runQuickstart } from './run.test-support.ts';

test('an option that is none is one line and the usage; --help is the usage', async () => {
  for (const [args, code, words] of [
    [['--kep'], 2, /^✘ Unknown option '--kep'\n\nnpm run quickstart/],
    [['--wait', 'long'], 2, /^✘ --wait: long is no whole number of seconds/],
    [['--help'], 0, /^npm run quickstart/],
  ] as const) {
    const run = await runQuickstart([...args]);
    try {
      assert.equal(await run.exited, code);
      assert.match(run.said(), words);
      assert.doesNotMatch(run.said(), /^ {4}at /m);
      assert.deepEqual(await run.left(), []);
    } finally {
      await run.remove();
    }
  }
});

test('a signal while it starts, and while the agent works, leaves nothing behind', async () => {
  for (const [moment, signal, code] of [
    ['Starting the broker', 'SIGINT', 130],
    ['Starting the broker', 'SIGTERM', 143],
    ['broker   http', 'SIGINT', 130],
    ['5. PostgreSQL', 'SIGINT', 130],
  ] as const) {
    const run = await runQuickstart([]);
    try {
      await run.hears(moment);
      run.kill(signal);
      // As a terminal’s comes under npm.
      run.kill(signal);
      assert.equal(await run.exited, code, run.said());
      assert.match(run.said(), /\nStopping …\n/);
      assert.doesNotMatch(run.said(), /^ {4}at /m);
      assert.deepEqual(await run.left(), [], moment);
    } finally {
      await run.remove();
    }
  }
});
