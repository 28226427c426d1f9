/**
 * A provider whose every answer a test decides: the seam under test is what the broker does with the answers
 * (real providers have their conformance suite). It knows which credentials are alive, so that tests can
 * compare the broker's rows with it.
 */
import { z } from 'zod';
import type {
  IssueContext,
  Issued,
  JsonObject,
  Provider,
  RevocationOutcome,
  RevocationTarget,
} from '../providers/contract.ts';
import type { Clock } from './core/vocabulary.ts';

export interface Scripted extends Provider {
  /** Credentials that would be accepted now, by lease. */
  alive(): string[];
  /** How many it has minted, those that are dead by now too. */
  mints(): number;
  /** Lease ids asked about, one entry per call of `revoke`. */
  revocations: string[][];
  /** What `outstanding` held, one entry per call. */
  standings: string[][];
  /** What `revoke` was given, one entry per lease and call. */
  targets: RevocationTarget[];
  pruned: { lockKey: string; outstanding: string[] }[];
  released: string[];
  /** Replaced by tests; the defaults mint and kill at once. */
  script: {
    issue(context: IssueContext, mint: () => Issued): Promise<Issued>;
    revoke(target: RevocationTarget, kill: () => void, signal: AbortSignal): Promise<RevocationOutcome>;
    release(member: string): Promise<void>;
    prune(lockKey: string): Promise<void>;
    state(): Promise<JsonObject>;
  };
  reset(): void;
}

export interface ScriptedOptions {
  name: string;
  clock: Clock;
  /** The provider's one lifetime, whatever was asked, in seconds; absent: as long as asked. */
  lifetimeSeconds?: number;
  /** One upstream document per scope. */
  lockKey?: boolean;
  /** So many denials fit into each. */
  denials?: number;
  pool?: string[];
  /** Reads a state; the harness's manifest wants it approved. */
  state?: boolean;
  /** Mints with a secret that revocation needs. */
  secret?: boolean;
}

export const secretOf = (leaseId: string) => `hush-${leaseId}-hush`;

const killAtOnce: Scripted['script'] = {
  issue: async (_context, mint) => mint(),
  revoke: async (_target, kill) => {
    kill();
    return { state: 'revoked', evidence: { said: 'gone' } };
  },
  release: async () => {},
  prune: async () => {},
  state: async () => ({ head: 'one' }),
};

export function scriptedProvider(options: ScriptedOptions): Scripted {
  const { name, clock } = options;
  const minted = new Map<string, { until: Date; killed: boolean }>();
  const provider: Scripted = {
    name,
    limits: {
      minTtlSeconds: 1,
      maxTtlSeconds: 3600,
      longestProviderLifetimeSeconds: options.lifetimeSeconds ?? 0,
    },
    params: z.strictObject({ scope: z.string().default('all') }),
    plan: (params, ttlSeconds) => ({
      provider: name,
      permission: params as { scope: string },
      ttl_seconds: ttlSeconds,
    }),
    describe: ({ state }) => ({
      summary: ['Do something', ...(state === undefined ? [] : [`The head is ${String(state.seen.head)}`])],
      revocability: { kind: 'immediate', text: 'Ends at once.' },
    }),
    issue: (context) =>
      provider.script.issue(context, () => {
        const now = clock.now().getTime();
        const expiresAt = new Date(now + context.plan.ttl_seconds * 1000);
        const providerExpiresAt =
          options.lifetimeSeconds === undefined ? expiresAt : new Date(now + options.lifetimeSeconds * 1000);
        minted.set(context.leaseId, { until: providerExpiresAt, killed: false });
        return {
          credential: { type: name, token: secretOf(context.leaseId) },
          expiresAt,
          providerExpiresAt,
          handle: { lease: context.leaseId, issued_at: new Date(now).toISOString() },
          ...(options.secret === true ? { secret: secretOf(context.leaseId) } : {}),
        };
      }),
    revoke: async (due, outstanding, signal) => {
      provider.revocations.push(due.map((target) => target.leaseId));
      provider.standings.push(outstanding.map((target) => target.leaseId));
      provider.targets.push(...due);
      return Promise.all(
        due.map((target) => {
          const kill = () => {
            const credential = minted.get(target.leaseId);
            if (credential !== undefined) credential.killed = true;
          };
          return provider.script.revoke(target, kill, signal);
        }),
      );
    },
    ...(options.state === true ? { state: () => provider.script.state() } : {}),
    ...(options.lockKey === true
      ? {
          lockKey: (plan) => String(plan.permission.scope),
          prune: async (lockKey, outstanding) => {
            await provider.script.prune(lockKey);
            provider.pruned.push({ lockKey, outstanding: outstanding.map((target) => target.leaseId) });
            return [];
          },
        }
      : {}),
    ...(options.denials === undefined ? {} : { denialsThatFit: async () => options.denials! }),
    // A scope that names a member asks for that one.
    ...(options.pool === undefined
      ? {}
      : {
          pool: ({ permission: { scope } }) => (scope === 'all' ? options.pool! : [String(scope)]),
          poolMembers: options.pool,
        }),
    release: async (member) => {
      await provider.script.release(member);
      provider.released.push(member);
    },
    mints: () => minted.size,
    alive: () => [...minted].filter(([, { until, killed }]) => !killed && until > clock.now()).map(([id]) => id),
    revocations: [],
    standings: [],
    targets: [],
    pruned: [],
    released: [],
    script: { ...killAtOnce },
    reset: () => {
      minted.clear();
      Object.assign(provider, { revocations: [], standings: [], targets: [], pruned: [], released: [] });
      provider.script = { ...killAtOnce };
      Object.assign(provider, { issue, revoke });
    },
  };
  const { issue, revoke } = provider;
  return provider;
}
