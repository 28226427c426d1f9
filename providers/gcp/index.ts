/**
 * Google Cloud: short-lived access tokens of service accounts, bounded to Cloud Storage where the capability
 * says so.
 */
import { observedClock } from '../answer-date.ts';
import type { Plan, Provider, ProviderDeps, ProviderModule } from '../contract.ts';
import { callerFor } from './caller.ts';
import { gcpCredential } from './credential.ts';
import { describe } from './describe.ts';
import { diagnose } from './diagnose.ts';
import { askTime } from './http.ts';
import { neverOurOwn } from './iam-credentials.ts';
import { issue } from './issue.ts';
import { levels } from './levels.ts';
import { narrower } from './narrower.ts';
import { advise, type GcpParams, params } from './params.ts';
import { asJson, planPermission, readPermission } from './permission.ts';
import { reach } from './reach.ts';
import { releaseAccount, revokeOne } from './revoke.ts';
import { serviceAccounts } from './service-accounts.ts';
import { endpointOf, type GcpSettings, settings, switchedOnBy } from './settings.ts';
import { readState, stateInWords } from './state.ts';
import { iamCredentialsFor } from './transport.ts';

export const gcp: ProviderModule<GcpSettings> = {
  name: 'gcp',
  switchedOnBy,
  settings,
  params,
  create: createGcpProvider,
};

function createGcpProvider(config: GcpSettings, deps: ProviderDeps): Provider<GcpParams> {
  const clock = observedClock(deps.clock, (signal) =>
    askTime(endpointOf(config, 'WRIT_GCP_STS_ENDPOINT'), clock, signal),
  );
  const caller = callerFor(config, deps, clock);
  const accounts = serviceAccounts(endpointOf(config, 'WRIT_GCP_IAM_ENDPOINT'), caller, clock);
  const minting = {
    clock,
    caller,
    iamCredentials: neverOurOwn(iamCredentialsFor(config, clock)),
    stsEndpoint: endpointOf(config, 'WRIT_GCP_STS_ENDPOINT'),
  };
  const poolOf = (plan: Plan) => {
    const { exclusive, service_account: named } = readPermission(plan);
    if (!exclusive) return null;
    return named === null ? config.WRIT_GCP_SERVICE_ACCOUNTS : [named];
  };
  const reading = {
    ...minting,
    storageEndpoint: endpointOf(config, 'WRIT_GCP_STORAGE_ENDPOINT'),
    accountsFor: (plan: Plan) => poolOf(plan) ?? [readPermission(plan).service_account ?? ''],
  };
  const ending = { clock, accounts, lagMs: config.WRIT_GCP_REVOKE_LAG_SECONDS * 1000 };
  return {
    name: 'gcp',
    // Google refuses more than an hour unless an organisation policy says otherwise. When its answer was
    // lost, its hour began some time after the intent: a minute for that, and one more before the account may
    // be used again.
    limits: { minTtlSeconds: 10, maxTtlSeconds: 3600, longestProviderLifetimeSeconds: 3600 + 120 },
    params,
    advise,
    credential: gcpCredential,
    plan: (given, ttlSeconds) => ({
      provider: 'gcp',
      permission: asJson(planPermission(config, given)),
      ttl_seconds: ttlSeconds,
    }),
    describe: (plan: Plan) => {
      const { summary, ...described } = describe(plan, config.WRIT_GCP_REVOKE_LAG_SECONDS);
      return { ...described, summary: [...summary, ...stateInWords(plan)] };
    },
    state: (plan, signal) => readState(reading, plan, signal),
    reach,
    narrower,
    levels,
    issue: (context) => issue(minting, context),
    revoke: (due, _standing, signal) => Promise.all(due.map((target) => revokeOne(ending, target, signal))),
    diagnose: (_used, signal) => diagnose({ config, caller, accounts }, signal),
    pool: poolOf,
    poolMembers: config.WRIT_GCP_SERVICE_ACCOUNTS,
    release: async (reserved, signal) => {
      // An account that has left the pool is no longer ours to enable.
      if (config.WRIT_GCP_SERVICE_ACCOUNTS.includes(reserved)) await releaseAccount(accounts, reserved, signal);
    },
    clock,
  };
}
