/** The words of what a tool returned, as far as origins are asked for. Pure. */
import type { Json } from '../core/vocabulary.ts';
import { valuesAt } from '../manifests/call-arguments.ts';
import type { Tool } from '../manifests/tool-schema.ts';
import { maxWords, wordsOf, wordsOfValue } from './origin.ts';
import type { Outcome } from './outcome.ts';

/** What came back, as the host reports it. */
export interface Returned {
  /** As text; null = the host does not send it. */
  output: string | null;
  /** Whether `output` is only its beginning. */
  truncated: boolean;
  /** The same as JSON, where the host has it. */
  structured: Json;
}

/** The words of what came back, and those among them that stand in fields that the manifest trusts. */
export function returnedWords(
  { output, structured, truncated }: Returned,
  tool: Tool | undefined,
): Pick<Outcome, 'words' | 'moreWords' | 'vouchedWords'> {
  const vouched = (tool?.trusted_fields ?? []).flatMap((path) => valuesAt(structured, path).flatMap(textsIn));
  const parts = [output ?? '', textsIn(structured).join(' ')].map((text) => wordsOf(text));
  return {
    words: [...new Set(parts.flatMap(({ words }) => words))],
    moreWords: truncated || parts.some(({ more }) => more),
    vouchedWords: [...new Set(vouched.flatMap(wordsOfValue))].slice(0, maxWords),
  };
}

/** Every value in it, and the names of members: they may be as foreign as what they name. */
function textsIn(value: Json): string[] {
  if (value === null) return [];
  if (Array.isArray(value)) return value.flatMap(textsIn);
  if (typeof value !== 'object') return [String(value)];
  return Object.entries(value).flatMap(([name, below]) => [name, ...textsIn(below)]);
}
