/**
 * A margin of free space for the embedded database: PGlite on a full disk turns round and round, and what it
 * has half written may not be read again.
 */
import { statfsSync } from 'node:fs';

export interface Space {
  /** Free space below which nothing is written, in bytes. */
  margin: number;
  free(): number;
}

/** Nothing was written. */
export class DiskFull extends Error {
  readonly code = 'ENOSPC';
  override readonly name = 'DiskFull';
}

export function freeSpaceOf(folder: string): () => number {
  return () => {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  };
}

/** @throws DiskFull with words that say what to do */
export function assertSpace({ margin, free }: Space): void {
  const left = free();
  if (left >= margin) return;
  const mb = (bytes: number) => Math.floor(bytes / 1_048_576);
  throw new DiskFull(
    `the disk of the embedded database has ${mb(left)} MB free and Writ keeps ${mb(margin)} MB (WRIT_EMBEDDED_MIN_FREE_MB): nothing is written until there is more`,
  );
}

/** Whether a statement may write: all of ours spell these in capitals, and none of the others does. */
export const mayWrite = (text: string): boolean => /\b(INSERT|UPDATE|DELETE)\b/.test(text);
