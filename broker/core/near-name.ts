/** Which of the known names somebody meant who wrote another. */

/**
 * @param most edits; default a third of what was written
 * @returns the one that is fewest edits away (one letter added, left out, replaced, or two swapped); null
 *   when none is near
 */
export function nearName(
  written: string,
  known: Iterable<string>,
  most = Math.max(1, Math.floor(written.length / 3)),
): string | null {
  let best: string | null = null;
  let fewest = most + 1;
  for (const name of known) {
    if (Math.abs(name.length - written.length) >= fewest) continue;
    const edits = editDistance(written.toLowerCase(), name.toLowerCase());
    if (edits < fewest) [best, fewest] = [name, edits];
  }
  return best;
}

/** Optimal string alignment: Levenshtein’s edits, and the swap of two neighbours. */
function editDistance(a: string, b: string): number {
  let older: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        last[j]! + 1,
        row[j - 1]! + 1,
        last[j - 1]! + (same ? 0 : 1),
        swapped ? older[j - 2]! + 1 : Number.POSITIVE_INFINITY,
      );
    }
    [older, last] = [last, row];
  }
  return last[b.length]!;
}
