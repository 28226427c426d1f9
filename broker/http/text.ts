/**
 * What text from outside may contain. PostgreSQL cannot store U+0000, and nobody should read invisible
 * control characters in a log or on a page.
 */
import { z } from 'zod';
import type { FieldFault } from '../core/errors.ts';

/**
 * C0, DEL, C1, line and paragraph separators, bidirectional overrides and isolates (they make a page read
 * other than it is), interlinear marks.
 */
const control = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]/u;
/** Fast path: nearly all text is of this form. */
const plain = /^[\x20-\x7e]*$/;
const controlButLines = /(?![\t\n\r])[\p{Cc}\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]/u;

/** One line of text without control characters. */
export const line = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((text) => text.isWellFormed() && !control.test(text), 'must not contain control characters');

/** Text that may have line breaks and tabs. */
export const prose = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => text.isWellFormed() && !controlButLines.test(text), 'must not contain control characters');

/** Dollars, as hosts report them; counted in millionths. */
export const usd = z.number().min(0).max(1_000_000);
export const microUsd = (dollars: number): number => Math.round(dollars * 1e6);

/** An id of ours in a path. Anything else cannot exist. */
export const idOf = (prefix: 'ses' | 'gnt' | 'lse' | 'act' | 'mpr' | 'lck' | 'pap' | 'bgl') =>
  z.string().regex(new RegExp(`^${prefix}_[0-9a-z]{20}$`));

/**
 * A whole number in a query string. Digits only: `Number` would also accept `0x10`, `1e1` and an empty text.
 */
export const inDigits = <T extends z.ZodType>(schema: T) =>
  z.preprocess((text) => (typeof text === 'string' && /^\d{1,10}$/.test(text) ? Number(text) : text), schema);

/** PostgreSQL's largest integer, so no version or sequence number is above it. */
export const maxInteger = 2_147_483_647;
/** Where a list goes on, and how many of it. */
export const page = z.strictObject({
  after: inDigits(z.int().min(0).max(maxInteger).default(0)),
  limit: inDigits(z.int().min(1).max(500).default(500)),
});
export const next = z.string().nullable().describe('There is more: `after` of the next page. Null on the last one.');

/** Deepest nesting of a body; far more than any request of ours has. */
const maxDepth = 12;

/**
 * Faults of a JSON value, wherever they are in it: control characters, lone surrogates, numbers so
 * large that another reader may read another one (RFC 8259 section 6; 2^53 + 1 is read as 2^53), too deep.
 */
export function textFaults(value: unknown, path = '', depth = 0): FieldFault[] {
  if (depth > maxDepth) return [{ path, message: 'is nested too deeply' }];
  if (typeof value === 'string') {
    return plain.test(value) || (value.isWellFormed() && !controlButLines.test(value))
      ? []
      : [{ path, message: 'must not contain control characters' }];
  }
  if (typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER)
    return [{ path, message: 'is too large a number: send it as text' }];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    if (!key.isWellFormed() || control.test(key))
      return [{ path, message: 'has a member name with control characters' }];
    // Schemas of free-form members would drop it silently; refuse what is not used.
    if (key === '__proto__') return [{ path: path === '' ? key : `${path}.${key}`, message: 'is not known here' }];
    const at = Array.isArray(value) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`;
    return textFaults(item, at, depth + 1);
  });
}

/** `authorization_details[0].inputs.x` from zod's path. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

/** zod's issues as ours: every unknown member is named at its own path. */
export function zodFaults(issues: readonly z.core.$ZodIssue[], root = ''): FieldFault[] {
  const join = (path: readonly PropertyKey[]) => {
    const own = pathText(path);
    return root === '' ? own : own === '' ? root : own.startsWith('[') ? `${root}${own}` : `${root}.${own}`;
  };
  return issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        path: join([...issue.path, key.isWellFormed() ? key.slice(0, 64) : '?']),
        message: 'is not known here',
      }));
    }
    return [{ path: join(issue.path), message: issue.message }];
  });
}
