/**
 * The least and the longest that an input or a choice can be: what a provider is asked about before anybody
 * asks for it.
 */
import type { Json } from '../core/vocabulary.ts';
import type { Choice, Input } from './manifest.ts';
import { matchesWhole, type PatternProgram, type PatternStep, patternFault, patternProgram } from './pattern.ts';
import { unsafeText } from './unsafe-text.ts';

export interface Extremes {
  least: Json;
  longest: Json;
  /** Each other value that can be named: members of a list, the other truth, the other bound. */
  others: Json[];
}

/** No input and no chosen text is longer (unsafe-text.ts). */
const longestText = 256;

/** @returns null where nobody can tell: a pattern that no short program decides */
export function extremesOf(shape: Input | Choice): Extremes | null {
  if (shape.type === 'boolean') return { least: false, longest: false, others: [true] };
  if (shape.type === 'integer') {
    const max = shape.max ?? Math.max(shape.min ?? 0, Number.MAX_SAFE_INTEGER);
    const min = shape.min ?? Math.min(max, 0);
    return { least: min, longest: max, others: min === max ? [] : [max] };
  }
  if (shape.enum !== undefined) {
    const [least = '', ...others] = [...shape.enum].sort((a, b) => a.length - b.length);
    return { least, longest: others.at(-1) ?? least, others };
  }
  const texts = shape.pattern === undefined ? null : textsOfPattern(shape.pattern);
  return texts === null ? null : { ...texts, others: [] };
}

const patterns = new Map<string, { least: string; longest: string } | null>();

function textsOfPattern(pattern: string): { least: string; longest: string } | null {
  let found = patterns.get(pattern);
  if (found === undefined) {
    found = search(pattern);
    if (patterns.size >= 1024) patterns.clear();
    patterns.set(pattern, found);
  }
  return found;
}

function search(pattern: string): { least: string; longest: string } | null {
  const program = patternFault(pattern) === undefined ? patternProgram(pattern) : null;
  if (program === null) return null;
  const ways = walk(program);
  const fits = (text: string) => unsafeText(text) === undefined && matchesWhole(pattern, text);
  const lengths = ways.flatMap(({ ends }, length) => (length > 0 && ends !== null ? [length] : []));
  const textOf = (length: number) => textAlong(ways, length);
  const least = lengths.map(textOf).find(fits);
  const longest = lengths.reverse().map(textOf).find(fits);
  return least === undefined || longest === undefined ? null : { least, longest };
}

/** After so many characters: how each step was first reached, and the step that matches there, if any. */
interface Way {
  reached: Map<number, { from: number; char: string }>;
  ends: number | null;
}

function walk({ start, steps }: PatternProgram): Way[] {
  const ways: Way[] = [];
  let at = closure(steps, [start], 1);
  let reached: Way['reached'] = new Map();
  for (let length = 0; length <= longestText && at.size > 0; length += 1) {
    // The end of the text is an edge that only matching may lie behind.
    const ending = closure(steps, [...at.keys()], length === 0 ? 3 : 2);
    const end = [...ending.keys()].find((step) => steps[step]?.[0] === 'match');
    ways.push({ reached, ends: end === undefined ? null : (at.get(ending.get(end)!) ?? ending.get(end)!) });
    const next: Way['reached'] = new Map();
    for (const [step, root] of at) {
      const taken = steps[step];
      if (taken?.[0] !== 'take') continue;
      const char = plainest(taken.slice(2) as number[], length);
      if (char !== null && !next.has(taken[1])) next.set(taken[1], { from: root, char });
    }
    reached = next;
    at = closure(steps, [...next.keys()], 0);
  }
  return ways;
}

/** All steps that are reached without a character, each with the one of `from` it was reached from. */
function closure(steps: readonly PatternStep[], from: number[], edges: 0 | 1 | 2 | 3): Map<number, number> {
  const found = new Map<number, number>();
  for (const root of from) {
    const open = [root];
    for (let step = open.pop(); step !== undefined; step = open.pop()) {
      if (found.has(step)) continue;
      found.set(step, root);
      const [kind, ...to] = steps[step] ?? ['fail'];
      if (kind === 'both') open.push(to[1] as number, to[0] as number);
      else if (kind === 'go') open.push(to[0] as number);
      else if (kind === 'edge' && ((to[1] as number) & ~edges) === 0) open.push(to[0] as number);
    }
  }
  return found;
}

function textAlong(ways: readonly Way[], length: number): string {
  let text = '';
  let step = ways[length]?.ends ?? null;
  for (let at = length; at > 0 && step !== null; at -= 1) {
    const by: { from: number; char: string } | undefined = ways[at]?.reached.get(step);
    if (by === undefined) return '';
    text = by.char + text;
    step = by.from;
  }
  return text;
}

const preferred = [...'4abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012356789-_'];

/** A character of these ranges that no format has a meaning for, if there is one. */
function plainest(ranges: readonly number[], place: number): string | null {
  const has = (code: number) => {
    for (let at = 0; at < ranges.length; at += 2)
      if (code >= (ranges[at] as number) && code <= (ranges[at + 1] as number)) return true;
    return false;
  };
  const plain = preferred.find((char) => has(char.codePointAt(0)!));
  if (plain !== undefined) return plain;
  // Not the same twice where there is a choice: `..` and `//` are refused elsewhere.
  const first = ranges[(place * 2) % ranges.length];
  const other = first === undefined ? null : String.fromCodePoint(first);
  return other !== null && unsafeText(other === '.' ? 'a.' : other) === undefined ? other : null;
}
