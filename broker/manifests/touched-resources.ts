/**
 * What calls of a tool may touch, where the manifest enumerates it: its `entity` is made of arguments, and
 * each of them is bound to values (`equals`, `enum`, a task's input) or given. Pure.
 */
import type { Json, Task } from '../core/vocabulary.ts';
import { type Arguments, entityOf, entityReferences, inputsPut, valuesAt } from './call-arguments.ts';
import type { Tool } from './tool-schema.ts';

/** A resource as AuthZEN names it, and arguments of a call that touches it. */
export interface TouchedResource {
  type: string;
  id: string;
  args: Arguments;
}

export type Touched =
  | { complete: true; resources: TouchedResource[] }
  /**
   * `entity_unknown`: the manifest does not say what the tool touches. `argument_free`: an argument may be
   * anything.
   */
  | { complete: false; because: 'entity_unknown' | 'argument_free' | 'too_many'; path?: string };

/** Combinations that are enumerated, at most. */
const mostResources = 1000;

/**
 * @param type of resources that are looked for
 * @param given arguments that are known; what they say is not enumerated
 */
export function touchedResources(tool: Tool, inputs: Task['inputs'], type: string, given: Arguments): Touched {
  if (tool.entity === undefined) return { complete: false, because: 'entity_unknown' };
  const [, written = type] = /^([^$:]+):/.exec(tool.entity) ?? [];
  if (written !== type) return { complete: true, resources: [] };
  const bound = { ...given, ...fixedArguments(tool, inputs, given) };
  let combinations: Arguments[] = [bound];
  for (const path of new Set(entityReferences(tool.entity))) {
    const values = valuesOf(tool, path, inputs, bound);
    if (values === null) return { complete: false, because: 'argument_free', path: `context.arguments.${path}` };
    if (combinations.length * values.length > mostResources) return { complete: false, because: 'too_many' };
    combinations = combinations.flatMap((args) => values.map((value) => put(args, path.split('.'), value)));
  }
  const found = combinations.flatMap((args) => {
    const entity = entityOf(tool, args);
    return entity === null ? [] : [{ ...resourceOf(entity), args }];
  });
  const ofType = found.filter((one) => one.type === type);
  return { complete: true, resources: [...new Map(ofType.map((one) => [one.id, one])).values()] };
}

/** Whether the manifest speaks of the argument `resource`: what a request without arguments is about. */
export const looksAtResource = (tool: Tool): boolean =>
  [...entityReferences(tool.entity ?? ''), ...Object.keys(tool.args), ...tool.destination].some(
    (path) => path.split('.')[0] === 'resource',
  );

/** `order:42` → type `order`, id `42`. What has no colon is of the type `entity`. */
function resourceOf(entity: string): { type: string; id: string } {
  const colon = entity.indexOf(':');
  return colon < 1 ? { type: 'entity', id: entity } : { type: entity.slice(0, colon), id: entity.slice(colon + 1) };
}

/** Null = it may be anything. */
function valuesOf(tool: Tool, path: string, inputs: Task['inputs'], given: Arguments): Json[] | null {
  const known = valuesAt(given, path);
  if (known.length > 0) return known;
  const limit = Object.hasOwn(tool.args, path) ? tool.args[path] : undefined;
  if (typeof limit !== 'object' || limit.enum === undefined) return null;
  return limit.enum.flatMap((value) => inputsPut(value, inputs) ?? []);
}

/** Arguments that can have one value only, where they are not given. */
function fixedArguments(tool: Tool, inputs: Task['inputs'], given: Arguments): Arguments {
  let fixed: Arguments = given;
  for (const [path, limit] of Object.entries(tool.args)) {
    const written = typeof limit === 'object' ? limit.equals : limit;
    const value = written === undefined ? undefined : inputsPut(written, inputs);
    if (value !== undefined && valuesAt(given, path).length === 0) fixed = put(fixed, path.split('.'), value);
  }
  return fixed;
}

/** A copy with the value at the path. */
function put(args: Arguments, [name, ...rest]: string[], value: Json): Arguments {
  if (name === undefined) return args;
  const below = args[name];
  const inner = typeof below === 'object' && below !== null && !Array.isArray(below) ? below : {};
  return { ...args, [name]: rest.length === 0 ? value : (put(inner, rest, value) as Json) };
}
