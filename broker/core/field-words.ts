/** What a schema (zod) says against a value, in the words that every fault of ours is told in. */
import type { z } from 'zod';
import { nearName } from './near-name.ts';

type RawIssue = z.core.$ZodRawIssue;

/**
 * For `safeParse(value, { error: fieldWords })`. A schema's own message goes before it. Stands after the
 * field's name: `tier: must be one of 1, 2, 3`.
 * @param near is filled with the known field that is nearest to each unknown one
 */
export function fieldWords(issue: RawIssue, near?: Map<string, string | null>): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined
        ? 'is required'
        : `must be ${kindOf(String(issue.expected))}, not ${kindOfValue(issue.input)}`;
    case 'invalid_value':
      return oneOf((issue.values as unknown[]).map(String), issue.input);
    case 'too_small':
    case 'too_big':
      return bound(issue);
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`;
    case 'invalid_format':
      return issue.pattern === undefined ? `must be a well-formed ${issue.format}` : `must match ${issue.pattern}`;
    case 'unrecognized_keys':
      // One of several forms may know a near name where the next knows none.
      for (const key of issue.keys as string[])
        near?.set(key, nearName(key, fieldsOf(issue.inst)) ?? near.get(key) ?? null);
      return 'is not a known field';
    case 'invalid_key':
      return `is not a legal name${issue.issues?.[0] === undefined ? '' : `: ${issue.issues[0].message}`}`;
    case 'invalid_union':
      return union(issue);
    default:
      return 'is not valid';
  }
}

/** `; did you mean "x"?`, or nothing. */
export function didYouMean(written: unknown, known: Iterable<string>): string {
  const near = typeof written === 'string' ? nearName(written, known) : null;
  return near === null ? '' : `; did you mean ${near}?`;
}

/** Names of the fields that a schema knows. */
function fieldsOf(schema: unknown): string[] {
  const shape = (schema as { _zod?: { def?: { shape?: object } } } | undefined)?._zod?.def?.shape;
  return Object.keys(shape ?? {});
}

function oneOf(values: string[], written: unknown): string {
  if (written === undefined) return 'is required';
  const shown = values.length > 20 ? `${values.slice(0, 20).join(', ')} …` : values.join(', ');
  return `must be ${values.length === 1 ? '' : 'one of '}${shown}${values.length === 1 ? '' : didYouMean(written, values)}`;
}

function bound(issue: Extract<RawIssue, { code: 'too_small' | 'too_big' }>): string {
  const least = issue.code === 'too_small';
  const limit = Number(least ? issue.minimum : issue.maximum);
  const things = { string: 'characters', array: 'entries', set: 'entries', object: 'entries', map: 'entries' }[
    String(issue.origin)
  ];
  if (things === undefined) {
    if (issue.inclusive === false) return `must be ${least ? 'more' : 'less'} than ${limit}`;
    return `must not be ${least ? 'less' : 'more'} than ${limit}`;
  }
  if (least && limit === 1) return 'must not be empty';
  return `must have at ${least ? 'least' : 'most'} ${limit} ${things}`;
}

function union(issue: Extract<RawIssue, { code: 'invalid_union' }>): string {
  const { options, errors, discriminator } = issue as {
    options?: unknown[];
    errors?: unknown[][];
    discriminator?: string;
  };
  if (options !== undefined && discriminator !== undefined)
    return oneOf(options.map(String), (issue.input as { [name: string]: unknown } | undefined)?.[discriminator]);
  if (issue.input === undefined) return 'is required';
  // What each form asks of the value as a whole; faults within it belong to one of the forms alone.
  const wholes = (errors ?? []).map((branch) => (branch as { path: unknown[]; message: string }[])[0]);
  const words = wholes.filter((one) => one !== undefined && one.path.length === 0).map((one) => one!.message);
  if (words.length !== wholes.length || words.length === 0) return 'has none of the forms that it may have';
  return words.map((word, at) => (at === 0 ? word : word.replace(/^must be /, ''))).join(', or ');
}

const kinds: { [expected: string]: string } = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  record: 'an object (names with values)',
  object: 'an object (names with values)',
  null: 'nothing',
};
const kindOf = (expected: string): string => kinds[expected] ?? `a ${expected}`;

function kindOfValue(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'object') return 'an object';
  return typeof value === 'number' ? `the number ${value}` : 'a text';
}
