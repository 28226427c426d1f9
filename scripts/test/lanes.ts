/**
 * Runs groups of test files in parallel lanes, the longest first, so that all lanes finish at about the same
 * time.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Outcome } from './test-file.ts';

const timesFile = join(import.meta.dirname, '../../node_modules/.cache/writ/test-seconds.json');

/** How the long ones begin, for a machine that has not run them yet. */
const longOnes = [
  'approvals/review.model',
  'sandbox/kill/',
  'broker/grants/',
  'sandbox/',
  'client/',
  'broker/console/',
  'approvals/',
];

type Seconds = { [file: string]: number };
/** In depth a file takes another time. */
const nameOf = (file: string): string => (process.env.TEST_DEPTH === 'all' ? `${file} in depth` : file);

const knownSeconds = async (): Promise<Seconds> => {
  try {
    return JSON.parse(await readFile(timesFile, 'utf8')) as Seconds;
  } catch {
    return {};
  }
};

/**
 * Orders groups of files that share a process by how long they took the last time; those that never ran here
 * stand where the path of their first suggests.
 */
export async function longestFirst(groups: string[][]): Promise<string[][]> {
  const seconds = await knownSeconds();
  const known = Object.fromEntries(
    groups
      .filter((files) => files.every((file) => seconds[nameOf(file)] !== undefined))
      .map((files) => [files[0]!, files.reduce((sum, file) => sum + seconds[nameOf(file)]!, 0)]),
  );
  const rank = (file: string) => {
    const at = longOnes.findIndex((beginning) => file.startsWith(beginning));
    return at < 0 ? longOnes.length : at;
  };
  return groups.toSorted(([a = ''], [b = '']) => {
    const [one, other] = [known[a], known[b]];
    if (one !== undefined && other !== undefined) return other - one;
    return rank(a) - rank(b) || a.localeCompare(b);
  });
}

/** Remembers how long each took, for the next run's order. */
export async function rememberSeconds(outcomes: Outcome[]): Promise<void> {
  const seconds = await knownSeconds();
  for (const { file, seconds: took } of outcomes) seconds[nameOf(file)] = Math.round(took * 10) / 10;
  await mkdir(dirname(timesFile), { recursive: true });
  await writeFile(timesFile, JSON.stringify(seconds));
}

/** @param run is called with each group, `lanes` at a time */
export async function runInLanes(
  groups: string[][],
  lanes: number,
  run: (files: string[]) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let at = next++; at < groups.length; at = next++) await run(groups[at]!);
  };
  await Promise.all(Array.from({ length: Math.min(lanes, groups.length) }, lane));
}
