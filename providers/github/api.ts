/**
 * GitHub's REST API through Octokit's typed endpoints, one request a call. Two of Octokit's parts stay out on
 * purpose: its App authentication (concurrent mints for one installation become one request and share a
 * token) and its retry and throttling plug-ins (a mint that is sent again leaves a token that nobody knows).
 */
import { Octokit, type RestEndpointMethodTypes } from '@octokit/rest';
import type { ObservedClock } from '../answer-date.ts';
import { ProviderError } from '../contract.ts';
import { type SendOptions, send } from './send.ts';

export interface ApiAnswer {
  status: number;
  /** Parsed JSON; text when it was none. Typed by Octokit, and believed only after a look (echo.ts). */
  body: unknown;
  headers: { retryAfter: string | undefined; rateRemaining: string | undefined; rateReset: string | undefined };
  /** GitHub's own time when it answered, as far as it is known. */
  at: Date;
}

/** The answer to an endpoint's call, as Octokit gives it. */
interface Answered {
  status: number;
  data: unknown;
  headers: {
    'retry-after'?: string | number | undefined;
    'x-ratelimit-remaining'?: string | undefined;
    'x-ratelimit-reset'?: string | undefined;
  };
}

export interface Api {
  /** Mints a token for an installation. `bearer`: the App's JWT. */
  mint(bearer: string, token: MintParams, signal: AbortSignal): Promise<ApiAnswer>;
  /** Finds the App's installation that reaches a repository. `bearer`: the App's JWT. */
  installationOf(bearer: string, repository: RepositoryParams, signal: AbortSignal): Promise<ApiAnswer>;
  /** Finds the App's installation on an organization. `bearer`: the App's JWT. */
  organizationInstallation(bearer: string, org: string, signal: AbortSignal): Promise<ApiAnswer>;
  /** Finds the App's installation on a person's account. `bearer`: the App's JWT. */
  userInstallation(bearer: string, username: string, signal: AbortSignal): Promise<ApiAnswer>;
  /** The App itself. `bearer`: its JWT. */
  app(bearer: string, signal: AbortSignal): Promise<ApiAnswer>;
  /** Deletes the token that it is sent with. */
  deleteToken(bearer: string, signal: AbortSignal): Promise<ApiAnswer>;
  /**
   * Any public answer, for the sake of its date: needs no credential and counts against no budget of ours.
   */
  meta(signal: AbortSignal): Promise<ApiAnswer>;
  /** Lists one repository of the token that it is sent with. */
  listRepositories(bearer: string, signal: AbortSignal): Promise<ApiAnswer>;
  /** One repository, with the name of its default branch. */
  repository(bearer: string, repository: RepositoryParams, signal: AbortSignal): Promise<ApiAnswer>;
  /** One branch, with its last commit. */
  branch(bearer: string, branch: RepositoryParams & { branch: string }, signal: AbortSignal): Promise<ApiAnswer>;
}

type Mint = RestEndpointMethodTypes['apps']['createInstallationAccessToken']['parameters'];
/**
 * Left out, either field means everything that the App was given: permissions never are, repositories where
 * the plan says all.
 */
export interface MintParams {
  installation_id: number;
  repositories?: string[];
  permissions: NonNullable<Mint['permissions']>;
}
type RepositoryParams = Pick<RestEndpointMethodTypes['apps']['getRepoInstallation']['parameters'], 'owner' | 'repo'>;

/**
 * Every function resolves with whatever GitHub answered.
 * @throws ProviderError (each of them) only when there was no answer
 */
export function githubApi(baseUrl: string, clock: ObservedClock): Api {
  const answerOf = (call: Promise<Answered>) => settled(call, clock);
  const { apps, meta, repos } = new Octokit({
    baseUrl,
    userAgent: 'writ',
    // Octokit would print refusals and deprecations to the console.
    log: silent,
    request: { fetch: (url: string, options: SendOptions) => send(url, options, clock), log: silent },
  }).rest;
  return {
    mint: (bearer, token, signal) =>
      answerOf(apps.createInstallationAccessToken({ ...token, ...common(bearer, signal) })),
    installationOf: (bearer, repository, signal) =>
      answerOf(apps.getRepoInstallation({ ...repository, ...common(bearer, signal) })),
    organizationInstallation: (bearer, org, signal) =>
      answerOf(apps.getOrgInstallation({ org, ...common(bearer, signal) })),
    userInstallation: (bearer, username, signal) =>
      answerOf(apps.getUserInstallation({ username, ...common(bearer, signal) })),
    app: (bearer, signal) => answerOf(apps.getAuthenticated(common(bearer, signal)) as Promise<Answered>),
    meta: (signal) => answerOf(meta.get({ request: { signal } })),
    deleteToken: (bearer, signal) => answerOf(apps.revokeInstallationAccessToken(common(bearer, signal))),
    repository: (bearer, repository, signal) => answerOf(repos.get({ ...repository, ...common(bearer, signal) })),
    branch: (bearer, branch, signal) => answerOf(repos.getBranch({ ...branch, ...common(bearer, signal) })),
    listRepositories: (bearer, signal) =>
      answerOf(apps.listReposAccessibleToInstallation({ per_page: 1, ...common(bearer, signal) })),
  };
}

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** The parameters that every call has. */
const common = (bearer: string, signal: AbortSignal) => ({
  headers: {
    authorization: `Bearer ${bearer}`,
    accept: 'application/vnd.github+json',
    'x-github-api-version': '2022-11-28',
  },
  request: { signal },
});

/**
 * Refusals are answers too; Octokit throws them. Its errors hold the request, so none of them goes further
 * than this.
 */
async function settled(call: Promise<Answered>, clock: ObservedClock): Promise<ApiAnswer> {
  const { status, data, headers } = await call.catch((error: { response?: Answered; cause?: unknown }) => {
    if (error.response !== undefined) return error.response;
    if (error.cause instanceof ProviderError) throw error.cause;
    // Nothing that is known of: the worst is assumed. Its text may quote the request.
    throw new ProviderError('upstream_unavailable', 'The call to GitHub failed', { mayHaveMinted: true });
  });
  return {
    status,
    body: data,
    headers: {
      retryAfter: headers['retry-after']?.toString(),
      rateRemaining: headers['x-ratelimit-remaining'],
      rateReset: headers['x-ratelimit-reset'],
    },
    at: clock.now(),
  };
}
