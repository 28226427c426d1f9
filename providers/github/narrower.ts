/** Whether one GitHub plan is surely within another: fewer repositories, fewer or lower permissions. Pure. */
import type { Plan } from '../contract.ts';
import { isKnown, isKnownLevel, levelWords } from './permissions.ts';
import { type GithubPermission, permissionOf } from './plan.ts';

const levels: readonly string[] = levelWords;

export function narrower(plan: Plan, than: Plan): boolean {
  const [one, other] = [permissionOf(plan), permissionOf(than)];
  const within = (name: string, level: string) => {
    const all = Object.hasOwn(other.permissions, name) ? other.permissions[name]! : '';
    // What a level opens that is not known of this name, no order of words tells.
    if (isKnown(name) && !(isKnownLevel(name, level) && isKnownLevel(name, all))) return level === all;
    const most = levels.indexOf(all);
    return levels.includes(level) && levels.indexOf(level) <= most;
  };
  return (
    plan.ttl_seconds <= than.ttl_seconds &&
    one.owner === other.owner &&
    one.installation_id === other.installation_id &&
    areAmong(one.repositories, other.repositories) &&
    Object.entries(one.permissions).every(([name, level]) => within(name, level))
  );
}

function areAmong(some: GithubPermission['repositories'], all: GithubPermission['repositories']): boolean {
  if (!Array.isArray(some)) return some === 'all' && all === 'all';
  const known = Array.isArray(all) ? new Set(all.map((name) => name.toLowerCase())) : null;
  // A token without a list is for all repositories.
  return some.length > 0 && (known === null ? all === 'all' : some.every((name) => known.has(name.toLowerCase())));
}
