/** What a GitHub plan may do at most: `contents:write` on `owner/repository`, as patterns. */
import { literally, type Plan, type Reach } from '../contract.ts';
import { isKnown, isKnownLevel, levelWords, permissions } from './permissions.ts';
import { permissionOf } from './plan.ts';

const levels: readonly string[] = levelWords;

export function reach(plan: Plan): Reach[] {
  const { owner, repositories, permissions: planned } = permissionOf(plan);
  return Object.entries(planned).map(([name, level]) => ({
    // Who may write may read.
    actions: levels.slice(0, levels.indexOf(level) + 1).map((one) => `${name}:${one}`),
    resources:
      permissions[name]?.organizationWide === true || !isKnownLevel(name, level)
        ? [literally(owner), `${literally(owner)}/*`]
        : repositories === 'all'
          ? [`${literally(owner)}/*`]
          : repositories.map((repository) => `${literally(owner)}/${literally(repository)}`),
    ...(isKnownLevel(name, level)
      ? {}
      : {
          uncertain: isKnown(name)
            ? `${name}: ${level} is a level Writ does not know`
            : `${name} is a permission Writ does not know`,
        }),
  }));
}
