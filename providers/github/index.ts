/** The GitHub provider: installation tokens of a GitHub App. */
import { observedClock } from '../answer-date.ts';
import type { Provider, ProviderDeps, ProviderModule } from '../contract.ts';
import { type Api, githubApi } from './api.ts';
import { appJwtSigner } from './app-jwt.ts';
import { asApp } from './as-app.ts';
import { githubCredential } from './credential.ts';
import { diagnose } from './diagnose.ts';
import { rememberInstallations } from './installation.ts';
import { issueToken } from './issue.ts';
import { levels } from './levels.ts';
import { narrower } from './narrower.ts';
import { advise, type GithubParams, params } from './params.ts';
import { describePlan, planFor, tokenLifetimeSeconds } from './plan.ts';
import { reach } from './reach.ts';
import { probeToken, revokeTokens } from './revoke.ts';
import { type GithubSettings, settings } from './settings.ts';
import { headsInWords, readHeads } from './state.ts';

export const github: ProviderModule<GithubSettings> = {
  name: 'github',
  switchedOnBy: ['GITHUB_APP_ID', 'GITHUB_APP_PRIVATE_KEY', 'GITHUB_APP_PRIVATE_KEY_FILE'],
  settings,
  params,
  create: createGithubProvider,
};

function createGithubProvider(given: GithubSettings, deps: Pick<ProviderDeps, 'clock'>): Provider<GithubParams> {
  const privateKey = given.GITHUB_APP_PRIVATE_KEY ?? given.GITHUB_APP_PRIVATE_KEY_FILE;
  if (privateKey === undefined) throw new Error('settings without a private key were not parsed by the schema');
  const apiUrl = given.GITHUB_API_URL ?? 'https://api.github.com';
  const clock = observedClock(deps.clock, async (signal) => {
    await api.meta(signal);
  });
  const api: Api = githubApi(apiUrl, clock);
  const app = asApp(appJwtSigner(given.GITHUB_APP_ID, privateKey, clock.now));
  const installations = rememberInstallations(api, app, given.GITHUB_INSTALLATION_ID);
  const owners = given.WRIT_GITHUB_OWNERS ?? null;
  return {
    name: 'github',
    limits: {
      minTtlSeconds: 30,
      maxTtlSeconds: tokenLifetimeSeconds,
      // GitHub's hour begins when it mints, a little after the intent, and by its own clock.
      longestProviderLifetimeSeconds: tokenLifetimeSeconds + 60,
    },
    params,
    credential: githubCredential,
    advise,
    plan: (given, ttlSeconds) => planFor(given, ttlSeconds, owners),
    describe: (plan) => {
      const { summary, ...described } = describePlan(plan);
      return { ...described, summary: [...summary, ...headsInWords(plan)] };
    },
    reach,
    narrower,
    levels,
    state: (plan, signal) => readHeads({ api, apiUrl, asApp: app, installations, clock }, plan, signal),
    // Names are the same in either case at GitHub.
    caselessReach: 'all',
    issue: (context) => issueToken({ api, apiUrl, asApp: app, installations, clock }, context),
    revoke: (due, _standing, signal) => revokeTokens({ api, asApp: app, clock }, due, signal),
    diagnose: (used, signal) => diagnose({ api, asApp: app }, used, signal),
    probe: (target, signal) => probeToken(api, target, signal),
    clock,
    triesCredential: true,
  };
}
