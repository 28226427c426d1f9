/** Parameters → the exact permission, and its words for people. Pure. */
import { type JsonObject, type Plan, type PlanDescription, ProviderError } from '../contract.ts';
import type { GithubParams } from './params.ts';
import { isKnown, isKnownLevel, permissions } from './permissions.ts';

/** What a plan of this provider holds in `permission`: precisely what is sent to GitHub. */
export interface GithubPermission {
  owner: string;
  /** `all` is asked for by naming none: GitHub's answer then names none either. */
  repositories: string[] | 'all';
  permissions: Record<string, string>;
  installation_id?: number;
}

/** GitHub's tokens live one hour, whatever was asked for. */
export const tokenLifetimeSeconds = 3600;

/**
 * `owners`: the admin's allow-list in lower case, null for all. Throws ProviderError('bad_params') for an
 * owner outside it.
 */
export function planFor(params: GithubParams, ttlSeconds: number, owners: ReadonlySet<string> | null): Plan {
  if (owners !== null && !owners.has(params.owner.toLowerCase()))
    throw new ProviderError('bad_params', `${params.owner} is not in WRIT_GITHUB_OWNERS`, { path: 'owner' });
  // GitHub adds metadata: read to every token for repositories, so it belongs into what people consent to.
  const wanted: Record<string, string> = { ...params.permissions, metadata: params.permissions.metadata ?? 'read' };
  const permission: JsonObject = {
    owner: params.owner,
    repositories: params.repositories === 'all' ? 'all' : [...params.repositories].sort(byName),
    permissions: Object.fromEntries(Object.entries(wanted).sort(([a], [b]) => byName(a, b))),
    ...(params.installation_id === undefined ? {} : { installation_id: params.installation_id }),
  };
  return { provider: 'github', permission, ttl_seconds: Math.min(ttlSeconds, tokenLifetimeSeconds) };
}

const byName = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

export const permissionOf = (plan: Plan): GithubPermission => plan.permission as unknown as GithubPermission;

export function describePlan(plan: Plan): PlanDescription {
  const { owner, repositories, permissions: planned } = permissionOf(plan);
  const where = repositories === 'all' ? everywhere(owner) : named(owner, repositories);
  const summary = Object.entries(planned).map(([name, level]) => {
    const verb = verbs[level] ?? level;
    const raw = `(GitHub: ${name}: ${level})`;
    if (!isKnown(name))
      return `${verb} whatever GitHub opens with ${name}, a permission Writ does not know: it may reach the whole organization ${owner}, and is not known to stay in ${where} ${raw}`;
    if (!isKnownLevel(name, level))
      return `Whatever GitHub opens with ${name}: ${level}, a level Writ does not know of it: it may reach the whole organization ${owner}, and is not known to stay in ${where} ${raw}`;
    const permission = permissions[name];
    const scope = permission?.organizationWide
      ? `the whole organization ${owner}, not only its named repositories`
      : where;
    return `${verb} ${permission?.about} in ${scope} ${raw}`;
  });
  if (repositories === 'all')
    summary.push(
      `No list of repositories limits it: a repository that is added to the App’s installation is reached, too`,
    );
  if (planned.contents !== undefined && planned.contents !== 'read')
    summary.push(
      'Every branch can be written that GitHub’s own rulesets do not protect: a token cannot be limited to a branch',
    );
  return {
    summary,
    revocability: {
      kind: 'immediate',
      text:
        `Writ deletes the token at GitHub when the task ends and at the latest after ${plan.ttl_seconds} seconds, and GitHub confirms it. ` +
        'GitHub’s own limit is one hour: the shorter one is kept by Writ’s timer, not by GitHub.',
    },
  };
}

const everywhere = (owner: string) => `every repository of ${owner} that the App is installed on`;

function named(owner: string, repositories: readonly string[]): string {
  const shown = repositories.slice(0, 5).map((name) => `${owner}/${name}`);
  const more = repositories.length - shown.length;
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

const verbs: Readonly<Record<string, string>> = {
  read: 'Read',
  write: 'Read and write',
  admin: 'Read, write and administer',
};
