/**
 * Texts that patterns take, as finite automata: what a manifest's RE2 patterns and a provider's wildcards
 * have in common, with a text that both take. Exact for the syntax that manifests use; of other syntax it
 * takes too much, never too little, and says so.
 */

/** Inclusive ranges of code points. */
type CharSet = readonly (readonly [from: number, to: number])[];
const any: CharSet = [[0, 0x10_ffff]];

/** A language: its automaton from `start` to `end`. States are numbers; `null` takes no character. */
export interface Language {
  edges: { from: number; to: number; on: CharSet | null; hole: string | null }[];
  states: number;
  start: number;
  end: number;
  /** Whether it takes exactly what it stands for. */
  exact: boolean;
}

const single = (on: CharSet, hole: string | null = null): Language => ({
  edges: [{ from: 0, to: 1, on, hole }],
  states: 2,
  start: 0,
  end: 1,
  exact: true,
});
const empty: Language = { edges: [], states: 1, start: 0, end: 0, exact: true };

function shifted({ edges, states, start, end, exact }: Language, by: number): Language {
  return {
    edges: edges.map((edge) => ({ ...edge, from: edge.from + by, to: edge.to + by })),
    states,
    start: start + by,
    end: end + by,
    exact,
  };
}

export function sequence(parts: readonly Language[]): Language {
  return parts.reduce((all, part) => {
    const next = shifted(part, all.states);
    const joint = { from: all.end, to: next.start, on: null, hole: null };
    return {
      edges: [...all.edges, ...next.edges, joint],
      states: all.states + part.states,
      start: all.start,
      end: next.end,
      exact: all.exact && part.exact,
    };
  }, empty);
}

export function oneOfThese(parts: readonly Language[]): Language {
  let states = 2;
  const edges: Language['edges'] = [];
  for (const part of parts) {
    const next = shifted(part, states);
    states += part.states;
    edges.push(
      ...next.edges,
      { from: 0, to: next.start, on: null, hole: null },
      { from: next.end, to: 1, on: null, hole: null },
    );
  }
  return { edges, states, start: 0, end: 1, exact: parts.every(({ exact }) => exact) };
}

function repeated(part: Language, min: number, max: number | null): Language {
  if (max === null) {
    const loop = shifted(part, 2);
    const free = (from: number, to: number) => ({ from, to, on: null, hole: null });
    const star: Language = {
      edges: [...loop.edges, free(0, loop.start), free(loop.end, loop.start), free(loop.end, 1), free(0, 1)],
      states: part.states + 2,
      start: 0,
      end: 1,
      exact: part.exact,
    };
    return sequence([...Array.from({ length: min }, () => part), star]);
  }
  const optional = oneOfThese([part, empty]);
  return sequence([...Array.from({ length: min }, () => part), ...Array.from({ length: max - min }, () => optional)]);
}

/** One text and no other. */
export const only = (text: string): Language =>
  sequence([...text].map((char) => single([[char.codePointAt(0)!, char.codePointAt(0)!]])));

export const anything: Language = repeated(single(any), 0, null);

/** `*` and `?` as wildcards; `\` takes the next character for itself. */
export function wildcards(pattern: string): Language {
  const parts: Language[] = [];
  const chars = [...pattern];
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at]!;
    if (char === '\\' && at + 1 < chars.length) parts.push(only(chars[++at]!));
    else parts.push(char === '*' ? anything : char === '?' ? single(any) : only(char));
  }
  return sequence(parts);
}

/** The same, without regard to case (of ASCII letters). */
export const caseless = (language: Language): Language => ({
  ...language,
  edges: language.edges.map((edge) => ({ ...edge, on: edge.on === null ? null : bothCases(edge.on) })),
});

const bothCases = (set: CharSet): CharSet => [
  ...set,
  ...overlap(set, [[0x41, 0x5a]]).map(([from, to]) => [from + 32, to + 32] as const),
  ...overlap(set, [[0x61, 0x7a]]).map(([from, to]) => [from - 32, to - 32] as const),
];

/** Without these characters; every one that is left is part of the hole, whose text `common` gives. */
export const asHole = (language: Language, hole: string, without: string): Language => {
  const kept = complement([...without].map((char) => [char.codePointAt(0)!, char.codePointAt(0)!] as const));
  const edges = language.edges.map((edge) => (edge.on === null ? edge : { ...edge, on: overlap(edge.on, kept), hole }));
  return { ...language, edges };
};

