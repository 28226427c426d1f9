/** Two texts as a unified diff, which `patch` takes. */

const context = 3;

type Line = { sign: ' ' | '-' | '+'; text: string };

/** Empty where the texts are the same. */
export function unifiedDiff(before: string, after: string, nameBefore: string, nameAfter: string): string[] {
  const lines = compared(linesOf(before), linesOf(after));
  if (lines.every(({ sign }) => sign === ' ')) return [];
  const near = lines.map((_, at) =>
    lines.slice(Math.max(0, at - context), at + context + 1).some(({ sign }) => sign !== ' '),
  );
  const out = [`--- ${nameBefore}`, `+++ ${nameAfter}`];
  let [from, to] = [1, 1];
  for (let at = 0; at < lines.length; ) {
    if (!near[at]) {
      from += 1;
      to += 1;
      at += 1;
      continue;
    }
    const end = near.indexOf(false, at) === -1 ? lines.length : near.indexOf(false, at);
    const hunk = lines.slice(at, end);
    const [removed, added] = [
      hunk.filter(({ sign }) => sign !== '+').length,
      hunk.filter(({ sign }) => sign !== '-').length,
    ];
    out.push(`@@ -${from},${removed} +${to},${added} @@`, ...hunk.map(({ sign, text }) => `${sign}${text}`));
    from += removed;
    to += added;
    at = end;
  }
  return out;
}

const linesOf = (text: string): string[] => text.replace(/\n$/, '').split('\n');

/** By the longest common subsequence; manifests are some hundred lines. */
function compared(before: readonly string[], after: readonly string[]): Line[] {
  const width = after.length + 1;
  const common = new Uint32Array((before.length + 1) * width);
  for (let a = before.length - 1; a >= 0; a -= 1)
    for (let b = after.length - 1; b >= 0; b -= 1)
      common[a * width + b] =
        before[a] === after[b]
          ? common[(a + 1) * width + b + 1]! + 1
          : Math.max(common[(a + 1) * width + b]!, common[a * width + b + 1]!);
  const lines: Line[] = [];
  let [a, b] = [0, 0];
  while (a < before.length || b < after.length) {
    if (a < before.length && b < after.length && before[a] === after[b]) {
      lines.push({ sign: ' ', text: before[a]! });
      a += 1;
      b += 1;
    } else if (b >= after.length || (a < before.length && common[(a + 1) * width + b]! >= common[a * width + b + 1]!)) {
      lines.push({ sign: '-', text: before[a]! });
      a += 1;
    } else {
      lines.push({ sign: '+', text: after[b]! });
      b += 1;
    }
  }
  return lines;
}
