/** One change between two versions of a manifest, and the walks that find them. Pure; see `diff.ts`. */
import { compareLimits, isEqual, type Limits, limitsInWords, type Verdict } from './diff-limits.ts';
import { member } from './manifest.ts';

export interface Change {
  /** Where: `capabilities.read.params.access`. */
  path: string;
  verdict: Verdict;
  /** What changed, in words. */
  text: string;
}

export const change = (path: string, verdict: Verdict, text: string): Change => ({ path, verdict, text });

export type Named<Value> = { readonly [name: string]: Value };

/** Walks two records by name. */
export function diffRecords<Value>(
  before: Named<Value>,
  after: Named<Value>,
  on: {
    added(name: string, value: Value): Change[];
    removed(name: string): Change;
    changed(name: string, before: Value, after: Value): Change[];
  },
): Change[] {
  return [
    ...Object.entries(after).flatMap(([name, now]) => {
      const was = member(before, name);
      return was === undefined ? on.added(name, now) : on.changed(name, was, now);
    }),
    ...Object.keys(before)
      .filter((name) => member(after, name) === undefined)
      .map((name) => on.removed(name)),
  ];
}

/** What is not known by name: whatever it means, it may be wider. */
export function otherMembers(path: string, before: object, after: object, known: readonly string[]): Change[] {
  const values = (of: object) => of as Named<unknown>;
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((name) => !known.includes(name));
  return names
    .filter((name) => !isEqual(values(before)[name], values(after)[name]))
    .map((name) =>
      change(path === '' ? name : `${path}.${name}`, 'unknown', `${path === '' ? name : `${path}.${name}`} changed`),
    );
}

/** Values that something may have. */
export function diffLimits(path: string, what: string, before: Limits, after: Limits): Change[] {
  const verdict = compareLimits(before, after);
  if (verdict === 'neither') return [];
  return [change(path, verdict, `${what} may now be ${limitsInWords(after)}; before: ${limitsInWords(before)}`)];
}

/** A list of names of which each lets more pass. */
export function diffNames(
  path: string,
  before: readonly string[],
  after: readonly string[],
  addedText: (name: string) => string,
  removedText: (name: string) => string,
): Change[] {
  return [
    ...after.filter((name) => !before.includes(name)).map((name) => change(path, 'widens', addedText(name))),
    ...before.filter((name) => !after.includes(name)).map((name) => change(path, 'narrows', removedText(name))),
  ];
}
