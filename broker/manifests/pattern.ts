/**
 * Patterns of manifests: RE2, so that no pattern and no value can make the broker spin; always matched
 * against the whole value.
 */
import { RE2JS } from 're2js';

/** Compiled patterns, bounded: manifests are few, but they change for as long as the process lives. */
const maxCompiled = 1024;
const compiled = new Map<string, RE2JS>();

function compile(pattern: string, flags = 0): RE2JS {
  const key = `${flags} ${pattern}`;
  let found = compiled.get(key);
  if (found === undefined) {
    found = RE2JS.compile(pattern, flags);
    if (compiled.size >= maxCompiled) compiled.clear();
    compiled.set(key, found);
  }
  return found;
}

/** Why the pattern does not compile, or undefined when it does. */
export function patternFault(pattern: string): string | undefined {
  try {
    compile(pattern);
    return undefined;
  } catch {
    return 'must be a pattern in RE2 syntax (no look-around, no back-references)';
  }
}

/**
 * True when the whole of `value` matches, as if written `^(?:pattern)$`.
 * @param dot `lines too`: `.` takes line ends as well, so that `sudo .*` holds for a command of two lines
 */
export function matchesWhole(pattern: string, value: string, dot?: 'lines too'): boolean {
  return compile(pattern, dot === undefined ? 0 : RE2JS.DOTALL).matches(value);
}

/**
 * A compiled pattern, for whoever matches without this engine: the instructions of RE2's own machine, which a
 * few lines run in linear time (https://swtch.com/~rsc/regexp/regexp2.html). Code points, both ends included.
 */
export interface PatternProgram {
  start: number;
  steps: PatternStep[];
}
export type PatternStep =
  | ['fail']
  | ['match']
  | ['both', number, number]
  | ['go', number]
  /** Goes on at the beginning (1), or the end (2), of the text; 3 = where both are. */
  | ['edge', number, number]
  /** Takes a code point of one of the ranges that follow. */
  | ['take', number, ...number[]];

/** Steps of a program that is handed out. */
const maxSteps = 512;
const lastCodePoint = 0x10ffff;
const lineEnd = 0x0a;

interface Instruction {
  op: number;
  out: number;
  arg: number;
  runes: Int32Array;
}

/** @returns null where it needs more than these steps say: word boundaries, lines, letters of any case */
export function patternProgram(pattern: string): PatternProgram | null {
  const { prog } = compile(pattern).re2Input as { prog: { start: number; inst: readonly Instruction[] } };
  if (prog.inst.length > maxSteps) return null;
  const steps = prog.inst.map(stepOf);
  return steps.includes(null) ? null : { start: prog.start, steps: steps as PatternStep[] };
}

/** The numbers are re2js's (its class `Inst`); one that is not known has no step. */
function stepOf({ op, out, arg, runes }: Instruction): PatternStep | null {
  switch (op) {
    case 1:
    case 2:
      return ['both', out, arg];
    case 3:
    case 7:
      return ['go', out];
    case 4:
      // 4 and 8: the beginning and the end of the text.
      return (arg & ~12) === 0 ? ['edge', out, arg >> 2] : null;
    case 5:
      return ['fail'];
    case 6:
      return ['match'];
    case 8:
      if (runes.length === 1) return (arg & 1) === 0 ? ['take', out, runes[0]!, runes[0]!] : null;
      return runes.length % 2 === 0 ? ['take', out, ...runes] : null;
    case 9:
      return ['take', out, runes[0]!, runes[0]!];
    case 10:
      return ['take', out, 0, lastCodePoint];
    case 11:
      return ['take', out, 0, lineEnd - 1, lineEnd + 1, lastCodePoint];
    default:
      return null;
  }
}
