/**
 * What the record keeps of a request that came to nothing. The caller's names and values may be a secret sent
 * in the wrong place: only names of the manifest are kept as they are.
 */
import type { FieldFault } from '../core/errors.ts';
import { unknownName as digestOf } from '../core/looks-secret.ts';

/** A known name; any other as its digest. */
export function knownName(names: { readonly [name: string]: unknown }, asked: string): string {
  return Object.hasOwn(names, asked) ? asked : digestOf(asked);
}

/**
 * Faults without the caller's own text, in paths and in messages.
 * @param sent what the caller sent
 * @param known names that may stand as they are
 */
export function recordableFaults(
  faults: readonly FieldFault[],
  sent: unknown,
  known: { readonly [name: string]: unknown },
): FieldFault[] {
  // The longest first: one text may contain another.
  const foreign = textsOf(sent)
    .filter((text) => text.length >= shortest && !Object.hasOwn(known, text))
    .toSorted((a, b) => b.length - a.length);
  const clean = (text: string) => foreign.reduce((kept, one) => kept.replaceAll(one, digestOf(one)), text);
  return faults
    .slice(0, mostFaults)
    .map((fault) => ({ ...fault, path: clean(fault.path), message: clean(fault.message) }));
}

/** No secret is so short, and a message with all its short words replaced says nothing. */
const shortest = 8;
const mostFaults = 20;

/** Names and texts of a JSON value, wherever they are in it. Its depth was bounded when the body was read. */
function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) =>
    Array.isArray(value) ? textsOf(member) : [name, ...textsOf(member)],
  );
}
