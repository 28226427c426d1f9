/**
 * The arguments of a call on record, as far as they can be told. Their values are not kept: a value is known
 * where its keyed digest is that of a value that is known otherwise, from the session's inputs or from a
 * manifest. Nothing else is tried, so that what was not written down stays unknown.
 */
import canonicalize from 'canonicalize';
import type { Digest } from '../actions/cells.ts';
import type { Json, JsonObject, Task } from '../core/vocabulary.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { memoize } from '../manifests/memoize.ts';
import { referencesOf, substitute } from '../manifests/template.ts';
import type { Argument } from '../manifests/tool-schema.ts';
import type { RecordedCall, ShownArgument } from './recorded.ts';

/** Arguments with what is known of each. */
export interface KnownArguments {
  /** Those whose values are known. */
  values: JsonObject;
  /** The others, by name: they are there, with values that nobody can tell. */
  unknown: ReadonlyMap<string, ShownArgument>;
  /** There were too many to keep one by one: which there are is not known either. */
  more: boolean;
}

/** Values that arguments are compared with, by digest. */
export type Vocabulary = ReadonlyMap<string, Json>;

/** Values that stand for themselves in any session. */
export const vocabularyOf = (manifests: readonly Manifest[], digest: Digest): Vocabulary =>
  digests(
    [
      ...[true, false, null, '', [], {}],
      ...manifests
        .flatMap(constantsOf)
        .filter((value) => typeof value !== 'string' || referencesOf(value).inputs.length === 0),
    ],
    digest,
  );

/** What a manifest compares arguments with. */
const constantsOf: (manifest: Manifest) => readonly Json[] = memoize((manifest) => [
  ...(manifest.egress?.known ?? []),
  ...Object.values(manifest.tools ?? {}).flatMap(({ args }) => Object.values(args).flatMap(constantsOfLimit)),
]);

function constantsOfLimit(limit: Argument): Json[] {
  if (typeof limit !== 'object') return [limit];
  return [...(limit.enum ?? []), limit.equals, limit.min, limit.max].filter((one) => one !== undefined);
}

/** The same with what a session's task adds: its inputs, and what manifests make of them. */
export function withInputs(
  vocabulary: Vocabulary,
  manifests: readonly Manifest[],
  { inputs }: Task,
  digest: Digest,
): Vocabulary {
  const made = manifests.flatMap(constantsOf).flatMap((value) => {
    const needed = typeof value === 'string' ? referencesOf(value).inputs : [];
    return needed.length > 0 && needed.every((name) => Object.hasOwn(inputs, name)) ? [substitute(value, inputs)] : [];
  });
  return new Map([...vocabulary, ...digests([...Object.values(inputs), ...made], digest)]);
}

const digests = (values: readonly Json[], digest: Digest): Map<string, Json> =>
  new Map(
    [...new Set(values)].flatMap((value) => {
      const alone: [string, Json] = [digest(canonicalize(value) ?? 'null'), value];
      return typeof value === 'object' ? [alone] : [alone, [digest(canonicalize([value])!), [value]] as [string, Json]];
    }),
  );

export function knownArguments({ shown }: Pick<RecordedCall, 'shown'>, vocabulary: Vocabulary): KnownArguments {
  const more = Object.hasOwn(shown, '*') && shown['*']!.type === 'object' && Object.keys(shown).length === 1;
  const values: JsonObject = {};
  const unknown = new Map<string, ShownArgument>();
  for (const [name, argument] of more ? [] : Object.entries(shown)) {
    const value = vocabulary.get(argument.digest);
    if (value === undefined) unknown.set(name, argument);
    // Not by assignment, which `__proto__` would take for something else.
    else Object.defineProperty(values, name, { value, enumerable: true });
  }
  return { values, unknown, more };
}

/** Whether what is at a path is known, its absence included. */
export const isKnownAt = ({ unknown, more }: KnownArguments, path: string): boolean =>
  !more && !unknown.has(path.split('.', 1)[0]!);

export const allKnown = ({ unknown, more }: KnownArguments): boolean => !more && unknown.size === 0;
