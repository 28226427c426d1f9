/**
 * Runs groups of test files in parallel lanes, the longest first, so that all lanes finish at about the same
 * time.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Outcome } from './test-file.ts';

const timesFile = join(import.meta.dirname, '../../node_modules/.cache/writ/test-seconds.json');

/** Where the long ones are, for a machine that has not run them yet. */
const longFolders = ['sandbox/kill', 'broker/grants', 'sandbox', 'client', 'broker/console', 'approvals'];

type Seconds = { [file: string]: number };

const knownSeconds = async (): Promise<Seconds> => {
  try {
    return JSON.parse(await readFile(timesFile, 'utf8')) as Seconds;
  } catch {
    return {};
  }
};

/**
 * Orders groups of files that share a process by how long they took the last time; those that never ran here
 * stand where the folder of their first suggests.
 */
export async function longestFirst(groups: string[][]): Promise<string[][]> {
  const seconds = await knownSeconds();
  const known = Object.fromEntries(
    groups
      .filter((files) => files.every((file) => seconds[file] !== undefined))
      .map((files) => [files[0]!, files.reduce((sum, file) => sum + seconds[file]!, 0)]),
  );
  const rank = (file: string) => {
    const at = longFolders.findIndex((folder) => dirname(file).startsWith(folder));
    return at < 0 ? longFolders.length : at;
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
  for (const { file, seconds: took } of outcomes) seconds[file] = Math.round(took * 10) / 10;
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
