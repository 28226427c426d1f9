/** Whether one GitHub plan is surely within another: fewer repositories, fewer or lower permissions. Pure. */
import type { Plan } from '../contract.ts';
import { permissionOf } from './plan.ts';

const levels = ['read', 'write', 'admin'];

export function narrower(plan: Plan, than: Plan): boolean {
  const [one, other] = [permissionOf(plan), permissionOf(than)];
  const known = new Set(other.repositories.map((name) => name.toLowerCase()));
  const within = (name: string, level: string) => {
    const most = Object.hasOwn(other.permissions, name) ? levels.indexOf(other.permissions[name]!) : -1;
    return levels.includes(level) && levels.indexOf(level) <= most;
  };
  return (
    plan.ttl_seconds <= than.ttl_seconds &&
    one.owner === other.owner &&
    one.installation_id === other.installation_id &&
    // A token without a list is for all repositories.
    one.repositories.length > 0 &&
    one.repositories.every((name) => known.has(name.toLowerCase())) &&
    Object.entries(one.permissions).every(([name, level]) => within(name, level))
  );
}
