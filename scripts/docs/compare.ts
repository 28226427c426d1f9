/** Generated files against those on disk. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** @returns one line for each file that differs, is missing, or is nobody's */
export async function differences(folder: string, wanted: ReadonlyMap<string, string>): Promise<string[]> {
  const there = await filesIn(folder);
  const left = there.filter((name) => !wanted.has(name)).map((name) => `${name}: is not generated any more`);
  const changed = await Promise.all(
    [...wanted].map(async ([name, text]) => {
      if (!there.includes(name)) return [`${name}: is missing`];
      const found = await readFile(join(folder, name), 'utf8');
      return found === text ? [] : [`${name}:${firstDifference(found, text)}: differs from what the code says`];
    }),
  );
  return [...changed.flat(), ...left];
}

/** Writes what is wanted, and removes what is left of earlier runs. */
export async function writeFiles(folder: string, wanted: ReadonlyMap<string, string>): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of await filesIn(folder)) if (!wanted.has(name)) await rm(join(folder, name));
  for (const [name, text] of wanted) await writeFile(join(folder, name), text);
}

async function filesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).sort();
}

function firstDifference(found: string, wanted: string): number {
  const [a, b] = [found.split('\n'), wanted.split('\n')];
  const at = a.findIndex((line, index) => line !== b[index]);
  return at === -1 ? a.length + 1 : at + 1;
}
