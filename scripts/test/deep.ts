/**
 * Which files `npm test` leaves to `npm run test:deep`: those whose head says `@deep`. A file that runs in
 * both, and further there, reads TEST_DEPTH.
 */
import { readFile } from 'node:fs/promises';

export async function saysDeep(file: string): Promise<boolean> {
  return /^ \* @deep$/m.test((await readFile(file, 'utf8')).slice(0, 2000));
}
