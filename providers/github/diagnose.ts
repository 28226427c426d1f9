/**
 * Asks GitHub whether the App is who it says, is installed where manifests need it, and has what they need.
 * As the App alone: no token is minted.
 */
import { answerText } from '../answer-text.ts';
import { type Finding, ProviderError } from '../contract.ts';
import type { Api, ApiAnswer } from './api.ts';
import type { AsApp } from './as-app.ts';
import { refusalOf } from './errors.ts';
import type { GithubParams } from './params.ts';

interface Asking {
  api: Api;
  asApp: AsApp;
}

/** So many repositories of one owner are looked for by name. */
const maxRepositories = 20;

/** Never throws. */
export async function diagnose(asking: Asking, used: readonly GithubParams[], signal: AbortSignal): Promise<Finding[]> {
  const app = await ofApp(asking, signal);
  if (app.state === 'fails') return [app];
  const owners = new Map<string, GithubParams[]>();
  for (const params of used) {
    const owner = params.owner.toLowerCase();
    owners.set(owner, [...(owners.get(owner) ?? []), params]);
  }
  if (owners.size === 0)
    return [
      app,
      { what: 'the App has what manifests need', state: 'unknown', found: 'no manifest in force says which' },
    ];
  const findings = [app];
  for (const params of owners.values()) findings.push(...(await ofOwner(asking, params, signal)));
  return findings;
}

async function ofApp({ api, asApp }: Asking, signal: AbortSignal): Promise<Finding> {
  const what = 'GitHub knows the App by its id and key';
  const fix =
    'Set GITHUB_APP_ID to the App’s id or client id, and GITHUB_APP_PRIVATE_KEY to a key that is listed on its page; look at this machine’s clock.';
  const answer = await asked(asApp((jwt) => api.app(jwt, signal)));
  if (answer instanceof ProviderError) return { what, state: 'fails', found: answer.message, fix: reach };
  if (answer.status === 200) return { what, state: 'holds' };
  return { what, state: 'fails', found: refusalOf(answer, 'asking for the App').message, fix };
}

const reach = 'Look at GITHUB_API_URL, and whether this machine may reach it.';

interface Shown {
  permissions?: { [name: string]: unknown };
  suspended_at?: unknown;
}

async function ofOwner({ api, asApp }: Asking, used: readonly GithubParams[], signal: AbortSignal): Promise<Finding[]> {
  const owner = used[0]!.owner;
  const ofOrganization = await asked(asApp((jwt) => api.organizationInstallation(jwt, owner, signal)));
  const answer =
    !(ofOrganization instanceof ProviderError) && ofOrganization.status === 404
      ? await asked(asApp((jwt) => api.userInstallation(jwt, owner, signal)))
      : ofOrganization;
  const installed = `the App is installed on ${owner}`;
  if (answer instanceof ProviderError) return [{ what: installed, state: 'fails', found: answer.message, fix: reach }];
  if (answer.status !== 200)
    return [
      {
        what: installed,
        state: 'fails',
        found: refusalOf(answer, 'looking up the installation').message,
        fix: `Install the App on ${owner}, or take ${owner} out of the manifests.`,
      },
    ];
  const { permissions = {}, suspended_at } = answer.body as Shown;
  const findings: Finding[] = [
    suspended_at === null || suspended_at === undefined
      ? { what: installed, state: 'holds' }
      : {
          what: installed,
          state: 'fails',
          found: 'the installation is suspended',
          fix: `Have an owner of ${owner} unsuspend it.`,
        },
  ];
  for (const [name, level] of neededBy(used)) {
    const what = `the App has ${name}: ${level} on ${owner}, which manifests use`;
    const has = permissions[name];
    findings.push(
      covers(has, level)
        ? { what, state: 'holds' }
        : {
            what,
            state: 'fails',
            found: has === undefined ? 'it has not' : `it has ${answerText(String(has))}`,
            fix: `Give the App ${name}: ${level} on its Permissions page, and have an owner of ${owner} accept it.`,
          },
    );
  }
  return [...findings, ...(await ofRepositories({ api, asApp }, owner, used, signal))];
}

async function ofRepositories(
  { api, asApp }: Asking,
  owner: string,
  used: readonly GithubParams[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const names = [...new Set(used.flatMap(({ repositories }) => (Array.isArray(repositories) ? repositories : [])))];
  const findings: Finding[] = [];
  for (const repo of names.slice(0, maxRepositories)) {
    const answer = await asked(asApp((jwt) => api.installationOf(jwt, { owner, repo }, signal)));
    const what = `the App reaches ${owner}/${repo}`;
    if (!(answer instanceof ProviderError) && answer.status === 200) continue;
    findings.push({
      what,
      state: 'fails',
      found: answer instanceof ProviderError ? answer.message : refusalOf(answer, 'looking up the repository').message,
      fix: `Add ${repo} to the repositories of the installation on ${owner}, or correct its name in the manifest.`,
    });
  }
  return findings;
}

/** The highest level of each permission. */
function neededBy(used: readonly GithubParams[]): [name: string, level: string][] {
  const needed = new Map<string, string>();
  for (const { permissions } of used)
    for (const [name, level] of Object.entries(permissions))
      if (!covers(needed.get(name), level)) needed.set(name, level);
  // Every App that reaches repositories has it.
  needed.delete('metadata');
  return [...needed].sort(([a], [b]) => (a < b ? -1 : 1));
}

const ranks = ['read', 'write', 'admin'];
const covers = (held: unknown, wanted: string): boolean =>
  held !== undefined && ranks.indexOf(String(held)) >= ranks.indexOf(wanted);

const asked = (call: Promise<ApiAnswer>): Promise<ApiAnswer | ProviderError> =>
  call.catch((error: unknown) => {
    if (error instanceof ProviderError) return error;
    throw error;
  });
