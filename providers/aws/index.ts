/**
 * AWS: sessions of allow-listed roles through STS, cut down by a session policy, ended one by one by a deny
 * in the role's own policy. How it works and how to set it up: README.md.
 */
import type { Plan, Provider, ProviderDeps, ProviderModule } from '../contract.ts';
import { awsClients, type StaticCredentials } from './clients.ts';
import { awsCredential } from './credential.ts';
import { describe } from './describe.ts';
import { diagnose } from './diagnose.ts';
import { issue } from './issue.ts';
import { levels } from './levels.ts';
import { storeLimits } from './limits.ts';
import { narrower } from './narrower.ts';
import { type AwsParams, advise, awsParams } from './params.ts';
import { reach } from './reach.ts';
import { prune, revoke, roleOf } from './revoke.ts';
import { roleLifetimes } from './role-lifetime.ts';
import { roleRooms } from './role-room.ts';
import { planFor } from './session-policy.ts';
import { type AwsSettings, awsSettings } from './settings.ts';
import { readState, stateInWords } from './state.ts';

/** Shortest useful lifetime: with a shorter one an agent would ask all the time. */
const minTtlSeconds = 60;

/** `ambient`: credentials for `WRIT_AWS_AUTH=ambient` instead of what the SDK finds by itself (tests). */
export function createAwsProvider(
  settings: AwsSettings,
  deps: ProviderDeps,
  ambient?: StaticCredentials,
): Provider<AwsParams> {
  const clients = awsClients(settings, deps, ambient);
  const limits = storeLimits(settings, clients);
  const rooms = roleRooms(settings, deps, clients);
  const lifetimes = roleLifetimes(settings, clients);
  return {
    name: 'aws',
    limits: {
      minTtlSeconds,
      maxTtlSeconds: settings.WRIT_AWS_MAX_TTL_SECONDS,
      // The end is counted from the mint, which comes a little after the intent.
      longestProviderLifetimeSeconds: settings.WRIT_AWS_MAX_TTL_SECONDS + 120,
    },
    params: awsParams,
    advise,
    credential: awsCredential,
    plan: (params, ttlSeconds) => planFor(params, ttlSeconds, settings),
    describe: (plan) => {
      const { summary, ...described } = describe(plan, settings, limits.words(roleOf({ plan })));
      return { ...described, summary: [...summary, ...stateInWords(plan)] };
    },
    state: (plan, signal) => readState(plan, settings, clients, signal),
    reach,
    narrower,
    levels,
    // IAM compares actions without regard to case, resources with it.
    caselessReach: 'actions',
    diagnose: (used, signal) => diagnose(settings, clients, used, signal),
    findLimits: async (signal) => [...(await lifetimes.find(signal)), ...(await limits.find(signal))],
    lifetimes: ({ role }) => ({ minTtlSeconds, ...lifetimes.longest(role) }),
    issue: (context) =>
      issue(context, settings, clients).catch((error) => {
        lifetimes.refused(roleOf(context), error);
        throw error;
      }),
    revoke: (due, outstanding, signal) => revoke(due, outstanding, signal, settings, deps, clients),
    lockKey: (plan: Plan) => roleOf({ plan }),
    denialsThatFit: (plan) => rooms.denialsThatFit(roleOf({ plan })),
    prune: (lockKey, outstanding, signal) => prune(lockKey, outstanding, signal, settings, clients),
    clock: clients.clock,
  };
}

export const aws: ProviderModule<AwsSettings> = {
  name: 'aws',
  switchedOnBy: ['WRIT_AWS_ROLES', 'WRIT_AWS_AUTH', 'WRIT_AWS_REVOKE_ROLE', 'WRIT_AWS_REVOKE_KEY'],
  settings: awsSettings,
  params: awsParams,
  create: (settings, deps) => createAwsProvider(settings, deps) as Provider,
};
