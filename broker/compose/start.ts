/**
 * Environment in, running broker out. Creates everything once and passes it on by argument; production and
 * tests both call this function.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { createLongPoller } from '../core/long-poller.ts';
import type { Clock } from '../core/vocabulary.ts';
import { drainable } from '../http/drain.ts';
import { mountHealth } from '../http/health.ts';
import { createRefusals } from '../http/refusals.ts';
import { publishFolder } from '../manifests/publish-folder.ts';
import { makeBootstrapToken } from '../people/admin-access.ts';
import type { Store } from '../store/open.ts';
import { composeApi } from './api.ts';
import { clockWarnings, createClockGuard } from './clocks.ts';
import { type Overrides, openFoundation } from './foundation.ts';
import { createParts, type Parts } from './parts.ts';
import { startWorkerSide } from './worker.ts';

export type { Overrides } from './foundation.ts';

export interface Broker {
  /** Issuer and base of every link. */
  url: string;
  /** Set on the very first start only. */
  bootstrapToken: string | null;
  store: Store;
  /** Finishes what is in flight, then closes everything; a second call waits for the first. */
  stop(): Promise<void>;
}

/**
 * 1. Settings, database, keys.
 * 2. The port, because the embedded broker's issuer is where it listens; it answers 503 until the app is
 *    there.
 * 3. Providers, manifests, metrics.
 * 4. The worker's side, and the manifests that are files.
 * 5. The API, or for a worker its health alone.
 *
 * @throws ConfigurationError with every fault at once; any other error when the database, Redis or the port
 *   cannot be had
 */
export async function startBroker(env: Record<string, string | undefined>, overrides: Overrides = {}): Promise<Broker> {
  // 1.
  const foundation = await openFoundation(env, overrides);
  const { settings, store, clock, log, ring } = foundation;

  // 2.
  const server = createServer({ requestTimeout: 15_000, headersTimeout: 10_000, keepAliveTimeout: 75_000 });
  const connections = drainable(server);
  server.on('request', stillStarting);
  await listen(server, settings.PORT, settings.WRIT_LISTEN);
  const { port } = server.address() as AddressInfo;
  const url = settings.WRIT_ISSUER_URL ?? `http://127.0.0.1:${port}`;

  // 3.
  const clockGuard = createClockGuard(foundation, overrides);
  await clockGuard.check();
  const parts = createParts(foundation, url, clockGuard);

  // 4.
  const worker = await startWorkerSide(parts, overrides.random);
  if (settings.WRIT_MANIFEST_DIR !== undefined)
    await publishFolder(settings.WRIT_MANIFEST_DIR, store, clock, parts.shapes, log);
  const bootstrapToken = await makeBootstrapToken(store, clock);

  // 5.
  const poller = createLongPoller(clock);
  const refusals = createRefusals(store, clock, log, settings.WRIT_REFUSALS_PER_MINUTE);
  let stopping = false;
  const health = {
    store,
    clock,
    ring,
    registry: parts.registry,
    metricsToken: settings.WRIT_METRICS_TOKEN ?? null,
    stopping: () => stopping,
    clockHolds: clockGuard.holds,
    warnings: () => clockWarnings(parts.providers),
  };
  let app = express();
  if (settings.WRIT_ROLE === 'worker') mountHealth(app, health);
  else app = await composeApi({ ...parts, notify: worker.notify, poller, refusals, health });
  server.on('request', app);
  server.off('request', stillStarting);
  const reloading = reloadKeys(parts);
  const watching = every(clock, clockCheckMs, clockGuard.check);

  const about = { url, role: settings.WRIT_ROLE, backend: store.backend, redis: settings.REDIS_URL !== undefined };
  log.info({ ...about, providers: [...parts.providers.keys()] }, 'writ is up');

  const stop = async () => {
    stopping = true;
    // Accept nothing new, let requests in flight (a mint, say) finish, and answer long polls now.
    poller.close();
    await connections.drain();
    await refusals.close();
    await watching.stop();
    await reloading.stop();
    await worker.stop();
    await store.close();
  };
  let stopped: Promise<void> | undefined;
  return {
    url,
    bootstrapToken,
    store,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

function stillStarting(_req: unknown, res: { statusCode: number; end(): void }): void {
  res.statusCode = 503;
  res.end();
}

/** How often an API process holds its clock against the database's; a worker does so before its work too. */
const clockCheckMs = 15_000;

/** Rereads the ring often enough to learn of another process's new key well before it signs. */
const reloadKeys = ({ clock, ring, log }: Pick<Parts, 'clock' | 'ring' | 'log'>) =>
  every(clock, 30_000, () => ring.reload().catch((error) => log.error({ err: error }, 'keys: reload failed')));

/** @param work must not reject */
function every(clock: Clock, ms: number, work: () => Promise<unknown>): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const loop = (async () => {
    while (!stopping.signal.aborted) {
      await clock.sleep(ms, stopping.signal).catch(() => {});
      if (!stopping.signal.aborted) await work();
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await loop;
    },
  };
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
