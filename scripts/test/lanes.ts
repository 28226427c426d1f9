/**
 * Runs test files in parallel lanes, the longest first, so that all lanes finish at about the same time.
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
 * Orders files by how long they took the last time; those that never ran here stand where their folder
 * suggests.
 */
export async function longestFirst(files: string[]): Promise<string[]> {
  const known = await knownSeconds();
  const rank = (file: string) => {
    const at = longFolders.findIndex((folder) => dirname(file).startsWith(folder));
    return at < 0 ? longFolders.length : at;
  };
  return files.toSorted((a, b) => {
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

/** @param run is called with each file and its number, `lanes` at a time */
export async function runInLanes(
  files: string[],
  lanes: number,
  run: (file: string, number: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let at = next++; at < files.length; at = next++) await run(files[at]!, at);
  };
  await Promise.all(Array.from({ length: Math.min(lanes, files.length) }, lane));
}
