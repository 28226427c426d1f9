/** Reads what people wrote in a file by its schema: every fault with the path at which a reader looks. */
import type { z } from 'zod';
import { fieldWords } from './field-words.ts';

export type ShapePath = readonly (string | number)[];
export interface ShapeFault {
  path: ShapePath;
  message: string;
}
export type Shaped<Value> = { ok: true; value: Value } | { ok: false; faults: ShapeFault[] };

/** @param plain the file's content as plain data */
export function readShape<Value>(plain: unknown, schema: z.ZodType<Value>): Shaped<Value> {
  const near = new Map<string, string | null>();
  const parsed = schema.safeParse(plain, { error: (issue) => fieldWords(issue, near) });
  if (parsed.success) return { ok: true, value: parsed.data };
  const faults = parsed.error.issues.flatMap((issue) => faultsOf(issue, plain, near));
  // A field under a name that is nearly right is one fault, and not a missing field besides.
  const meant = new Set(
    parsed.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => JSON.stringify([...issue.path, near.get(key) ?? '']))
        : [],
    ),
  );
  return {
    ok: false,
    faults: faults.filter(({ path, message }) => message !== 'is required' || !meant.has(JSON.stringify(path))),
  };
}

function faultsOf(issue: z.core.$ZodIssue, plain: unknown, near: ReadonlyMap<string, string | null>): ShapeFault[] {
  const path = issue.path as ShapePath;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const meant = near.get(key) ?? null;
      return {
        path: [...path, key],
        message: `is not a known field${meant === null ? '' : `; did you mean ${meant}?`}`,
      };
    });
  }
  if (issue.code === 'invalid_key') return [{ path, message: issue.issues[0]?.message ?? 'is not a legal name' }];
  return [{ path, message: isThere(plain, path) ? issue.message : 'is required' }];
}

function isThere(plain: unknown, path: ShapePath): boolean {
  let value = plain;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return false;
    value = (value as { [step: string | number]: unknown })[step];
  }
  return true;
}
