/**
 * Where test files keep their temporary folders: in memory where the system has such a place. What tests make
 * most there are databases, whose thousands of small files cost a disk more than all that is done with them.
 */
import { constants } from 'node:fs';
import { access, readFile, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';

/** Linux: shared memory. Containers often get 64 MB of it, which is too little. */
const inMemory = '/dev/shm';
const neededBytes = 2 * 1024 ** 3;

/** @returns a folder that can be written to, holds a run of the suite, and whose files may be executed */
export async function temporaryPlace(): Promise<string> {
  // Whoever says where has a reason.
  if (process.env.TMPDIR !== undefined) return tmpdir();
  try {
    await access(inMemory, constants.W_OK);
    const { bavail, bsize } = await statfs(inMemory);
    const mount = (await readFile('/proc/mounts', 'utf8')).split('\n').find((line) => line.split(' ')[1] === inMemory);
    const options = mount?.split(' ')[3]?.split(',') ?? ['noexec'];
    return bavail * bsize >= neededBytes && !options.includes('noexec') ? inMemory : tmpdir();
  } catch {
    return tmpdir();
  }
}
