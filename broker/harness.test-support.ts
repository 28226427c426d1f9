/**
 * Composes a broker without HTTP: the real functions on a real database, a manual clock, scripted providers.
 * One agent with a capability per provider (`use-NAME` by policy alone, `ask-NAME` with a person).
 */
import { createHash, randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { Registry } from 'prom-client';
import { keyedDigest } from './actions/request-action.ts';
import { assertEventsFit } from './audit/rows.test-support.ts';
import { verifyAudit } from './audit/verify.ts';
import { jobs } from './compose/jobs.ts';
import { manualClock } from './core/clock.ts';
import { createLog } from './core/log.ts';
import type { EndReason, JsonObject } from './core/vocabulary.ts';
import { mintDeadlineSeconds } from './grants/issue-grant.ts';
import { type GrantAnswer, type GrantDeps, grantReads, requestGrant } from './grants/request-grant.ts';
import { createRefusals } from './http/refusals.ts';
import { openKeyRing } from './keys/ring.ts';
import { createSeal } from './keys/seal.ts';
import { keyedMark } from './leases/credential-marks.ts';
import { createLeaseMetrics } from './leases/metrics.ts';
import { createCatalog } from './manifests/catalog.ts';
import { publishManifest } from './manifests/publish.ts';
import { type Scripted, type ScriptedOptions, scriptedProvider } from './scripted-provider.test-support.ts';
import { type Caller, readSession } from './sessions/authenticate.ts';
import type { EndSessionDeps } from './sessions/end-session.ts';
import type { OneTime } from './sessions/one-time.ts';
import { type OpenSessionDeps, openSession, type Parent } from './sessions/open-session.ts';
import { createSessionTokens } from './sessions/session-token.ts';
import { openTestStore } from './store/store.test-support.ts';
import { type ReconcilerDeps, reconcileOnce } from './worker/reconciler.ts';

export const issuer = 'https://writ.example';
export const agent = 'harness-agent';
export const start = new Date('2026-03-01T12:00:00Z');

const manifestOf = (name: string, providers: string[], stateful: ReadonlySet<string>) => `apiVersion: writ/v1
agent: ${name}
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m, max_grants: 5000, sleep: 72h }
task_types:
  work: { description: Work., inputs: {} }
capabilities:
${providers
  .flatMap((provider) => [
    `  use-${provider}: { description: Use it., provider: ${provider}, tasks: [work], tier: 1, max_ttl: 15m, choose: { scope: { type: string, enum: [all, one, two], default: all } } }`,
    `  ask-${provider}: { description: Ask for it., provider: ${provider}, tasks: [work], tier: 2, max_ttl: 15m${stateful.has(provider) ? ', approval: { state: true }' : ''} }`,
  ])
  .join('\n')}
`;

export interface HarnessOptions {
  providers: Omit<ScriptedOptions, 'clock'>[];
  providerTimeoutSeconds?: number;
  noticeChannels?: readonly string[];
  /** Event streams that are told that a session ended. */
  toldOfEnds?: readonly string[];
}

export type Harness = Awaited<ReturnType<typeof openHarness>>;

export async function openHarness(backend: 'pglite' | 'postgres', options: HarnessOptions) {
  const store = await openTestStore(backend);
  const clock = manualClock(start);
  const providers = new Map<string, Scripted>(
    options.providers.map((one) => [one.name, scriptedProvider({ ...one, clock })]),
  );
  const lines: Record<string, unknown>[] = [];
  const logTo = new Writable({
    write: (chunk, _encoding, done) => {
      for (const line of String(chunk).split('\n')) if (line !== '') lines.push(JSON.parse(line));
      done();
    },
  });
  const registry = new Registry();
  const seal = createSeal(randomBytes(32));
  const ring = await openKeyRing(store, { clock, seal, longestTokenSeconds: 300 });
  const catalog = createCatalog(store);
  const providerTimeoutSeconds = options.providerTimeoutSeconds ?? 20;
  const notifications = { count: 0 };
  const notify = () => {
    notifications.count += 1;
  };
  const shapes = Object.fromEntries([...providers].map(([name, { params }]) => [name, { params }]));
  const publication = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
  const stateful = new Set(options.providers.filter(({ state }) => state === true).map(({ name }) => name));
  /** Registers an agent that may use these providers. */
  const register = (name: string, uses: string[] = [...providers.keys()]) =>
    publishManifest(store, clock, shapes, { ...publication, source: manifestOf(name, uses, stateful) });
  await register(agent);

  // A seeded generator (mulberry32): jitter that every run repeats.
  let seed = 7;
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };

  const ending: EndSessionDeps = {
    store,
    mintDeadlineSeconds: mintDeadlineSeconds(providerTimeoutSeconds),
    notify,
    toldOfEnds: options.toldOfEnds ?? [],
  };
  const refusals = createRefusals(store, clock, { error: () => {} }, 60);
  const grants: GrantDeps = {
    ...ending,
    digest: keyedDigest(randomBytes(32)),
    mark: keyedMark(randomBytes(32)),
    clock,
    seal,
    ring,
    providers,
    providerTimeoutSeconds,
    log: createLog('debug', logTo),
    metrics: createLeaseMetrics(registry),
    notify,
    catalog,
    publicUrl: issuer,
    approvalTimeoutSeconds: 300,
    redemptionSeconds: 300,
    grantsPerMinute: 0,
    maxGrantsPerSession: 10_000,
    noteRefusal: ({ id, agent: actor }, payload, requestId) =>
      refusals.note(id, { chain: id, type: 'grant.refused', actor, requestId, payload }),
    noticeChannels: options.noticeChannels ?? [],
  };
  const reconciling: ReconcilerDeps = {
    ...grants,
    random,
    breakGlass: { noticeChannels: ['mail'], alerts: [], reviewSeconds: 3600 },
    workerId: 'worker-1',
    mintDeadlineSeconds: ending.mintDeadlineSeconds,
    jobs,
  };
  const tokens = createSessionTokens(ring, clock, issuer, 300);
  const opening: OpenSessionDeps = {
    store,
    clock,
    catalog,
    tokens,
    heartbeat: { seconds: 60, misses: 3 },
    maxWallTimeSeconds: 86_400,
    sessionsPerMinute: 0,
    maxGrantsPerSession: 10_000,
  };

  /** A root session, or a child of `parent`. */
  async function open(
    input: {
      /** Default: the one agent that every harness has. */
      agent?: string;
      maxGrants?: number;
      /** Who counts as having started it; without anybody two people must approve. */
      responsible?: string;
      wallTimeSeconds?: number;
      child?: { parent: Parent; capabilities: string[] };
      replay?: { key: string; expiresAt: Date; boundTo?: string };
      /** Of the platform's token. */
      claims?: JsonObject;
      /** Thumbprint of the key the session is bound to (DPoP). */
      jkt?: string;
      deps?: Partial<OpenSessionDeps>;
    } = {},
  ): Promise<Caller & { token: string }> {
    const opened = await openSession(
      { ...opening, ...input.deps },
      {
        principal: {
          agent: input.agent ?? agent,
          subject: { issuer: 'https://ci.example', subject: 'run' },
          ...(input.claims === undefined ? {} : { claims: input.claims }),
          startedBy: null,
          onBehalfOf: null,
          responsible: input.responsible ?? null,
          shown: input.replay === undefined ? [] : [shownOnce(input.replay)],
        },
        declaration: {
          task_type: 'work',
          inputs: {},
          on_behalf_of: null,
          envelope: { max_grants: input.maxGrants, wall_time_seconds: input.wallTimeSeconds },
        },
        jkt: input.jkt ?? null,
        shown: [],
        narrowedTo: null,
        child: input.child ?? null,
        requestId: null,
      },
    );
    return {
      sessionId: opened.id,
      agent: input.agent ?? agent,
      jkt: input.jkt ?? null,
      replay: null,
      token: opened.token.access_token,
    };
  }

  /** Reads the session with what the request needs, then makes the request, as the HTTP mount does. */
  const askWith = async (
    grants: GrantDeps,
    caller: Caller,
    provider: string,
    more: { ttl?: number; scope?: string; key?: string; verb?: 'use' | 'ask' } = {},
  ) => {
    const capability = `${more.verb ?? 'use'}-${provider}`;
    const key = more.key ?? null;
    const session = await readSession(store, caller, clock.now(), grantReads(grants, capability, key));
    const request = {
      capability,
      params: more.scope === undefined ? undefined : { scope: more.scope },
      ttlSeconds: more.ttl,
      justification: null,
      credentialJwk: null,
    };
    return requestGrant(grants, session, request, key, null);
  };
  const ask = (caller: Caller, provider: string, more: { ttl?: number; scope?: string; key?: string } = {}) =>
    askWith(grants, caller, provider, more);

  return {
    store,
    clock,
    seal,
    ring,
    shapes,
    providers,
    provider: (name: string): Scripted => providers.get(name)!,
    lines,
    notifications,
    grants,
    reconciling,
    ending,
    opening,
    tokens,
    register,
    open,
    ask,
    askWith,
    /** @returns the lease id of a grant issued by policy alone */
    lease: async (caller: Caller, provider: string, more: { ttl?: number; scope?: string } = {}): Promise<string> => {
      const answer: GrantAnswer = await ask(caller, provider, more);
      if (answer.outcome !== 'issued') throw new Error(`not issued: ${answer.outcome}`);
      return answer.grant.lease!.id;
    },
    row: (id: string) => store.prisma.lease.findUniqueOrThrow({ where: { id } }),
    session: (id: string) => store.prisma.session.findUniqueOrThrow({ where: { id } }),
    tick: () => reconcileOnce(reconciling),
    end: (id: string, reason: EndReason = 'ended_by_agent') => ({
      sessionId: id,
      reason,
      actor: agent,
      requestId: null,
      now: clock.now(),
    }),
    /** Types of events, in order, about one lease. */
    eventsOf: async (leaseId: string) =>
      (await store.prisma.auditEvent.findMany({ where: { leaseId }, orderBy: { seq: 'asc' } })).map((e) => e.type),
    metric: async (name: string, provider: string): Promise<number> => {
      const metric = await registry.getSingleMetric(name)?.get();
      return metric?.values.filter((v) => v.labels.provider === provider).reduce((sum, v) => sum + v.value, 0) ?? 0;
    },
    verify: () => verifyAudit(store),
    /** Checks every event that a suite wrote against the closed list. */
    close: async () => {
      await refusals.close();
      try {
        await assertEventsFit(store);
      } finally {
        await store.close();
      }
    },
  };
}

/** Any SQL, as a statement with a name short enough for a server. */
export const statement = (text: string) => ({ name: `test_${sha256(text).slice(0, 16)}`, text });

export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** As the token endpoint hands over what counts once. */
export const shownOnce = (value: { key: string; expiresAt: Date; boundTo?: string }): OneTime => ({
  boundTo: null,
  usedBefore: { code: 'invalid_grant', detail: 'The subject token was used before.' },
  ...value,
});
