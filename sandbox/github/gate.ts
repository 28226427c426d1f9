/**
 * Which permission of an installation token opens which part of GitHub's REST API (docs.github.com,
 * "Permissions required for GitHub Apps").
 *
 * emulate checks most of this too, but leaves some routes open to any token and answers 403 where GitHub
 * hides a private repository behind 404. What is not listed here is refused: a sandbox that is too strict is
 * noticed, one that is too loose is not.
 */
import { type Answer, notAccessible, notFound } from './answers.ts';
import { covers } from './seed.ts';
import type { Token } from './tokens.ts';

const permissionOfArea: Record<string, string> = {
  actions: 'actions',
  branches: 'contents',
  'check-runs': 'checks',
  'check-suites': 'checks',
  commits: 'contents',
  compare: 'contents',
  contents: 'contents',
  deployments: 'deployments',
  environments: 'environments',
  git: 'contents',
  hooks: 'repository_hooks',
  issues: 'issues',
  labels: 'issues',
  languages: 'metadata',
  merges: 'contents',
  milestones: 'issues',
  pages: 'pages',
  pulls: 'pull_requests',
  readme: 'contents',
  releases: 'contents',
  statuses: 'statuses',
  tags: 'contents',
};

/**
 * Null when the token's permissions and repositories allow the request, else GitHub's refusal. `path` is
 * without the API's base path.
 */
export function refuseAccess(method: string, path: string, token: Token): Answer | null {
  if (path === '/rate_limit' || path === '/meta') return null;
  const [, repos, owner, name, area, ...rest] = path.split('/').map(decodeURIComponent);
  if (repos !== 'repos' || owner === undefined || name === undefined) return notAccessible();
  const fullName = `${owner}/${name}`.toLowerCase();
  if (!token.repositories.some((repository) => repository.full_name.toLowerCase() === fullName)) return notFound();

  const reads = method === 'GET' || method === 'HEAD';
  const level = reads ? 'read' : 'write';
  if (area === undefined)
    return covers(token.permissions[reads ? 'metadata' : 'administration'], level) ? null : notAccessible();
  if (area === 'branches' && rest.at(-1) === 'protection')
    return covers(token.permissions.administration, level) ? null : notAccessible();
  if (area === 'pulls' && rest.at(-1) === 'merge' && !reads)
    return covers(token.permissions.contents, 'write') ? null : notAccessible();
  if (area === 'contents' && rest.slice(0, 2).join('/') === '.github/workflows' && !reads)
    if (!covers(token.permissions.workflows, 'write')) return notAccessible();
  const permission = permissionOfArea[area];
  return permission !== undefined && covers(token.permissions[permission], level) ? null : notAccessible();
}
