/**
 * The only composition root: environment in, running broker out. Everything is made here, once, and handed on by argument.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import express, { type Request, type Response } from 'express';
import type { DestinationStream } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { ApproversOf, GrantRef } from '../approvals/contract.ts';
import { personRef } from '../approvals/identity.ts';
import { expireUndecided } from '../approvals/review.ts';
import { approvalsRouter, waitingTableFor } from '../approvals/web/approvals.ts';
import type { Provider, ProviderDeps, ProviderModule } from '../providers/contract.ts';
import { providerModules } from '../providers/registry.ts';
import { systemClock } from './clock.ts';
import { ConfigurationError, loadSettings, type Settings } from './config.ts';
import { consoleRouter } from './console/console.ts';
import { type LoginDeps, loadLogin } from './console/login.ts';
import { isSameOrigin } from './console/same-origin.ts';
import { assetsRouter } from './console/shell.ts';
import { signInRouter } from './console/sign-in.ts';
import { WritError } from './errors.ts';
import { mintDeadlineSeconds } from './grants/intent.ts';
import type { GrantDeps } from './grants/request-grant.ts';
import { type AdminDeps, adminOperations } from './http/admin.ts';
import { authorizeAdmin, isBootstrap, makeBootstrapToken } from './http/admins.ts';
import { createApp } from './http/app.ts';
import { discoveryOperations } from './http/discovery.ts';
import { drainable } from './http/drain.ts';
import { grantOperations } from './http/grants.ts';
import { mountHealth } from './http/health.ts';
import { credentialsOf, type OAuthDeps, oauthOperations } from './http/oauth.ts';
import { createRefusals, misuseReason, networkOf } from './http/refusals.ts';
import { sessionOperations } from './http/session.ts';
import { deriveKey, keyEncryptionKey } from './key-encryption-key.ts';
import { identityTokens } from './keys/identity-token.ts';
import { openKeyRing } from './keys/ring.ts';
import { createSeal } from './keys/seal.ts';
import { createLeaseMetrics } from './leases/metrics.ts';
import { type ReconcileDeps, startReconciler } from './leases/reconcile.ts';
import { allOf, listenForWakes, localWaker, redisWaker, type Waker } from './leases/wake.ts';
import { createLog } from './log.ts';
import { isLoopback } from './loopback.ts';
import { createCatalog } from './manifests/catalog.ts';
import type { ProviderShapes } from './manifests/check.ts';
import { capabilityOwner, member } from './manifests/manifest.ts';
import { publishFolder } from './manifests/publish-folder.ts';
import { authenticate } from './sessions/authenticate.ts';
import { checkDpopProof } from './sessions/dpop.ts';
import { sweepReleases, sweepSessions } from './sessions/end-session.ts';
import { openKeyResolver } from './sessions/jwks.ts';
import { createSessionTokens } from './sessions/session-token.ts';
import { openStore, type Store } from './store/open.ts';
import { readTrustFile } from './trust-file.ts';
import type { Clock, Plan } from './vocabulary.ts';
import { createWaitingRoom } from './waiting-room.ts';

export interface Broker {
  /** Issuer and base of every link. */
  url: string;
  /** Set on the very first start only. */
  bootstrapToken: string | null;
  store: Store;
  /** Finishes what is in flight, then closes everything. */
  stop(): Promise<void>;
}

/** What tests and the sandbox replace; in production none of it is given. */
export interface Overrides {
  clock?: Clock;
  logTo?: DestinationStream;
  modules?: readonly ProviderModule[];
  /** Embedded database in memory, empty or from this dump. */
  inMemory?: true | Blob;
  random?: () => number;
  /** Stands around the database: to see, or to stop at, every statement. */
  openStore?: typeof openStore;
}

/**
 * @throws ConfigurationError with every fault at once; any other error when the database, Redis or the port cannot be had
 */
