/** Ending many tokens when GitHub is slow. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { RevocationTarget } from '../contract.ts';
import { issueWith, providerFor, readOrders, startHarness, targetOf } from './harness.test-support.ts';

/** In front of the sandbox, a line on which some requests are never answered. */
async function lossyLine(upstream: string, isLost: (bearer: string) => boolean) {
  let waiting = 0;
  const server = createServer(async (request, response) => {
    const authorization = request.headers.authorization ?? '';
    if (isLost(authorization.replace('Bearer ', ''))) {
      waiting += 1;
      return;
    }
    const answer = await fetch(upstream + request.url, { method: request.method ?? 'GET', headers: { authorization } });
    response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    waiting: () => waiting,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

test('tokens that GitHub deleted in time are revoked, whatever became of the others of the batch', async () => {
  const harness = await startHarness();
  const targets: RevocationTarget[] = [];
  for (let n = 0; n < 40; n += 1) targets.push(targetOf(harness, await issueWith(harness, readOrders)));
  // Sixteen calls run at once: twenty that hang fill all places before the last ones have been asked about.
  const lost = new Set(targets.filter((_, n) => n >= 5 && n < 25).map((target) => target.secret));
  const line = await lossyLine(harness.sandbox.url, (bearer) => lost.has(bearer));
  try {
    const patience = new AbortController();
    const revoking = providerFor(line, harness.clock).revoke(targets, [], patience.signal);
    while (line.waiting() < 16) await new Promise(setImmediate);
    patience.abort();
    const outcomes = await revoking;
    for (const [n, outcome] of outcomes.entries()) {
      assert.equal(outcome.state, n < 5 ? 'revoked' : 'failed', `token ${n}`);
      if (outcome.state === 'failed') assert.equal(outcome.error.code, 'upstream_timeout');
    }
    assert.equal(outcomes.length, targets.length);
    assert.equal(harness.sandbox.liveTokens(), 35);
  } finally {
    await line.close();
    await harness.sandbox.close();
  }
});