/** States in a product, at most; beyond them nobody waits for an answer. */
const maxPairs = 200_000;

/**
 * A text that both take, with what of it is in which hole of `a`; null where there is none.
 * @throws RangeError where it would take too long to find out
 */
export function common(a: Language, b: Language): { text: string; holes: Map<string, string> } | null {
  const [from, to] = [edgesFrom(a), edgesFrom(b)];
  const key = (left: number, right: number) => left * b.states + right;
  const cameBy = new Map<number, { key: number; char: string; hole: string | null } | null>([
    [key(a.start, b.start), null],
  ]);
  const queue: [number, number][] = [[a.start, b.start]];
  for (let at = 0; at < queue.length; at += 1) {
    const [left, right] = queue[at]!;
    const here = key(left, right);
    if (left === a.end && right === b.end) return textOf(here);
    if (cameBy.size > maxPairs) throw new RangeError('the patterns are too large to compare');
    const visit = (nextLeft: number, nextRight: number, char: string, hole: string | null) => {
      const next = key(nextLeft, nextRight);
      if (cameBy.has(next)) return;
      cameBy.set(next, { key: here, char, hole });
      queue.push([nextLeft, nextRight]);
    };
    for (const edge of from.get(left) ?? []) if (edge.on === null) visit(edge.to, right, '', null);
    for (const edge of to.get(right) ?? []) if (edge.on === null) visit(left, edge.to, '', null);
    for (const one of from.get(left) ?? [])
      for (const other of to.get(right) ?? []) {
        if (one.on === null || other.on === null) continue;
        const char = readable(overlap(one.on, other.on));
        if (char !== null) visit(one.to, other.to, char, one.hole);
      }
  }
  return null;

  function textOf(end: number): { text: string; holes: Map<string, string> } {
    let text = '';
    const holes = new Map<string, string>();
    for (let step = cameBy.get(end) ?? null; step !== null; step = cameBy.get(step.key) ?? null) {
      text = step.char + text;
      if (step.hole !== null) holes.set(step.hole, step.char + (holes.get(step.hole) ?? ''));
    }
    return { text, holes };
  }
}

function edgesFrom({ edges }: Language): Map<number, Language['edges']> {
  const from = new Map<number, Language['edges']>();
  for (const edge of edges) {
    const list = from.get(edge.from) ?? [];
    from.set(edge.from, list);
    list.push(edge);
  }
  return from;
}

function overlap(a: CharSet, b: CharSet): CharSet {
  return a.flatMap(([from, to]) =>
    b.flatMap(([start, end]) =>
      Math.max(from, start) <= Math.min(to, end) ? [[Math.max(from, start), Math.min(to, end)] as const] : [],
    ),
  );
}

/** A character of the set, one that people can read where there is one. */
function readable(set: CharSet): string | null {
  for (const wanted of ['a', '0', 'z', 'A', '-', '_', '.', '/']) {
    const code = wanted.codePointAt(0)!;
    if (set.some(([from, to]) => from <= code && code <= to)) return wanted;
  }
  const [plain] = [...overlap(set, [[0x21, 0x7e]]), ...overlap(set, [[0x20, 0xd7ff]]), ...set];
  return plain === undefined ? null : String.fromCodePoint(plain[0]);
}

function complement(set: CharSet): CharSet {
  const out: [number, number][] = [];
  let next = 0;
  for (const [from, to] of set.toSorted(([a], [b]) => a - b)) {
    if (from > next) out.push([next, from - 1]);
    next = Math.max(next, to + 1);
  }
  if (next <= 0x10_ffff) out.push([next, 0x10_ffff]);
  return out;
}

const classes: { [name: string]: CharSet } = {
  d: [[0x30, 0x39]],
  w: [
    [0x30, 0x39],
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ],
  s: [
    [0x09, 0x0a],
    [0x0c, 0x0d],
    [0x20, 0x20],
  ],
};
const controls: { [name: string]: string } = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v' };

/** An RE2 pattern, matched as a whole. Of syntax that is not known here it takes anything, inexactly. */
export function languageOf(pattern: string): Language {
  try {
    // Anchors at both ends say what is so anyway.
    const bare = pattern.includes('|') ? pattern : pattern.replace(/^\^/, '').replace(/(?<!\\)\$$/, '');
    const reader = { chars: [...bare], at: 0 };
    const language = alternatives(reader);
    if (reader.at < reader.chars.length) throw new SyntaxError('more than a pattern');
    return language;
  } catch {
    return { ...anything, exact: false };
  }
}

