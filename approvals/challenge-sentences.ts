/**
 * The sentences of an approval challenge: one that the request's plan says, among others that it does not.
 * Pure: the same seed gives the same sentences in the same order.
 */
import { createHash } from 'node:crypto';
import { duration } from '../broker/console/text.ts';

/** How many stand beside the one that is the plan's. */
const decoys = 3;

export interface Sentences {
  /** The one of the plan. */
  own: string;
  /** All of them, in the order in which they are shown. */
  shown: string[];
}

/** What the plan says, as far as it can be asked for. */
export const sentencesOf = (lines: readonly string[], ttlSeconds: number): string[] => [...lines, lifetime(ttlSeconds)];

const lifetime = (seconds: number) => `It lives for ${duration(seconds)}`;

/**
 * Of the plan a sentence that others do not have, where there is one. Decoys are what plans of other requests
 * say; where those are too few, the sentence itself with other values; where it has none, lifetimes.
 * @param lines what the plan says
 * @param others what plans of other requests say
 */
export function challengeSentences(
  { lines, ttlSeconds }: { lines: readonly string[]; ttlSeconds: number },
  others: readonly (readonly string[])[],
  seed: Uint8Array,
): Sentences {
  const draw = generator(seed);
  const said = new Set(sentencesOf(lines, ttlSeconds).map(likeness));
  const foreign = others.flat();
  const elsewhere = new Set(foreign.map(likeness));
  const special = lines.filter((line) => !elsewhere.has(likeness(line)));
  const own = pick(special.length > 0 ? special : lines, draw);
  const isDecoy = (line: string) => !said.has(likeness(line));
  if (own !== undefined) {
    const real = shuffled(different(foreign.filter(isDecoy)), draw).slice(0, decoys);
    const altered = different([...real, ...alterations(own, draw).filter(isDecoy)]).slice(0, decoys);
    if (altered.length === decoys) return { own, shown: shuffled([own, ...altered], draw) };
  }
  const lifetimes = [60, 300, 600, 900, 1800, 3600, 7200].map(lifetime).filter(isDecoy);
  const last = lifetime(ttlSeconds);
  return { own: last, shown: shuffled([last, ...shuffled(different(lifetimes), draw).slice(0, decoys)], draw) };
}

/** Two that a reader takes for one are one. */
const likeness = (line: string) => line.normalize('NFKC').replace(/\s+/gu, ' ').trim().toLowerCase();

/** Each once, where it comes first. */
const different = (lines: readonly string[]): string[] =>
  [...Map.groupBy(lines, likeness).values()].map(([first]) => first as string);

/** What is done, and what else could be done with the same. */
const verbs = ['read', 'write', 'delete', 'list', 'create', 'change', 'add', 'send', 'receive'];

/** The same sentence with another number, or another verb. */
function alterations(line: string, draw: Draw): string[] {
  const numbers = [...line.matchAll(/\d+/g)];
  const renumbered = Array.from({ length: numbers.length === 0 ? 0 : 8 }, () => {
    const { 0: text, index } = numbers[draw(numbers.length)] as RegExpExecArray;
    const at = draw(text.length);
    // Never a zero, which would stand out in front, and never the digit that stands there.
    const digit = ((Number(text[at]) + draw(8)) % 9) + 1;
    const changed = text.slice(0, at) + digit + text.slice(at + 1);
    return line.slice(0, index) + changed + line.slice(index + text.length);
  });
  const spoken = verbs.filter((verb) => new RegExp(`\\b${verb}\\b`, 'i').test(line));
  const reworded = spoken.flatMap((verb) =>
    shuffled(
      verbs.filter((other) => !spoken.includes(other)),
      draw,
    ).map((other) => line.replace(new RegExp(`\\b${verb}\\b`, 'i'), (was) => inCaseOf(was, other))),
  );
  return [...renumbered, ...reworded].filter((changed) => changed !== line);
}

const inCaseOf = (was: string, word: string) =>
  /^\p{Lu}/u.test(was) ? `${word.charAt(0).toUpperCase()}${word.slice(1)}` : word;

/** A whole number from 0 up to, and without, `bound`; each as likely. */
export type Draw = (bound: number) => number;

export function generator(seed: Uint8Array): Draw {
  let block = Buffer.alloc(0);
  let [at, count] = [0, 0];
  const word = () => {
    if (at + 4 > block.length) {
      count += 1;
      block = createHash('sha256').update(seed).update(String(count)).digest();
      at = 0;
    }
    at += 4;
    return block.readUInt32BE(at - 4);
  };
  return (bound) => {
    const whole = 2 ** 32 - (2 ** 32 % bound);
    for (;;) {
      const drawn = word();
      if (drawn < whole) return drawn % bound;
    }
  };
}

const pick = <T>(all: readonly T[], draw: Draw): T | undefined =>
  all.length === 0 ? undefined : all[draw(all.length)];

/** Fisher and Yates. */
function shuffled<T>(all: readonly T[], draw: Draw): T[] {
  const order = [...all];
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = draw(last + 1);
    [order[last], order[other]] = [order[other] as T, order[last] as T];
  }
  return order;
}
