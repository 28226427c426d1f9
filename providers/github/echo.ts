/** What GitHub says it minted, held against the plan. */
import { isKnownLevel, isWithin } from './permissions.ts';
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
  // Of what nobody here knows, GitHub's answer alone says that it exists and what it is called.
  for (const [name, level] of Object.entries(planned.permissions))
    if (!isKnownLevel(name, level) && own(permissions, name) !== level)
      return `the answer does not give the token ${name}: ${level}`;
  if (planned.repositories === 'all') return beyondOwner(answer, planned.owner);
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

/**
 * For all repositories GitHub names none: that they are this owner's is known from the installation, which
 * was looked up by the owner for this very mint. What is named nevertheless must be the owner's.
 */
function beyondOwner({ repositories, repository_selection }: Record<string, unknown>, owner: string): string | null {
  if (repository_selection !== 'all' && repository_selection !== 'selected')
    return 'the answer does not say which repositories the token reaches';
  if (repositories === undefined) return null;
  if (!Array.isArray(repositories)) return 'the answer does not name the repositories of the token';
  const within = `${owner}/`.toLowerCase();
  const ours = (name: unknown) => typeof name === 'string' && name.toLowerCase().startsWith(within);
  return repositories.every((one) => isObject(one) && ours(one.full_name))
    ? null
    : 'the token reaches a repository of another owner';
}

const own = <Value>(object: Record<string, Value>, key: string): Value | undefined =>
  Object.hasOwn(object, key) ? object[key] : undefined;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