interface Reader {
  chars: string[];
  at: number;
}
const unknown = (what: string): never => {
  throw new SyntaxError(`not known here: ${what}`);
};

function alternatives(reader: Reader): Language {
  const branches = [branch(reader)];
  while (reader.chars[reader.at] === '|') {
    reader.at += 1;
    branches.push(branch(reader));
  }
  return branches.length === 1 ? branches[0]! : oneOfThese(branches);
}

function branch(reader: Reader): Language {
  const parts: Language[] = [];
  while (reader.at < reader.chars.length && !'|)'.includes(reader.chars[reader.at]!)) parts.push(quantified(reader));
  return sequence(parts);
}

function quantified(reader: Reader): Language {
  let part = atom(reader);
  for (;;) {
    const char = reader.chars[reader.at];
    const rest = reader.chars.slice(reader.at, reader.at + 16).join('');
    const counted = /^\{(\d+)(?:(,)(\d*))?\}/.exec(rest);
    if (char === '*' || char === '+' || char === '?') {
      reader.at += 1;
      part = repeated(part, char === '+' ? 1 : 0, char === '?' ? 1 : null);
    } else if (counted !== null) {
      reader.at += counted[0].length;
      const min = Number(counted[1]);
      const max = counted[2] === undefined ? min : counted[3] === '' ? null : Number(counted[3]);
      if (Math.max(min, max ?? 0) * part.states > 20_000) unknown('so many repetitions');
      part = repeated(part, min, max);
    } else return part;
    // Lazy or not: the same texts match as a whole.
    if (reader.chars[reader.at] === '?') reader.at += 1;
  }
}

function atom(reader: Reader): Language {
  const char = reader.chars[reader.at++]!;
  if (char === '(') {
    if (reader.chars[reader.at] === '?') {
      if (reader.chars[reader.at + 1] !== ':') unknown('flags and names of groups');
      reader.at += 2;
    }
    const inner = alternatives(reader);
    if (reader.chars[reader.at++] !== ')') unknown('a group without an end');
    return inner;
  }
  if (char === '[') return single(charClass(reader));
  if (char === '.') return single(complement([[0x0a, 0x0a]]));
  if (char === '\\') return single(escaped(reader));
  if ('^$*+?{'.includes(char)) return unknown(char);
  return only(char);
}

function escaped(reader: Reader): CharSet {
  const char = reader.chars[reader.at++] ?? unknown('a backslash at the end');
  const lower = char.toLowerCase();
  if (Object.hasOwn(classes, lower)) return char === lower ? classes[lower]! : complement(classes[lower]!);
  if (Object.hasOwn(controls, char)) return [[controls[char]!.codePointAt(0)!, controls[char]!.codePointAt(0)!]];
  if (/[\p{L}\p{N}]/u.test(char)) return unknown(`\\${char}`);
  return [[char.codePointAt(0)!, char.codePointAt(0)!]];
}

function charClass(reader: Reader): CharSet {
  const negated = reader.chars[reader.at] === '^';
  if (negated) reader.at += 1;
  const set: (readonly [number, number])[] = [];
  for (let first = true; first || reader.chars[reader.at] !== ']'; first = false) {
    if (reader.at >= reader.chars.length) unknown('a class without an end');
    if (reader.chars[reader.at] === '[' && reader.chars[reader.at + 1] === ':') unknown('named classes');
    const from = classAtom(reader);
    const [start, more] = from;
    const dash =
      reader.chars[reader.at] === '-' &&
      reader.chars[reader.at + 1] !== ']' &&
      more === undefined &&
      start![0] === start![1];
    if (!dash) {
      set.push(...from);
      continue;
    }
    reader.at += 1;
    const [to] = classAtom(reader);
    if (to![0] !== to![1] || to![0] < start![0]) unknown('a range');
    set.push([start![0], to![0]]);
  }
  reader.at += 1;
  return negated ? complement(set) : set;
}

function classAtom(reader: Reader): CharSet {
  const char = reader.chars[reader.at++] ?? unknown('a class without an end');
  if (char === '\\') return escaped(reader);
  return [[char.codePointAt(0)!, char.codePointAt(0)!]];
}
