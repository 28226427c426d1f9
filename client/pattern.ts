/**
 * Matches a text against a pattern that the broker compiled: RE2's own instructions, all threads at once, so
 * that no pattern and no text takes longer than the one times the other
 * (https://swtch.com/~rsc/regexp/regexp2.html).
 */
export interface PatternProgram {
  start: number;
  /**
   * `fail`, `match`; `both` goes on at two steps, `go` at one, `edge` where the text begins (1), ends (2) or
   * both (3); `take` takes a code point of one of the ranges that follow.
   */
  steps: readonly (readonly [string, ...number[]])[];
}

/** Steps times characters that are worth a local check; beyond it the call is asked for. */
const mostWork = 65_536;

/** Whether the whole text matches; false too where that takes too long, or the program is not understood. */
export function matchesProgram({ start, steps }: PatternProgram, text: string): boolean {
  // A half of a surrogate pair is a character to some readers, and none to others.
  if (steps.length * (text.length + 1) > mostWork || /\p{Surrogate}/u.test(text)) return false;
  const points = Array.from(text, (character) => character.codePointAt(0)!);
  let threads = new Set<number>();
  const add = (first: number, into: Set<number>, edges: number) => {
    const waiting = [first];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      if (into.has(at)) continue;
      into.add(at);
      const [op, out, arg] = steps[at] ?? ['fail'];
      if (op === 'both') waiting.push(out!, arg!);
      else if (op === 'go') waiting.push(out!);
      else if (op === 'edge' && (arg! & ~edges) === 0) waiting.push(out!);
    }
  };
  const edgesAt = (index: number) => (index === 0 ? 1 : 0) | (index === points.length ? 2 : 0);
  add(start, threads, edgesAt(0));
  for (const [index, point] of points.entries()) {
    const next = new Set<number>();
    for (const at of threads) {
      const step = steps[at];
      if (step?.[0] === 'take' && isTaken(step, point)) add(step[1]!, next, edgesAt(index + 1));
    }
    threads = next;
  }
  return [...threads].some((at) => steps[at]?.[0] === 'match');
}

function isTaken(step: readonly [string, ...number[]], point: number): boolean {
  for (let at = 2; at + 1 < step.length; at += 2)
    if (point >= (step[at] as number) && point <= (step[at + 1] as number)) return true;
  return false;
}