export async function startBroker(env: Record<string, string | undefined>, overrides: Overrides = {}): Promise<Broker> {
  const modules = overrides.modules ?? providerModules;
  const settings = loadSettings(env, modules);
  const trust = await readTrustFile(settings);
  const clock = overrides.clock ?? systemClock;
  const log = createLog(settings.WRIT_LOG_LEVEL, overrides.logTo);

  const store = await (overrides.openStore ?? openStore)({
    databaseUrl: settings.DATABASE_URL ?? null,
    dataDir: overrides.inMemory === undefined ? join(settings.WRIT_DATA_DIR, 'database') : null,
    ...(overrides.inMemory instanceof Blob ? { image: overrides.inMemory } : {}),
    poolSize: settings.WRIT_DATABASE_POOL,
    schema: settings.WRIT_DATABASE_SCHEMA,
  });
  const kek =
    overrides.inMemory !== undefined && settings.WRIT_KEY_ENCRYPTION_KEY === undefined
      ? randomBytes(32)
      : await keyEncryptionKey(settings.WRIT_KEY_ENCRYPTION_KEY, settings.WRIT_DATA_DIR);
  const seal = createSeal(deriveKey(kek, 'at-rest'));
  const ring = await openKeyRing(store, {
    clock,
    seal,
    longestTokenSeconds: Math.max(settings.WRIT_SESSION_TOKEN_SECONDS, 300),
  });

  // The port is taken first, because the embedded broker's issuer is where it listens; it answers 503 until the app is there.
  const server = createServer({ requestTimeout: 15_000, headersTimeout: 10_000, keepAliveTimeout: 75_000 });
  const connections = drainable(server);
  const starting = (_req: unknown, res: { statusCode: number; end(): void }) => {
    res.statusCode = 503;
    res.end();
  };
  server.on('request', starting);
  await listen(server, settings.PORT, settings.WRIT_LISTEN);
  const { port } = server.address() as AddressInfo;
  const url = settings.WRIT_ISSUER_URL ?? `http://127.0.0.1:${port}`;

  const providers = createProviders(modules, settings, { clock, signIdentityToken: identityTokens(ring, clock, url) });
  const shapes: ProviderShapes = Object.fromEntries(
    [...providers].map(([name, provider]) => [name, { params: provider.params }]),
  );
  const catalog = createCatalog(store);
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const metrics = createLeaseMetrics(registry);
  const delivery = {
    store,
    clock,
    seal,
    providers,
    log,
    metrics,
    providerTimeoutSeconds: settings.WRIT_PROVIDER_TIMEOUT_SECONDS,
  };
  const mintDeadline = mintDeadlineSeconds(settings.WRIT_PROVIDER_TIMEOUT_SECONDS);

  // The reconciler's sweeps may wake it, and it is made after what wakes it: one indirection, set once.
  let waker: Waker = { wake: () => {}, close: async () => {} };
  const wake = () => waker.wake();
  const ending = { store, mintDeadlineSeconds: mintDeadline, wake };

  let stopReconciler = async () => {};
  if (settings.WRIT_ROLE !== 'api') {
    const deps: ReconcileDeps = {
      ...delivery,
      random: overrides.random ?? (() => randomBytes(4).readUInt32BE() / 2 ** 32),
      workerId: randomBytes(9).toString('base64url'),
      sweeps: [
        async (now) => void (await sweepSessions({ ...ending, log }, now, 200)),
        (now) => sweepReleases(ending, now, 200),
        async (now) => void (await expireUndecided(store, now, 200)),
      ],
    };
    const reconciler = startReconciler(deps, clock, settings.WRIT_RECONCILE_SECONDS);
    const listener =
      settings.REDIS_URL === undefined
        ? null
        : await listenForWakes(settings.REDIS_URL, redisPrefix(settings), reconciler, log);
    waker = localWaker(reconciler);
    stopReconciler = async () => {
      await listener?.close();
      await reconciler.stop();
    };
  }
  // Its own reconciler is woken directly too: that works without Redis.
  if (settings.REDIS_URL !== undefined) {
    waker = allOf([waker, await redisWaker(settings.REDIS_URL, redisPrefix(settings), log)]);
  }

  if (settings.WRIT_MANIFEST_DIR !== undefined)
    await publishFolder(settings.WRIT_MANIFEST_DIR, store, clock, shapes, log);
  const bootstrapToken = await makeBootstrapToken(store, clock);

  const room = createWaitingRoom(clock);
  const refusals = createRefusals(store, clock, log, settings.WRIT_REFUSALS_PER_MINUTE);
  let stopping = false;
  const health = {
    store,
    clock,
    ring,
    registry,
    metricsToken: settings.WRIT_METRICS_TOKEN ?? null,
    stopping: () => stopping,
  };
  if (settings.WRIT_ROLE === 'worker') {
    const app = express();
    mountHealth(app, health);
    server.on('request', app);
  } else {
    const tokens = createSessionTokens(ring, clock, url, settings.WRIT_SESSION_TOKEN_SECONDS);
    const heartbeat = { seconds: settings.WRIT_HEARTBEAT_SECONDS, misses: settings.WRIT_HEARTBEAT_MISSES };
    const approversOf: ApproversOf = async (grant) => {
      const { manifest, capability } = await manifestOf(grant);
      return [
        ...new Set([manifest.owner, ...(capability === undefined ? [] : [capabilityOwner(manifest, capability)])]),
      ];
    };
    const manifestOf = async (grant: GrantRef) => {
      const { manifest } = (await catalog.version(grant.agent, grant.manifestVersion)).compiled;
      return {
        manifest,
        capability: member(manifest.capabilities, grant.capability),
        task: member(manifest.task_types, grant.taskType),
      };
    };
    const describePlan = (plan: Plan) => {
      const provider = providers.get(plan.provider);
      if (provider === undefined)
        throw new WritError('unavailable', { detail: `The provider ${plan.provider} is not switched on.` });
      return provider.describe(plan);
    };
    const login: LoginDeps = { store, clock, publicUrl: url };
    const requestId = (_req: Request, res: Response) => String(res.locals.requestId);
    const web = { ...login, log, requestId };
    const oauth: OAuthDeps = {
      ...ending,
      refusals,
      clock,
      catalog,
      tokens,
      heartbeat,
      trust,
      issuer: url,
      keys: openKeyResolver({ clock }),
      requireDpop: settings.WRIT_REQUIRE_DPOP,
      maxWallTimeSeconds: settings.WRIT_SESSION_MAX_SECONDS,
      sessionsPerMinute: settings.WRIT_SESSIONS_PER_MINUTE,
      adminOf: async (authorization) => ((await isBootstrap(store, authorization)) ? 'bootstrap token' : null),
    };
    const grants: GrantDeps = {
      ...delivery,
      ring,
      catalog,
      wake,
      publicUrl: url,
      approvalTimeoutSeconds: settings.WRIT_APPROVAL_TIMEOUT_SECONDS,
      grantsPerMinute: settings.WRIT_GRANTS_PER_MINUTE,
    };
    const admin: AdminDeps = { ...ending, clock, ring, shapes, keyLeadSeconds: settings.WRIT_KEY_LEAD_SECONDS };
    const isAdmin = (groups: readonly string[]) =>
      settings.WRIT_ADMIN_GROUP !== undefined && groups.includes(settings.WRIT_ADMIN_GROUP);
    const signIn =
      settings.WRIT_OIDC_ISSUER === undefined || settings.WRIT_OIDC_CLIENT_ID === undefined
        ? []
        : [
            signInRouter({
              ...web,
              cookieKey: deriveKey(kek, 'sign-in-cookie'),
              oidc: {
                issuer: settings.WRIT_OIDC_ISSUER,
                clientId: settings.WRIT_OIDC_CLIENT_ID,
                ...(settings.WRIT_OIDC_CLIENT_SECRET === undefined
                  ? {}
                  : { clientSecret: settings.WRIT_OIDC_CLIENT_SECRET }),
                ...(settings.WRIT_OIDC_SCOPE === undefined ? {} : { scope: settings.WRIT_OIDC_SCOPE }),
                groupsClaim: settings.WRIT_OIDC_GROUPS_CLAIM,
                aliasClaims: settings.WRIT_OIDC_ALIAS_CLAIMS,
                allowInsecureLoopback: isLoopback(url),
              },
            }),
          ];
    const app = createApp({
      ...health,
      publicUrl: url,
      log,
      version: await packageVersion(),
      trustProxy: settings.WRIT_TRUST_PROXY,
      requestsPerMinute: settings.WRIT_REQUESTS_PER_MINUTE,
      operations: [
        ...grantOperations({ ...grants, room }),
        ...sessionOperations({ ...ending, clock, tokens, heartbeat, room }),
        ...oauthOperations(oauth),
        ...adminOperations(admin),
        ...discoveryOperations(url, ring),
      ],
      pages: [
        assetsRouter(),
        ...signIn,
        approvalsRouter({
          ...web,
          describePlan,
          approversOf,
          aboutGrant: async (grant) => {
            const { manifest, capability, task } = await manifestOf(grant);
            return {
              owner: manifest.owner,
              agentDescription: manifest.description,
              capabilityDescription: capability?.description,
              taskDescription: task?.description,
            };
          },
          redemptionSeconds: settings.WRIT_REDEEM_TIMEOUT_SECONDS,
          minTtlSeconds: (provider) => providers.get(provider)?.limits.minTtlSeconds ?? 1,
        }),
        consoleRouter({
          ...web,
          approversOf,
          waitingFor: (person) => waitingTableFor({ store, clock, approversOf }, person),
          ownersOf: async (agent, version) => [(await catalog.version(agent, version)).compiled.manifest.owner],
          isAdmin: (person) => isAdmin(person.groups),
        }),
      ],
      authenticate: (req) => authenticate(credentialsOf(url, req), tokens, checkDpopProof, clock),
      recordMisuse: async (req, refusal, requestId) => {
        const sent = credentialsOf(url, req);
        const { sessionId } = await tokens.verify(sent.authorization?.split(' ')[1] ?? '');
        await refusals.record(sessionId, {
          chain: sessionId,
          type: 'session.misused',
          requestId,
          payload: { reason: misuseReason(refusal, sent), from: networkOf(req.ip) },
        });
      },
      authorizeAdmin: async (req) => {
        const person = await loadLogin(login, req);
        return authorizeAdmin(
          store,
          { authorization: req.get('authorization'), safe: req.method === 'GET' },
          person === null
            ? null
            : {
                name: personRef(person.identity),
                groups: person.identity.groups,
                mayAct: isSameOrigin(url, req),
              },
          settings.WRIT_ADMIN_GROUP,
        );
      },
    });
    server.on('request', app);
  }
  server.off('request', starting);

  // Keys rotated in by another process, seen in time: well before they sign.
  const reloading = new AbortController();
  const reload = (async () => {
    while (!reloading.signal.aborted) {
      await clock.sleep(30_000, reloading.signal).catch(() => {});
      if (!reloading.signal.aborted)
        await ring.reload().catch((error) => log.error({ err: error }, 'keys: reload failed'));
    }
  })();

  let stopped: Promise<void> | undefined;
  log.info(
    {
      url,
      role: settings.WRIT_ROLE,
      backend: store.backend,
      providers: [...providers.keys()],
      redis: settings.REDIS_URL !== undefined,
    },
    'writ is up',
  );
  return {
    url,
    bootstrapToken,
    store,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };

  async function stop(): Promise<void> {
    stopping = true;
    reloading.abort();
    // Nothing new is taken; what is in flight (a mint, say) finishes; who only waits is answered now.
    room.close();
    await connections.drain();
    await refusals.close();
    await reload;
    await stopReconciler();
    await waker.close();
    await store.close();
  }
}

const redisPrefix = (settings: Settings) => `writ-${settings.WRIT_DATABASE_SCHEMA}`;

function createProviders(
  modules: readonly ProviderModule[],
  settings: Settings,
  deps: ProviderDeps,
): Map<string, Provider> {
  const on = modules.filter((module) => settings.providers.has(module.name));
  return new Map(on.map((module) => [module.name, module.create(settings.providers.get(module.name), deps)]));
}

async function packageVersion(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
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

if (import.meta.main) {
  try {
    const broker = await startBroker(process.env);
    if (broker.bootstrapToken !== null) {
      process.stderr.write(
        `\nThe bootstrap token, printed this once; it is stored only as a hash:\n\n    ${broker.bootstrapToken}\n\n`,
      );
    }
    let stops = 0;
    const stop = async () => {
      stops += 1;
      if (stops > 1) process.exit(1);
      await broker.stop();
      process.exit(0);
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  } catch (error) {
    process.stderr.write(`${error instanceof ConfigurationError ? error.message : (error as Error).stack}\n`);
    process.exit(1);
  }
}
