import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import express from 'express';
import { Registry } from 'prom-client';
import { readinessChecks } from '../compose/readiness.ts';
import { unguarded } from '../core/clock-guard.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { testBackend } from '../store/store.test-support.ts';
import { mountHealth } from './health.ts';

const metricsToken = 'a-scraper-is-let-in-with-this';
let harness: Harness;
let url: string;
let server: ReturnType<typeof createServer>;
let pings = 0;
let down = false;
let stopping = false;
let weak: string[] = [];

before(async () => {
  harness = await openHarness(await testBackend(), { providers: [{ name: 'plain' }] });
  const store = {
    ...harness.store,
    run: ((statement, values) => {
      pings += 1;
      return down ? Promise.reject(new Error('connection refused')) : harness.store.run(statement, values);
    }) as Harness['store']['run'],
  };
  const app = express();
  const { clock, ring } = harness;
  const checks = readinessChecks({
    store,
    ring,
    manifests: () => null,
    clockGuard: unguarded,
    providerClocks: () => [],
    stores: () => null,
    weakSettings: () => weak,
    signIn: () => null,
    leftOut: () => null,
  });
  mountHealth(app, { clock, checks, registry: new Registry(), metricsToken, stopping: () => stopping });
  server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await harness.close();
});
beforeEach(() => {
  harness.clock.advance(1_000);
  pings = 0;
});

test('what is weak is named, and keeps nobody from serving', async () => {
  const body = async () =>
    (await (await fetch(`${url}/readyz`)).json()) as { status: string; warnings?: { weak_settings: string } };
  assert.equal((await body()).warnings, undefined);
  weak = ['bearer_sessions'];
  harness.clock.advance(1_000);
  assert.deepEqual([(await body()).status, (await body()).warnings?.weak_settings], ['ready', 'bearer_sessions']);
  weak = [];
});

test('however many ask whether it is ready, the database is asked once a second', async () => {
  const ask = async () => (await fetch(`${url}/readyz`)).status;
  assert.deepEqual(new Set(await Promise.all(Array.from({ length: 30 }, ask))), new Set([200]));
  assert.equal(pings, 2, 'once for each check that asks it');
  down = true;
  assert.equal(await ask(), 200);
  harness.clock.advance(1_000);
  assert.equal(await ask(), 503);
  assert.equal(pings, 4);
  down = false;
  harness.clock.advance(1_000);
  assert.equal(await ask(), 200);
  stopping = true;
  assert.equal(await ask(), 503, 'stopping is said at once');
  stopping = false;
});

test('with a token set, metrics are for whoever has it', async () => {
  const ask = async (authorization?: string) =>
    (await fetch(`${url}/metrics`, { headers: authorization === undefined ? {} : { authorization } })).status;
  for (const wrong of [
    undefined,
    metricsToken,
    'Bearer',
    'Bearer ',
    `Bearer ${metricsToken}x`,
    `Bearer ${metricsToken} x`,
    `Basic ${metricsToken}`,
  ])
    assert.equal(await ask(wrong), 401, String(wrong));
  assert.equal(await ask(`Bearer ${metricsToken}`), 200);
});
