/** What a value may be under two versions of a manifest: the same, less, more, or nobody can tell. Pure. */
import type { Json } from '../core/vocabulary.ts';
import { canonicalText } from './cedar-schema.ts';
import type { Choice, Input } from './manifest.ts';
import { matchesWhole } from './pattern.ts';
import { isConstant } from './template.ts';
import type { Argument } from './tool-schema.ts';

/**
 * `widens`: something passes that did not. `narrows`: something does not pass any more. `neither`: no
 * decision changes. `unknown`: nobody can tell; it counts as wider.
 */
export type Verdict = 'widens' | 'narrows' | 'neither' | 'unknown';

/** All of it must hold of a value. */
export interface Limits {
  /** As written: `${inputs.name}` is that, and equals only itself. */
  equals?: Json | undefined;
  enum?: readonly Json[] | undefined;
  pattern?: string | undefined;
  min?: number | undefined;
  max?: number | undefined;
  type?: Input['type'] | undefined;
  /** Whether it may be left out. */
  optional?: boolean | undefined;
}

export const limitsOfArgument = (written: Argument): Limits =>
  typeof written === 'object' ? written : { equals: written };

/** An input or a choice: what it means and its default are nothing to what it may be. */
export const limitsOf = (shape: Input | Choice): Limits => ({
  type: shape.type,
  ...('pattern' in shape && shape.pattern !== undefined ? { pattern: shape.pattern } : {}),
  ...('enum' in shape && shape.enum !== undefined ? { enum: shape.enum } : {}),
  ...('min' in shape && shape.min !== undefined ? { min: shape.min } : {}),
  ...('max' in shape && shape.max !== undefined ? { max: shape.max } : {}),
});

export function compareLimits(before: Limits, after: Limits): Verdict {
  const noMore = isWithin(after, before);
  const noLess = isWithin(before, after);
  if (noMore) return noLess ? 'neither' : 'narrows';
  return noLess ? 'widens' : 'unknown';
}

/**
 * Whether every value that `inner` takes is one that `outer` takes. Errs towards no: of two patterns that are
 * not the same text nobody can tell.
 */
function isWithin(inner: Limits, outer: Limits): boolean {
  if (inner.optional === true && outer.optional !== true) return false;
  const values = finite(inner);
  const each = (holds: (value: Json) => boolean) => values?.every(holds) === true;
  const constant = (holds: (value: Json) => boolean) => each((value) => isConstant(value) && holds(value));
  const { equals, pattern, min, max, type } = outer;
  return (
    (equals === undefined || each((value) => isEqual(value, equals))) &&
    (outer.enum === undefined || each((value) => outer.enum!.some((one) => isEqual(one, value)))) &&
    (pattern === undefined ||
      inner.pattern === pattern ||
      constant((value) => typeof value === 'string' && matchesWhole(pattern, value))) &&
    (min === undefined ||
      (inner.min !== undefined && inner.min >= min) ||
      constant((value) => typeof value === 'number' && value >= min)) &&
    (max === undefined ||
      (inner.max !== undefined && inner.max <= max) ||
      constant((value) => typeof value === 'number' && value <= max)) &&
    (type === undefined || inner.type === type || constant((value) => typeof value === jsType[type]))
  );
}

const jsType = { string: 'string', integer: 'number', boolean: 'boolean' } as const;

/** The only values that it may have; null = they are not listed. */
function finite({ equals, enum: listed, type }: Limits): readonly Json[] | null {
  if (equals !== undefined) return [equals];
  if (listed !== undefined) return listed;
  return type === 'boolean' ? [true, false] : null;
}

export const isEqual = (one: unknown, other: unknown): boolean => textOf(one) === textOf(other);

const textOf = (value: unknown): string => (value === undefined ? '' : canonicalText(value as Json));

/** `"read"`, `one of "a", "b"`, `1 to 4`, `matching [0-9]+`. */
export function limitsInWords({ equals, enum: listed, pattern, min, max, type, optional }: Limits): string {
  const parts = [
    ...(equals === undefined ? [] : [shown(equals)]),
    ...(listed === undefined
      ? []
      : [listed.length === 1 ? shown(listed[0]!) : `one of ${listed.map(shown).join(', ')}`]),
    ...(pattern === undefined ? [] : [`matching ${pattern}`]),
    ...(min === undefined && max === undefined ? [] : [rangeText(min, max)]),
  ];
  const words = parts.length > 0 ? parts.join(' and ') : type === 'boolean' ? 'true or false' : 'any value';
  return optional === true ? `${words}, or left out` : words;
}

const rangeText = (min: number | undefined, max: number | undefined) =>
  min === undefined ? `at most ${max}` : max === undefined ? `at least ${min}` : `${min} to ${max}`;

/** A value as people read it, cut between characters. */
export function shown(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > 200 ? `${[...text].slice(0, 200).join('')}…` : text;
}
