/** Arguments as they are kept, and shown where their values are not. */
import canonicalize from 'canonicalize';
import { looksLikeToken } from '../core/looks-secret.ts';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import type { Digest } from './cells.ts';

/** Characters of a text that its preview shows. */
const previewed = 2;
/** Arguments that are shown one by one; a call with more is shown by its digest alone. */
const maxShown = 64;
/** Longer names are nobody's: a token that was sent in the wrong place, or what is to fill the record. */
const longestName = 128;

/**
 * Arguments as they are kept: of each its type, a keyed digest, and for texts the length and the first two
 * characters. Never the value.
 */
export function shownArguments(args: JsonObject, digest: Digest): JsonObject {
  const entries = Object.entries(args);
  if (entries.length > maxShown || entries.some(([name]) => name.length > longestName || looksLikeToken(name)))
    return { '*': { type: 'object', digest: digestOfValue(args, digest) } };
  return Object.fromEntries(entries.map(([name, value]) => [name, shownValue(value, digest)]));
}

export interface ShownValue {
  type: string;
  digest: string;
  length?: number;
  begins?: string;
}

export function shownValue(value: Json, digest: Digest): ShownValue & JsonObject {
  const type = value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value;
  const size =
    typeof value === 'string' ? { length: value.length, begins: [...value].slice(0, previewed).join('') } : {};
  return { type, digest: digestOfValue(value, digest), ...size };
}

const digestOfValue = (value: Json, digest: Digest) => digest(canonicalize(value) ?? 'null');
