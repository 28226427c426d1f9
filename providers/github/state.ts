/**
 * What a plan of GitHub is about: the head of each repository's default branch. Read with a token for these
 * repositories that may read contents and nothing else, which is deleted before the answer is given.
 */
import { type JsonObject, type Plan, ProviderError } from '../contract.ts';
import { refusalOf } from './errors.ts';
import { isToken, type Minting, mint } from './issue.ts';
import { permissionOf } from './plan.ts';

/** How long GitHub has to delete the token that was read with. */
const deleteMs = 5_000;

/** More heads than that nobody compares. */
const mostRepositories = 20;

export interface BranchHead {
  repository: string;
  branch: string;
  /** Null: it has no commit yet. */
  sha: string | null;
}

/** @throws ProviderError */
export async function readHeads(minting: Minting, plan: Plan, signal: AbortSignal): Promise<JsonObject> {
  const { owner, repositories, installation_id } = permissionOf(plan);
  if (repositories === 'all')
    throw new ProviderError('upstream_refused', 'All repositories: no state is read where none is named');
  if (repositories.length > mostRepositories)
    throw new ProviderError('upstream_refused', `More than ${mostRepositories} repositories: no state is read`);
  const reading = {
    owner,
    repositories,
    permissions: { contents: 'read', metadata: 'read' },
    ...(installation_id === undefined ? {} : { installation_id }),
  };
  const { answer } = await mint(minting, reading, signal);
  const { token } = (answer.body ?? {}) as { token?: unknown };
  if (!isToken(token)) throw new ProviderError('upstream_mismatch', 'GitHub’s answer holds no token');
  try {
    const branches: BranchHead[] = [];
    for (const repository of repositories) branches.push(await headOf(minting, token, { owner, repository }, signal));
    return { branches: branches as unknown as JsonObject[] };
  } finally {
    // Also when the time to read is over. Nobody has it: where GitHub does not answer, its hour ends it.
    await minting.api.deleteToken(token, AbortSignal.timeout(deleteMs)).catch(() => {});
  }
}

async function headOf(
  { api }: Minting,
  token: string,
  { owner, repository }: { owner: string; repository: string },
  signal: AbortSignal,
): Promise<BranchHead> {
  const found = await api.repository(token, { owner, repo: repository }, signal);
  if (found.status !== 200) throw refusalOf(found, 'reading a repository');
  const { full_name, default_branch: branch } = (found.body ?? {}) as { full_name?: unknown; default_branch?: unknown };
  if (String(full_name).toLowerCase() !== `${owner}/${repository}`.toLowerCase())
    throw new ProviderError('upstream_mismatch', 'GitHub answered about another repository');
  if (typeof branch !== 'string' || branch === '')
    throw new ProviderError('upstream_mismatch', 'GitHub names no default branch');
  const head = await api.branch(token, { owner, repo: repository, branch }, signal);
  // A repository without a commit has no branch.
  if (head.status === 404) return { repository, branch, sha: null };
  if (head.status !== 200) throw refusalOf(head, 'reading a branch');
  const sha = (head.body as { commit?: { sha?: unknown } } | null)?.commit?.sha;
  if (typeof sha !== 'string' || !/^[0-9a-f]{40,64}$/.test(sha))
    throw new ProviderError('upstream_mismatch', 'GitHub names no commit of the branch');
  return { repository, branch, sha };
}

/** The same in words, a line each. Pure. */
export function headsInWords({ state, ...plan }: Plan): string[] {
  if (state === undefined) return [];
  const { owner } = permissionOf(plan);
  return (state.seen.branches as unknown as BranchHead[]).map(({ repository, branch, sha }) =>
    sha === null
      ? `${owner}/${repository} as it is: the branch ${branch} has no commit`
      : `${owner}/${repository} as it is: the branch ${branch} at commit ${sha.slice(0, 12)}`,
  );
}
