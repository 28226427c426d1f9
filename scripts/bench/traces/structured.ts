/**
 * What a host has as JSON and a recording has as text. Recordings keep results as YAML, as Python prints it
 * or as JSON, some within the marks of a recorded agent's own defence, and only their first characters.
 */
import { parse } from 'yaml';
import type { Json } from '../../../broker/core/vocabulary.ts';

/** @returns null for plain text, and for what cannot be read: of that, nothing is trusted */
export function structuredOf(output: string): Json {
  const text = output.replace(/^<<|>>$/g, '').replaceAll('\t', '  ');
  // A line that begins at the margin begins a member, or an item: what was cut off is in the last one.
  const last = [...text.matchAll(/\n(?=\S)/g)].at(-1)?.index ?? 0;
  for (const whole of [text, text.slice(0, last)]) {
    try {
      const value = parse(whole, { logLevel: 'error' }) as Json;
      return typeof value === 'object' ? value : null;
    } catch {}
  }
  return null;
}
