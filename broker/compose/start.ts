/**
 * Environment in, running broker out. Creates everything once and passes it on by argument; production and
 * tests both call this function.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import type { WeakSetting } from '../config/weak-settings.ts';
import { createLongPoller } from '../core/long-poller.ts';
import { unmatchedNetworks, useProxies } from '../core/proxies.ts';
import { createRetried } from '../core/retried.ts';
import type { Clock } from '../core/vocabulary.ts';
import { drainable } from '../http/drain.ts';
import { mountHealth } from '../http/health.ts';
import { createRefusals } from '../http/refusals.ts';
import { stillStarting } from '../http/still-starting.ts';
import { publishFolder } from '../manifests/publish-folder.ts';
import { bootstrapHolds, makeBootstrapToken } from '../people/admin-access.ts';
import type { Store } from '../store/open.ts';
import { type Api, composeApi } from './api.ts';
import { clockWarnings, createClockGuard } from './clocks.ts';
import { type Overrides, openFoundation } from './foundation.ts';
import { createParts, type Parts } from './parts.ts';
import { readinessChecks } from './readiness.ts';
import { checkSignIn } from './sign-in-check.ts';
import { storeLimits } from './store-limits.ts';
import { findWeakSettings } from './weak-settings.ts';
import { startWorkerSide } from './worker.ts';

export { exit } from './exit.ts';
export type { Overrides } from './foundation.ts';
export { whyNotStarted } from './why-not-started.ts';

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
  const withoutProxies = useProxies(env);
  const unmatched = unmatchedNetworks(env);
  if (unmatched.length > 0)
    log.warn({ networks: unmatched }, 'NO_PROXY: networks of IPv6 are not matched; addresses in them go by the proxy');

  // 2.
  const server = createServer({ requestTimeout: 15_000, headersTimeout: 10_000, keepAliveTimeout: 75_000 });
  const connections = drainable(server);
  await listen(server, settings.PORT, settings.WRIT_LISTEN);
  const url = settings.WRIT_ISSUER_URL ?? urlOf(server.address() as AddressInfo);
  // In time for the first request: nothing is read from the port between its callback and here.
  const refuse = stillStarting(url);
  server.on('request', refuse);

  // 3.
  const clockGuard = createClockGuard(foundation, overrides);
  await clockGuard.check();
  const parts = createParts(foundation, url, clockGuard);

  // 4.
  const worker = await startWorkerSide(parts);
  const { WRIT_MANIFEST_DIR: folder, WRIT_MANIFEST_REVIEW: review } = settings;
  const manifests = folder === undefined ? null : await publishFolder({ ...parts, folder, review });
  const bootstrapToken = await makeBootstrapToken(store, clock);
  if (bootstrapToken === null && !(await bootstrapHolds(store)))
    log.warn('the bootstrap token on record gives no right: `npx writ admin token` makes another');

  let weak: readonly WeakSetting[] = [];
  /** What was not weak before is said once; what is weak no more is not named any more. */
  const findWeak = async () => {
    const found = await findWeakSettings(parts, env);
    for (const { name, text } of found)
      if (!weak.some((one) => one.name === name)) log.warn({ weak_setting: name }, text);
    weak = found;
  };
  await findWeak();

  // 5.
  const poller = createLongPoller(clock);
  const refusals = createRefusals(store, clock, log, settings.WRIT_REFUSALS_PER_MINUTE);
  let stopping = false;
  const limits = storeLimits(parts);
  const health = {
    clock,
    checks: readinessChecks({
      store,
      ring,
      manifests: () => manifests?.fault() ?? null,
      leftOut: () => manifests?.leftOut() ?? null,
      clockGuard,
      providerClocks: () => clockWarnings(parts.providers),
      stores: limits.words,
      weakSettings: () => weak.map(({ name }) => name),
      signIn: () => signIn.fault(),
    }),
    broken: () => store.broken(),
    registry: parts.registry,
    metricsToken: settings.WRIT_METRICS_TOKEN ?? null,
    stopping: () => stopping,
  };
  let app = express();
  let startListening: Api['listen'] = () => ({ stop: async () => {} });
  let client: Api['signIn'] = null;
  if (settings.WRIT_ROLE === 'worker') mountHealth(app, health);
  else {
    const api = await composeApi({ ...parts, notify: worker.notify, poller, refusals, health });
    ({ app, listen: startListening, signIn: client } = api);
  }
  const signIn = checkSignIn(client, log);
  let listening: { stop(): Promise<void> } | null = null;
  const serve = () => {
    server.on('request', app);
    server.off('request', starting);
    listening = startListening();
  };
  // Until the manifests are what they were given as, only health is told.
  const starting = express();
  mountHealth(starting, health);
  starting.use(refuse);
  server.on('request', starting);
  server.off('request', refuse);
  if (manifests?.isSettled() === false) void manifests.settled.then(() => stopping || serve());
  else serve();
  const reloading = reloadKeys(parts);
  void limits.look();
  const watching = every(clock, clockCheckMs, clockGuard.check);
  const looking = every(clock, 60_000, async () => {
    await limits.look();
    // While the database does not answer, what was found stands.
    await findWeak().catch(() => {});
  });

  const about = { url, role: settings.WRIT_ROLE, backend: store.backend, redis: settings.REDIS_URL !== undefined };
  log.info({ ...about, providers: [...parts.providers.keys()] }, 'writ is up');

  const stopAll = async (step: (name: string) => void) => {
    stopping = true;
    // Accept nothing new, let requests in flight (a mint, say) finish, and answer long polls now.
    step('channels that listen');
    await listening?.stop();
    step('requests in flight');
    poller.close();
    await connections.drain();
    step('manifests');
    await manifests?.stop();
    step('refusals to be written');
    await refusals.close();
    step('keys');
    await watching.stop();
    await looking.stop();
    await reloading.stop();
    step('the worker');
    await worker.stop();
    step('the database');
    await store.close();
    withoutProxies();
  };
  /** What is under way when the time is up is left: rows in the database say what it was. */
  const stop = async () => {
    let at = '';
    const done = new AbortController();
    const all = stopAll((name) => {
      at = name;
    }).finally(() => done.abort());
    const late = clock.sleep(settings.WRIT_STOP_SECONDS * 1000, done.signal).then(
      () => {
        log.warn({ waiting_for: at }, 'stopping took too long: what is under way is left to the other processes');
        server.closeAllConnections();
        // Whatever becomes of it now is nobody's.
        all.catch(() => {});
      },
      () => all,
    );
    await late;
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

/** How often an API process holds its clock against the database's; a worker does so before its work too. */
const clockCheckMs = 15_000;

/**
 * Rereads the ring often enough to learn of another process's new key well before it signs, and of one that
 * was withdrawn before much is signed with it: what is, nobody accepts.
 */
const reloadKeys = ({ clock, ring, log }: Pick<Parts, 'clock' | 'ring' | 'log'>) => {
  const retried = createRetried(clock, log);
  return every(clock, 5_000, () =>
    ring.reload().then(
      () => retried.works('keys', {}, 'keys: reloaded again'),
      (error) => retried.failed('keys', error, {}, 'keys: reload failed; it is tried again, and this is said once'),
    ),
  );
};

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
