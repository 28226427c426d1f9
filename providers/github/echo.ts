/** What GitHub says it minted, held against the plan. */
import { isWithin } from './permissions.ts';
import type { GithubPermission } from './plan.ts';

/**
 * Null when the answer grants nothing beyond the plan, else what is wrong. An answer that leaves something
 * out is wrong: at GitHub, a missing field is how a token for everything looks.
 */
export function beyondPlan(answer: unknown, planned: GithubPermission): string | null {
  if (!isObject(answer)) return 'the answer is not an object';
  const { permissions, repositories, repository_selection } = answer;
  if (!isObject(permissions)) return 'the answer does not say which permissions the token has';
  for (const [name, level] of Object.entries(permissions))
    if (!isWithin(level, own(planned.permissions, name))) return 'the token has a permission beyond the plan';
  if (repository_selection !== 'selected' || !Array.isArray(repositories))
    return 'the answer does not name the repositories of the token';
  const allowed = new Set(planned.repositories.map((name) => `${planned.owner}/${name}`.toLowerCase()));
  for (const repository of repositories) {
    const name = isObject(repository) ? repository.full_name : undefined;
    if (typeof name !== 'string' || !allowed.has(name.toLowerCase()))
      return 'the token reaches a repository beyond the plan';
  }
  return null;
}

const own = (object: Record<string, string>, key: string) => (Object.hasOwn(object, key) ? object[key] : undefined);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
