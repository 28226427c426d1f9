import { glob } from 'node:fs/promises';

/** Where tests are, next to what they test. */
const folders = ['approvals', 'broker', 'client', 'providers', 'sandbox', 'scripts'];

/** @param patterns of files; none = all. @throws Error for one that fits no file */
export async function findTestFiles(patterns: string[]): Promise<Set<string>> {
  const found = new Set<string>();
  for (const pattern of patterns.length > 0 ? patterns : folders.map((folder) => `${folder}/**/*.test.ts`)) {
    const before = found.size;
    for await (const file of glob(pattern)) if (!file.includes('node_modules/')) found.add(file);
    if (found.size === before) throw new Error(`${pattern}: no such test file`);
  }
  return found;
}
