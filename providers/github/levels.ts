/** What a reviewer may lower in GitHub's parameters: each permission's level, down to none of it. Pure. */
import type { Level } from '../contract.ts';
import type { GithubParams } from './params.ts';
import { levelsOf } from './permissions.ts';

export function levels({ permissions: asked }: GithubParams): Level[] {
  const names = Object.keys(asked);
  return Object.entries(asked).flatMap(([name, now]) => {
    // GitHub adds reading of metadata to every token: without it there is none.
    if (name === 'metadata') return [];
    const known: readonly string[] = levelsOf(name);
    const lower = known.slice(0, Math.max(known.indexOf(now), 0)).reverse();
    const steps = [
      ...lower.map((level) => ({ key: level, text: level, value: level })),
      ...(names.length > 1 ? [{ key: 'none', text: 'none of it' }] : []),
    ];
    return steps.length === 0 ? [] : [{ pointer: `/permissions/${name}`, name, now, steps }];
  });
}
