/**
 * PostgreSQL: a role per lease, held to columns by grants and to rows by row security. How it works and what
 * an admin prepares: README.md.
 */
import type { Provider, ProviderDeps, ProviderModule } from '../contract.ts';
import { postgresCredential } from './credential.ts';
import { describePlan } from './describe.ts';
import { diagnose } from './diagnose.ts';
import { asProviderError } from './errors.ts';
import { asBroker } from './ground.ts';
import { endedByUsForMs, issue, primaryTime } from './issue.ts';
import { levels } from './levels.ts';
import { targetLimits } from './limits.ts';
import { leaseRole } from './names.ts';
import { narrower } from './narrower.ts';
import { type PostgresParams, params } from './params.ts';
import { planFor } from './plan.ts';
import { reach } from './reach.ts';
import { probeRole, revokeRoles } from './revoke.ts';
import { serverClock } from './server-clock.ts';
import { type PostgresSettings, settings, switchedOnBy } from './settings.ts';
import { countRows, countsInWords } from './state.ts';
import { listTraces } from './traces.ts';

export const postgres: ProviderModule<PostgresSettings> = {
  name: 'postgres',
  switchedOnBy,
  settings,
  params,
  create: createPostgresProvider,
};

function createPostgresProvider(
  given: PostgresSettings,
  { clock }: Pick<ProviderDeps, 'clock'>,
): Provider<PostgresParams> {
  const askTime = async (signal: AbortSignal) => {
    try {
      await asBroker({ settings: given }, 'writ clock', signal, async (connection) => {
        const askedAt = clock.now();
        ground.serverClock.observe(await primaryTime(connection), askedAt);
      });
    } catch (error) {
      throw asProviderError(error, { signal, doing: 'asking for the time' });
    }
  };
  const ground = { settings: given, clock, serverClock: serverClock(clock, askTime) };
  const limits = targetLimits(ground);
  const bounds = {
    database: given.WRIT_POSTGRES_URL.database,
    hasReplica: given.WRIT_POSTGRES_REPLICA_ADDRESS !== undefined,
  };
  return {
    name: 'postgres',
    limits: {
      minTtlSeconds: 10,
      maxTtlSeconds: given.WRIT_POSTGRES_MAX_TTL_SECONDS,
      // The end is counted from the mint, which comes a little after the intent.
      longestProviderLifetimeSeconds: given.WRIT_POSTGRES_MAX_TTL_SECONDS + endedByUsForMs / 1000 + 120,
    },
    params,
    credential: postgresCredential,
    plan: (asked, ttlSeconds) => planFor(asked, ttlSeconds, bounds),
    describe: (plan) => {
      const { summary, ...described } = describePlan(plan, limits.words());
      return { ...described, summary: [...summary, ...countsInWords(plan)] };
    },
    reach,
    narrower,
    levels,
    state: (plan, signal) => countRows(ground, plan, signal),
    diagnose: (used, signal) => diagnose(ground, limits, used, signal),
    findLimits: (signal) => limits.find(signal),
    issue: (context) => issue(ground, context),
    revoke: (due, _outstanding, signal) => revokeRoles(ground, due, signal),
    probe: (target, signal) => probeRole(ground, target, signal),
    traces: {
      nameOf: (leaseId) => leaseRole(given.WRIT_POSTGRES_ROLE_PREFIX, leaseId),
      list: (signal) => listTraces(ground, signal),
    },
    clock: ground.serverClock,
    triesCredential: true,
  };
}
