/** What the arguments of a call say: values at a path, the entity it touches, where it sends to. */
import canonicalize from 'canonicalize';
import type { Json, Task } from '../core/vocabulary.ts';
import type { Manifest } from './manifest.ts';
import { memoize } from './memoize.ts';
import { matchesWhole } from './pattern.ts';
import { isConstant, substitute } from './template.ts';
import type { Argument, Tool } from './tool-schema.ts';

export type Arguments = { readonly [name: string]: Json };

/**
 * Every value at a path; a list on the way stands for each of its members. Empty when nothing is there, or
 * null.
 */
export function valuesAt(args: Json | Arguments, path: string): Json[] {
  let found: Json[] = [args as Json].flat(4);
  for (const name of path.split('.')) {
    found = found.flatMap((value) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
      const below = Object.hasOwn(value, name) ? value[name] : undefined;
      return below === undefined ? [] : leafLists(below);
    });
  }
  return found.filter((value) => value !== null);
}

/** A list stands for each of its members, however deep: nesting hides nothing. */
const leafLists = (value: Json): Json[] => (Array.isArray(value) ? value.flatMap(leafLists) : [value]);

/** The plain values of a value: of lists and objects, those within. */
export const plainValues = (value: Json): (string | number | boolean)[] =>
  typeof value !== 'object' ? [value] : value === null ? [] : Object.values(value).flatMap(plainValues);

/**
 * A value as it is compared with others: `７`, ` 7` and the number 7 are one order to most tools, so they are
 * one to a rule. Alike is more than the same; whoever spells a value differently is not somebody else.
 */
export const alike = (value: Json): string =>
  typeof value === 'object'
    ? (canonicalize(value) ?? 'null')
    : String(value)
        .normalize('NFKC')
        .replace(/[\s\p{Default_Ignorable_Code_Point}]/gu, '')
        .toLowerCase();

/** Names of arguments that are not as the tool says; `unexpected` for those that it does not take. */
export function argumentsOutside(tool: Tool, args: Arguments, inputs: Task['inputs']): string[] {
  const outside = Object.entries(tool.args).flatMap(([path, written]) =>
    isInside(typeof written === 'object' ? written : { equals: written, optional: false }, valuesAt(args, path), inputs)
      ? []
      : [path],
  );
  const named = new Set([...Object.keys(tool.args), ...tool.destination].map((path) => path.split('.')[0]));
  const unexpected = tool.no_other_args ? Object.keys(args).filter((name) => !named.has(name)) : [];
  return [...outside, ...unexpected.map((name) => `unexpected ${name}`)];
}

function isInside(limit: Exclude<Argument, string | number | boolean>, values: Json[], inputs: Task['inputs']) {
  if (values.length === 0) return limit.optional;
  return values.every((value) => {
    if (limit.equals !== undefined && value !== inputsPut(limit.equals, inputs)) return false;
    if (limit.enum !== undefined && !limit.enum.some((one) => value === inputsPut(one, inputs))) return false;
    if (limit.pattern !== undefined && !(typeof value === 'string' && matchesWhole(limit.pattern, value))) return false;
    if (limit.min !== undefined && !(typeof value === 'number' && value >= limit.min)) return false;
    if (limit.max !== undefined && !(typeof value === 'number' && value <= limit.max)) return false;
    return typeof value !== 'object';
  });
}

/** An input that the task does not have equals nothing. */
export function inputsPut(value: Json, inputs: Task['inputs']): Json | undefined {
  try {
    return substitute(value, inputs);
  } catch {
    return undefined;
  }
}

const argReference = /\$\{args\.([A-Za-z0-9_.-]{1,128})\}/g;

/** `order:${args.order_id}` → `order:42`; null where an argument is missing or no single plain value. */
export function entityOf(tool: Tool, args: Arguments): string | null {
  if (tool.entity === undefined) return null;
  let whole = true;
  const text = tool.entity.replaceAll(argReference, (_, path: string) => {
    const [value, ...more] = valuesAt(args, path);
    if (value === undefined || more.length > 0 || typeof value === 'object') whole = false;
    return String(value).normalize('NFC');
  });
  return whole ? text : null;
}

/** Arguments that an entity is made of, for checks. */
export const entityReferences = (entity: string): string[] =>
  [...entity.matchAll(argReference)].map(([, path]) => path!);

/** Where a call sends to: each value once, as `isKnown` compares it. */
export function destinationsOf(tool: Tool, args: Arguments): string[] {
  const values = tool.destination.flatMap((path) => valuesAt(args, path));
  return [...new Set(values.flatMap(plainValues).map((value) => normal(String(value))))];
}

const normal = (value: string) => value.normalize('NFKC').trim().toLowerCase();

/**
 * The host that a URL, an address or a bare name leads to; null when it is none of these. Whatever two
 * readers could take for two hosts (`good.test\\@evil.test`, `evil.test/@good.test`, two addresses in one
 * text) is none.
 */
export function hostOf(destination: string): string | null {
  if (/[\s\\\p{Cc}\p{Default_Ignorable_Code_Point}]/u.test(destination)) return null;
  const host = /^[a-z][a-z0-9+.-]*:\/\//.test(destination) ? hostOfUrl(destination) : hostOfName(destination);
  return host?.replace(/\.$/, '') ?? null;
}

const hostOfUrl = (url: string) => (URL.canParse(url) ? new URL(url).hostname : null);

const hostOfName = (text: string): string | null =>
  /^(?:[^@<>()[\]",:;/?#]+@)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)+\.?)$/.exec(text)?.[1] ??
  /^([a-z0-9_-]+(?:\.[a-z0-9_-]+)+\.?)(?::[0-9]+)?(?:\/[^@]*)?$/.exec(text)?.[1] ??
  null;

/** Whether a destination is one that a list names: `*.example.com`, `*@example.com`, or the value itself. */
export function isNamed(destination: string, names: readonly string[]): boolean {
  return names.some((name) => {
    if (name.startsWith('*@'))
      return destination.includes('@') && !destination.includes('://') && hostOf(destination) === name.slice(2);
    if (name.startsWith('*.')) {
      const host = hostOf(destination);
      return host !== null && (host === name.slice(2) || host.endsWith(name.slice(1)));
    }
    return destination === name || (!destination.includes('@') && hostOf(destination) === name);
  });
}

/** The names of `egress.known`, with the task's inputs put in, and the inputs themselves. */
export function knownDestinations(manifest: Manifest, inputs: Task['inputs']): string[] {
  const egress = manifest.egress ?? { known: [], inputs: true, clearance: {} };
  const written = egress.known.flatMap((name) => {
    const put = inputsPut(name, inputs);
    return put === undefined ? [] : [normal(String(put))];
  });
  return egress.inputs ? [...written, ...Object.values(inputs).map((value) => normal(String(value)))] : written;
}

/** Labels that may go to a destination. */
export function clearanceOf(manifest: Manifest, destination: string): readonly string[] {
  return Object.entries(manifest.egress?.clearance ?? {}).flatMap(([name, labels]) =>
    isNamed(destination, [normal(name)]) ? labels : [],
  );
}

/** Constant texts of the manifest that count as its own words: what an admin wrote is trusted. */
export const manifestWords: (manifest: Manifest) => readonly string[] = memoize((manifest) =>
  [
    ...(manifest.egress?.known ?? []),
    ...Object.values(manifest.tools ?? {}).flatMap((tool) =>
      Object.values(tool.args).flatMap((arg) =>
        typeof arg === 'string' ? [arg] : typeof arg === 'object' ? (arg.enum ?? []).map(String) : [],
      ),
    ),
  ].filter((text) => isConstant(text)),
);
