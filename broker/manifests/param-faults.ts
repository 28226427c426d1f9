/** What a provider's schema has against a request's parameters, with paths as in every other fault. */
import type { z } from 'zod';
import type { FieldFault } from '../core/errors.ts';
import { fieldWords } from '../core/field-words.ts';
import { type Path, pathText } from './parse.ts';

export type ReadParams = { ok: true; params: unknown } | { ok: false; faults: FieldFault[] };

/** @returns what alone goes into a plan, or each fault: `params.buckets[0].bucket` */
export function readParams(schema: z.ZodType, asked: unknown): ReadParams {
  const near = new Map<string, string | null>();
  const parsed = schema.safeParse(asked, { error: (issue) => fieldWords(issue, near) });
  if (parsed.success) return { ok: true, params: parsed.data };
  const faults = parsed.error.issues.flatMap((issue) => {
    const path = ['params', ...(issue.path as Path)];
    if (issue.code !== 'unrecognized_keys') return [{ path: pathText(path), message: issue.message }];
    return issue.keys.map((key) => {
      const meant = near.get(key) ?? null;
      const instead = meant === null ? '' : `; did you mean ${meant}?`;
      return { path: pathText([...path, key]), message: `${issue.message}${instead}` };
    });
  });
  return { ok: false, faults };
}

/** The place of a provider's own fault, whose keys and indexes are joined by dots, in the same form. */
export const paramPath = (path: string | undefined): string =>
  pathText(['params', ...(path === undefined ? [] : partsOf(path))]);

export const partsOf = (path: string): (string | number)[] =>
  path.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part));
