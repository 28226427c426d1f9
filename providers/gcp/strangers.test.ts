/** Answers that Google's own services give in passing, or that nobody should believe. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { systemClock } from '../../broker/core/clock.ts';
import { observedClock } from '../answer-date.ts';
import type { ProviderError } from '../contract.ts';
import { listBucket } from './bucket-state.ts';
import { grpcFailure } from './errors.ts';
import { type GcpHarness, gcpBench, lease, sharedAccount } from './harness.test-support.ts';

const reads = {
  service_account: sharedAccount,
  scopes: ['https://www.googleapis.com/auth/devstorage.read_only'],
};

type Told = { status: number; body: unknown };

/** IAM Credentials that say what they are told, one answer after the other; the last one stays. */
async function saying(
  answers: Told[],
  body: (harness: GcpHarness, mint: () => Promise<unknown>, asked: () => number) => Promise<void>,
) {
  const harness = await gcpBench();
  let asked = 0;
  const server = createServer((request, response) => {
    request.resume();
    const told = answers[Math.min(asked, answers.length - 1)]!;
    asked += 1;
    response.writeHead(told.status, { 'content-type': 'application/json' }).end(JSON.stringify(told.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const provider = harness.make({ WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: url });
    const plan = harness.plan(reads, 900);
    await body(
      harness,
      () => provider.issue({ ...lease(), plan }),
      () => asked,
    );
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await harness.close();
  }
}

const observed = () => observedClock(systemClock, async () => {});
const failure = async (call: Promise<unknown>) => (await call.catch((error: unknown) => error)) as ProviderError;
const google = (code: number, status: string, more: object = {}) => ({
  status: code,
  body: { error: { code, status, message: 'no', ...more } },
});
const token = (expireTime: unknown) => ({
  status: 200,
  body: { accessToken: `ya29.c.${'x'.repeat(40)}`, expireTime },
});

test('too many calls are no missing right, whichever status says so', async () => {
  const reasons = [
    { errors: [{ domain: 'usageLimits', reason: 'rateLimitExceeded' }] },
    { errors: [{ domain: 'usageLimits', reason: 'userRateLimitExceeded' }] },
    { details: [{ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'RATE_LIMIT_EXCEEDED' }] },
  ];
  for (const more of reasons)
    await saying([google(403, 'PERMISSION_DENIED', more)], async (_harness, mint, asked) => {
      const error = await failure(mint());
      assert.deepEqual([error.code, error.retryable, error.mayHaveMinted], ['upstream_unavailable', true, false]);
      assert.equal(asked(), 1, 'and it is not asked again at once');
    });
  for (const status of [408, 425, 429])
    await saying([{ status, body: {} }], async (_harness, mint) => {
      const error = await failure(mint());
      assert.deepEqual([error.code, error.retryable, error.mayHaveMinted], ['upstream_unavailable', true, false]);
    });
});

test('an account that was made just before is asked for once more; one that is not there is final', async () => {
  const missing = google(404, 'NOT_FOUND');
  const given = token('2026-03-01T12:15:00Z');
  await saying([missing, given], async (_harness, mint, asked) => {
    await mint();
    assert.equal(asked(), 2);
  });
  await saying([missing], async (_harness, mint, asked) => {
    const error = await failure(mint());
    assert.deepEqual([error.code, error.retryable, asked()], ['upstream_refused', false, 2]);
  });
});

test('an end that is told too early ends the lease early, and not the time for which its kill is kept', async () => {
  await saying([token('2026-03-01T12:05:00Z')], async (_harness, mint) => {
    const issued = (await mint()) as { expiresAt: Date; providerExpiresAt: Date; credential: { expires_at: string } };
    assert.equal(issued.credential.expires_at, '2026-03-01T12:05:00.000Z');
    assert.equal(issued.expiresAt.toISOString(), '2026-03-01T12:05:00.000Z');
    assert.equal(issued.providerExpiresAt.toISOString(), '2026-03-01T12:15:00.000Z');
  });
  for (const odd of [1_772_367_300, null, 'soon', '', '2026-13-01T00:00:00Z', {}])
    await saying([token(odd)], async (_harness, mint) => {
      const error = await failure(mint());
      assert.deepEqual([error.code, error.mayHaveMinted], ['upstream_mismatch', true], JSON.stringify(odd));
    });
});

test('over gRPC too: what reached nobody minted nothing, what was cut short may have', () => {
  const step = { doing: 'minting', mints: true };
  const minted = (number: number, details: string) => grpcFailure(step, number, details, null).mayHaveMinted;
  for (const details of ['No connection established', 'Name resolution failed for target dns:x'])
    assert.equal(minted(14, details), false, details);
  assert.equal(minted(14, 'Connection dropped'), true);
  for (const number of [1, 2, 13]) assert.equal(minted(number, 'Received RST_STREAM with code 2'), true);
  assert.equal(minted(13, 'Internal error encountered.'), false);
});

test('a page that is none of Google’s: while the broker is let in it passes, of a mint it may hide a token', async () => {
  const page = createServer((request, response) => {
    request.resume();
    response.end('<html>…</html>');
  });
  await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(page.address() as AddressInfo).port}`;
  const harness = await gcpBench();
  try {
    for (const [variable, retryable] of [
      ['WRIT_GCP_STS_ENDPOINT', true],
      ['WRIT_GCP_IAM_CREDENTIALS_ENDPOINT', false],
    ] as const) {
      const provider = harness.make({ [variable]: url });
      const error = await failure(provider.issue({ ...lease(), plan: harness.plan(reads, 900) }));
      assert.deepEqual(
        [error.code, error.retryable, error.mayHaveMinted],
        ['upstream_mismatch', retryable, !retryable],
      );
    }
  } finally {
    await harness.close();
    page.closeAllConnections();
    await new Promise((resolve) => page.close(resolve));
  }
});

test('the broker gave up while it was let in: nothing was minted', async () => {
  const harness = await gcpBench();
  try {
    harness.sandbox.fail('hang', 'exchange');
    const patience = new AbortController();
    const before = harness.sandbox.requests();
    const plan = harness.plan(reads, 900);
    const minting = failure(harness.provider.issue({ ...lease(), plan, signal: patience.signal }));
    while (harness.sandbox.requests() === before) await new Promise(setImmediate);
    patience.abort(new Error('the broker gave up'));
    const error = await minting;
    assert.deepEqual([error.code, error.mayHaveMinted], ['upstream_timeout', false]);
  } finally {
    await harness.close();
  }
});

test('the broker’s own token is given to nobody, whoever answers with it', async () => {
  const harness = await gcpBench();
  const echo = createServer((request, response) => {
    request.resume();
    const accessToken = String(request.headers.authorization).replace('Bearer ', '');
    response.end(JSON.stringify({ accessToken, expireTime: '2026-03-01T12:15:00Z' }));
  });
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(echo.address() as AddressInfo).port}`;
  try {
    const provider = harness.make({ WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: url });
    const error = await failure(provider.issue({ ...lease(), plan: harness.plan(reads, 900) }));
    assert.deepEqual([error.code, error.mayHaveMinted], ['upstream_mismatch', true]);
  } finally {
    await harness.close();
    echo.closeAllConnections();
    await new Promise((resolve) => echo.close(resolve));
  }
});

test('a listing that is none is no state', async () => {
  const harness = await gcpBench();
  let items: unknown;
  const listing = createServer((request, response) => {
    request.resume();
    response.end(JSON.stringify({ items }));
  });
  await new Promise<void>((resolve) => listing.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(listing.address() as AddressInfo).port}`;
  try {
    const call = { endpoint, token: 'x'.repeat(20), clock: observed(), signal: new AbortController().signal };
    for (const odd of [{}, 'all', 7, [null], ['a'], [{ name: 'a' }]]) {
      items = odd;
      const error = await failure(listBucket(call, { bucket: 'orders' } as never));
      assert.equal(error.code, 'upstream_mismatch', JSON.stringify(odd));
    }
  } finally {
    await harness.close();
    listing.closeAllConnections();
    await new Promise((resolve) => listing.close(resolve));
  }
});
