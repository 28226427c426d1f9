/**
 * What the parameters of a request may be, for it to be approved ahead of time. Errs towards no: a parameter
 * that is not bound must not be there, one that is bound must, and what is of another type is outside. Pure.
 */
import canonicalize from 'canonicalize';
import { z } from 'zod';
import type { Json, JsonObject } from '../broker/core/vocabulary.ts';

// What JSON has is checked where a body is read.
const json = z.unknown().refine((value) => value !== undefined) as unknown as z.ZodType<Json>;
const scalar = z.union([z.string().max(1000), z.number(), z.boolean()]);

/** What parts a name into its levels: under `reports/2026/` is nothing of `reports/2026-old`. */
const delimiters = ['/', ':', '.', '-', '_'] as const;

export const BoundSchema = z
  .union([
    z.strictObject({ equals: json }),
    z.strictObject({ one_of: z.array(scalar).min(1).max(50) }),
    z
      .strictObject({ prefix: z.string().min(2).max(500), delimiter: z.enum(delimiters).default('/') })
      .refine(({ prefix, delimiter }) => prefix.endsWith(delimiter) && isPlainPath(prefix, delimiter), {
        message: 'must be a plain name that ends with its delimiter',
        path: ['prefix'],
      }),
    z
      .strictObject({ min: z.number(), max: z.number() })
      .refine(({ min, max }) => min <= max, { message: 'must not be below `min`', path: ['max'] }),
  ])
  .describe(
    '`equals`: this very value. `one_of`: one of these. `prefix`: a text under this name, which ends with `delimiter`. `min` and `max`: a number from one to the other.',
  );
export type Bound = z.output<typeof BoundSchema>;

export const BoundsSchema = z
  .record(z.string().min(1).max(63), BoundSchema)
  .refine((bounds) => Object.keys(bounds).length <= 32, 'has too many members');
export type Bounds = z.output<typeof BoundsSchema>;

/** This very request: what a form starts from. */
export const exactly = (params: JsonObject): Bounds =>
  Object.fromEntries(Object.entries(params).map(([name, value]) => [name, { equals: value }]));

/** Whether the parameters of a request, complete as they were bound, are within. */
export function isWithin(bounds: Bounds, params: JsonObject): boolean {
  const names = Object.keys(params);
  return (
    names.length === Object.keys(bounds).length &&
    names.every((name) => Object.hasOwn(bounds, name) && holds(bounds[name] as Bound, params[name] as Json))
  );
}

function holds(bound: Bound, value: Json): boolean {
  if ('equals' in bound) return same(bound.equals, value);
  if ('one_of' in bound) return bound.one_of.some((one) => one === value);
  if ('prefix' in bound) return typeof value === 'string' && isUnder(bound, value);
  return typeof value === 'number' && value >= bound.min && value <= bound.max;
}

const same = (one: Json, other: Json) => canonicalize(one) === canonicalize(other);

function isUnder({ prefix, delimiter }: { prefix: string; delimiter: string }, value: string): boolean {
  return value.length > prefix.length && value.startsWith(prefix) && isPlainPath(value, delimiter);
}

/**
 * Nothing that leads out of a name or stands for more than itself: no level is empty (but the last) or made
 * of dots, and there is no wildcard, escape, encoding or letter that looks like another.
 */
function isPlainPath(text: string, delimiter: string): boolean {
  if (!/^[A-Za-z0-9._@+=,:/ -]+$/.test(text)) return false;
  const levels = text.split(delimiter);
  if (levels.slice(0, -1).includes('')) return false;
  return delimiter === '.' || !text.split(/[/:]/).some((level) => /^\.+$/.test(level));
}
