/** Reading what a plan is about leaves no token behind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { readOrders, startHarness } from './harness.test-support.ts';

test('the token that the state is read with is deleted, whatever becomes of the reading', async () => {
  const { provider, sandbox } = await startHarness();
  try {
    const plan = provider.plan(provider.params.parse(readOrders), 900);
    assert.ok(await provider.state!(plan, new AbortController().signal));
    assert.equal(sandbox.liveTokens(), 0);
    sandbox.fail('unavailable', 'data');
    await assert.rejects(provider.state!(plan, new AbortController().signal));
    assert.equal(sandbox.liveTokens(), 0);
    // GitHub does not answer, and the time to read is over.
    sandbox.fail('hang', 'data');
    const stop = new AbortController();
    const before = sandbox.requests();
    const reading = assert.rejects(provider.state!(plan, stop.signal));
    // The mint, and the first question with what it gave.
    while (sandbox.requests() < before + 2) await wait(5);
    assert.equal(sandbox.liveTokens(), 1);
    stop.abort(new Error('time is over'));
    await reading;
    assert.equal(sandbox.liveTokens(), 0);
  } finally {
    await sandbox.close();
  }
});
