/**
 * Environment in, running broker out. Creates everything once and passes it on by argument; production and
 * tests both call this function.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { createLongPoller } from '../core/long-poller.ts';
import { drainable } from '../http/drain.ts';
import { mountHealth } from '../http/health.ts';
import { createRefusals } from '../http/refusals.ts';
import { publishFolder } from '../manifests/publish-folder.ts';
import { makeBootstrapToken } from '../people/admin-access.ts';
import type { Store } from '../store/open.ts';
import { composeApi } from './api.ts';
import { type Overrides, openFoundation } from './foundation.ts';
import { createParts, type Parts } from './parts.ts';
import { findWeakSettings } from './weak-settings.ts';
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
  const url = settings.WRIT_ISSUER_URL ?? urlOf(server.address() as AddressInfo);

  // 3.
  const parts = createParts(foundation, url);

  // 4.
  const worker = await startWorkerSide(parts, overrides.random);
  if (settings.WRIT_MANIFEST_DIR !== undefined)
    await publishFolder(settings.WRIT_MANIFEST_DIR, store, clock, parts.shapes, log);
  const bootstrapToken = await makeBootstrapToken(store, clock);

  const weak = await findWeakSettings(parts);
  for (const { name, text } of weak) log.warn({ weak_setting: name }, text);

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
    warnings: () => weak.map(({ name }) => name),
  };
  let app = express();
  if (settings.WRIT_ROLE === 'worker') mountHealth(app, health);
  else app = await composeApi({ ...parts, notify: worker.notify, poller, refusals, health });
  server.on('request', app);
  server.off('request', stillStarting);
  const reloading = reloadKeys(parts);

  const about = { url, role: settings.WRIT_ROLE, backend: store.backend, redis: settings.REDIS_URL !== undefined };
  log.info({ ...about, providers: [...parts.providers.keys()] }, 'writ is up');

  const stop = async () => {
    stopping = true;
    // Accept nothing new, let requests in flight (a mint, say) finish, and answer long polls now.
    poller.close();
    await connections.drain();
    await refusals.close();
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

/**
 * Rereads the ring often enough to learn of another process's new key well before it signs, and of one that
 * was withdrawn before much is signed with it: what is, nobody accepts.
 */
function reloadKeys({ clock, ring, log }: Pick<Parts, 'clock' | 'ring' | 'log'>): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const loop = (async () => {
    while (!stopping.signal.aborted) {
      await clock.sleep(5_000, stopping.signal).catch(() => {});
      if (!stopping.signal.aborted)
        await ring.reload().catch((error) => log.error({ err: error }, 'keys: reload failed'));
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await loop;
    },
  };
}

/** Where the server answers. Loopback: beyond it, WRIT_ISSUER_URL is required. */
function urlOf({ address, port }: AddressInfo): string {
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}`;
}

/** @param host an IPv6 address with brackets or without */
function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host.replace(/^\[(.*)\]$/, '$1'), () => {
      server.off('error', reject);
      resolve();
    });
  });
}
