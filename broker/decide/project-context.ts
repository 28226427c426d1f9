/**
 * Which facts a capability's policies look at. Cedar reads every fact it is given, at a cost that grows with
 * them; one that no policy names cannot change its answer, so it is not sent. Derived from the policies
 * themselves, so it stays right for rules that are added later.
 */
import type { CedarValueJson, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';

/** A tree of names; `whole` ends a branch: everything below is looked at. */
type Wanted = Map<string, Wanted> | 'whole';
type Context = Record<string, CedarValueJson>;

const known = new WeakMap<object, Wanted>();

/** @returns of the facts those that any of the policies names; `policies` must not be changed afterwards */
export function projectContext(facts: Context, policies: { [id: string]: PolicyJson }): Context {
  let wanted = known.get(policies);
  if (wanted === undefined) {
    wanted = new Map();
    for (const { conditions } of Object.values(policies)) wanted = withNames(wanted, conditions);
    known.set(policies, wanted);
  }
  return pick(facts, wanted) as Context;
}

function pick(value: CedarValueJson, wanted: Wanted): CedarValueJson {
  if (wanted === 'whole' || typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const members = Object.entries(value).flatMap(([name, member]) => {
    const below = wanted.get(name);
    return below === undefined ? [] : [[name, pick(member as CedarValueJson, below)] as const];
  });
  return Object.fromEntries(members);
}

/**
 * Walks any part of a policy (Cedar's JSON format). What is not an access to the context by name is looked
 * into.
 */
function withNames(wanted: Wanted, part: unknown): Wanted {
  const path = pathOf(part);
  if (path !== null) return withPath(wanted, path);
  if (typeof part !== 'object' || part === null) return wanted;
  return Object.values(part).reduce(withNames, wanted);
}

/** `context.a.b` and `context.a has b` → `[a, b]`; the bare context → `[]`: all of it. */
function pathOf(part: unknown): string[] | null {
  if (typeof part !== 'object' || part === null) return null;
  if ((part as { Var?: unknown }).Var === 'context') return [];
  const { '.': access, has } = part as { [operator: string]: { left?: unknown; attr?: unknown } | undefined };
  const { left, attr } = access ?? has ?? {};
  if (typeof attr !== 'string') return null;
  const before = pathOf(left);
  return before === null ? null : [...before, attr];
}

function withPath(wanted: Wanted, [name, ...rest]: string[]): Wanted {
  if (wanted === 'whole' || name === undefined) return 'whole';
  wanted.set(name, withPath(wanted.get(name) ?? new Map(), rest));
  return wanted;
}
