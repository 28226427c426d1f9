/** Reading what a plan is about leaves no token behind. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { providerFor, readOrders, startHarness } from './harness.test-support.ts';

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

test('an answer about another repository, or a token that is none, is no state', async () => {
  const { sandbox, clock } = await startHarness();
  const told = { token: `ghs_${'a'.repeat(36)}`, full_name: 'Example-Org/orders' };
  let deleted = 0;
  const server = createServer((request, response) => {
    const say = (status: number, body: object) => response.writeHead(status).end(JSON.stringify(body));
    request.resume();
    if (request.method === 'DELETE') {
      deleted += 1;
      response.writeHead(204).end();
    } else if (request.url?.endsWith('/installation')) say(200, { id: 77, account: { login: 'example-org' } });
    else if (request.method === 'POST') say(201, { token: told.token });
    else if (request.url?.includes('/branches/')) say(200, { commit: { sha: 'a'.repeat(40) } });
    else say(200, { full_name: told.full_name, default_branch: 'main' });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const provider = providerFor({ url }, clock);
    const read = () =>
      provider.state!(provider.plan(provider.params.parse(readOrders), 900), new AbortController().signal);
    assert.deepEqual(await read(), { branches: [{ repository: 'orders', branch: 'main', sha: 'a'.repeat(40) }] });
    for (const full_name of ['example-org/vault', 'another-org/orders', '']) {
      told.full_name = full_name;
      await assert.rejects(read(), { code: 'upstream_mismatch' }, full_name);
    }
    assert.equal(deleted, 4);
    told.token = `ghs_${'a'.repeat(20)}\r\nx-other: 1`;
    await assert.rejects(read(), { code: 'upstream_mismatch' });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await sandbox.close();
  }
});
