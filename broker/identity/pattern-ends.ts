/**
 * What every text that a pattern matches begins with, and ends with. A binding that must pin an owner is held
 * to this proof: probes with made-up names would only show that these names do not fit.
 *
 * Reads the part of RE2's syntax that can be proven about; of anything else it says nothing.
 */

/** Stands for one character, whichever: dots of domain names are rarely escaped. */
export const anyCharacter = '\0';

/** A beginning or an end that some of the matched texts have. It may have `anyCharacter`s. */
export interface TextEnd {
  text: string;
  /** These texts have nothing besides. */
  whole: boolean;
}

export interface TextEnds {
  /** Each matched text begins with one of these; null = nothing is known. */
  starts: TextEnd[] | null;
  /** Each matched text ends with one of these; null = nothing is known. */
  finishes: TextEnd[] | null;
}

type Part = { kind: 'text'; text: string } | { kind: 'any' } | { kind: 'one_of'; choices: Item[][] };
interface Item {
  part: Part;
  /** Stands there once, or (`some`) once or more, or (`any`) as often as it likes. */
  times: 'once' | 'some' | 'any';
}

const mostEnds = 256;
const nothing: TextEnds = { starts: null, finishes: null };

/** The texts themselves. */
export function literalEnds(texts: readonly string[]): TextEnds {
  const ends = texts.map((text) => ({ text, whole: true }));
  return { starts: ends, finishes: ends };
}

/** @param pattern an RE2 expression that is matched against the whole text */
export function patternEnds(pattern: string): TextEnds {
  const reader = { pattern, at: 0 };
  const choices = readChoices(reader);
  if (choices === null || reader.at < pattern.length) return nothing;
  return { starts: endsOf(choices, 'start'), finishes: endsOf(choices, 'finish') };
}

interface Reader {
  pattern: string;
  at: number;
}

/** `a|b|c` up to a closing parenthesis. Null for what is not understood. */
function readChoices(reader: Reader): Item[][] | null {
  const choices: Item[][] = [[]];
  while (reader.at < reader.pattern.length && reader.pattern[reader.at] !== ')') {
    if (reader.pattern[reader.at] === '|') {
      reader.at += 1;
      choices.push([]);
      continue;
    }
    const part = readPart(reader);
    if (part === null) return null;
    choices.at(-1)!.push({ part, times: readTimes(reader) });
  }
  return choices;
}

function readPart(reader: Reader): Part | null {
  const rest = reader.pattern.slice(reader.at);
  const take = (length: number, part: Part): Part => {
    reader.at += length;
    return part;
  };
  if (rest.startsWith('(')) {
    // Flags change what the rest means.
    const opening = /^\((\?:|\?P?<\w+>|(?!\?))/.exec(rest);
    if (opening === null) return null;
    reader.at += opening[0].length;
    const choices = readChoices(reader);
    if (choices === null || reader.pattern[reader.at] !== ')') return null;
    return take(1, { kind: 'one_of', choices });
  }
  const single = /^\[([^\\^\][])\]/.exec(rest);
  if (single !== null) return take(3, { kind: 'text', text: single[1]! });
  if (rest.startsWith('[')) {
    const list = /^\[\^?\]?(\\.|\[:\^?\w+:\]|[^\]\\])*\]/s.exec(rest);
    return list === null ? null : take(list[0].length, { kind: 'any' });
  }
  if (rest.startsWith('\\')) {
    if (/^\\[dDwWsS]/.test(rest)) return take(2, { kind: 'any' });
    if (/^\\[AzbB]/.test(rest)) return take(2, { kind: 'text', text: '' });
    // Escapes with a meaning of their own, `\Q…\E` among them.
    if (/^\\([\p{L}\p{N}]|$)/u.test(rest)) return null;
    const char = String.fromCodePoint(rest.codePointAt(1)!);
    return take(1 + char.length, { kind: 'text', text: char });
  }
  if (rest.startsWith('.')) return take(1, { kind: 'text', text: anyCharacter });
  if (rest.startsWith('^') || rest.startsWith('$')) return take(1, { kind: 'text', text: '' });
  if (/^[*+?]/.test(rest)) return null;
  const char = String.fromCodePoint(rest.codePointAt(0)!);
  return take(char.length, { kind: 'text', text: char });
}

function readTimes(reader: Reader): Item['times'] {
  const found = /^([*+?]|\{(\d+)(,\d*)?\})\??/.exec(reader.pattern.slice(reader.at));
  if (found === null) return 'once';
  reader.at += found[0].length;
  if (found[0] === '{1}') return 'once';
  return found[1] === '+' || Number(found[2] ?? 0) > 0 ? 'some' : 'any';
}

function endsOf(choices: Item[][], side: 'start' | 'finish'): TextEnd[] | null {
  const all: TextEnd[] = [];
  for (const choice of choices) {
    let ends: TextEnd[] = [{ text: '', whole: true }];
    for (const { part, times } of side === 'start' ? choice : choice.toReversed()) {
      const own = times === 'any' ? [{ text: '', whole: false }] : endsOfPart(part, side);
      if (own === null) return null;
      const next = times === 'some' ? own.map((end) => ({ ...end, whole: false })) : own;
      ends = ends.flatMap((end) => {
        if (!end.whole) return [end];
        return next.map(({ text, whole }) => ({ text: side === 'start' ? end.text + text : text + end.text, whole }));
      });
      if (ends.length > mostEnds) return null;
    }
    all.push(...ends);
    if (all.length > mostEnds) return null;
  }
  return all;
}

function endsOfPart(part: Part, side: 'start' | 'finish'): TextEnd[] | null {
  if (part.kind === 'one_of') return endsOf(part.choices, side);
  return [part.kind === 'any' ? { text: '', whole: false } : { text: part.text, whole: true }];
}
