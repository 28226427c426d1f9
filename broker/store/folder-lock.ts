/**
 * One process per embedded database: PGlite does not notice a second one, and two would ruin the files.
 *
 * The lock is a file that says who holds it: where (machine start and process-id namespace, so that two
 * containers are two places though each calls itself process 1), which process, and when that process started
 * (ids are used again). In one place this tells at once whether the holder lives. A holder in another place,
 * on a volume that is shared, cannot be asked: it writes a count into the file every two seconds, and is
 * taken for dead when the file has not changed for ten.
 */
import { hash, randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { systemClock } from '../core/clock.ts';
import type { Clock } from '../core/vocabulary.ts';

const tickMs = 2_000;
const silentMs = 5 * tickMs;

interface Holder {
  place: string;
  host: string;
  pid: number;
  /** In the kernel's ticks since the machine's start; null where there is no /proc. */
  started: string | null;
  nonce: string;
}

/**
 * @param clock for waiting, see above
 * @returns how to give the folder back
 * @throws Error when a living process has it
 */
export async function lockFolder(folder: string, clock: Clock = systemClock): Promise<() => Promise<void>> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = `${folder}.lock`;
  const me: Holder = {
    place: await place(),
    host: hostname(),
    pid: process.pid,
    started: await startOf(process.pid),
    nonce: randomUUID(),
  };
  const mine = JSON.stringify(me);
  for (let attempt = 0; attempt < 10; attempt += 1) {
    if (await create(file, mine)) return hold(file, mine);
    const held = await content(file);
    if (held === null) continue;
    if (await lives(file, held, me, clock)) {
      const who = readHolder(held);
      const by = who === null ? 'another process' : `process ${who.pid} on ${who.host}`;
      throw new Error(
        `the embedded database in ${folder} is in use by ${by}; set DATABASE_URL to run several processes`,
      );
    }
    if (await takeOver(file, held, mine)) return hold(file, mine);
  }
  throw new Error(`the lock ${file} cannot be had`);
}

/**
 * Replaces the lock of a dead holder, and only of that holder. Of several processes that see the same dead
 * holder, one can create the claim; a later one finds that the lock has another holder.
 */
async function takeOver(file: string, dead: string, mine: string): Promise<boolean> {
  const claim = `${file}.${hash('sha256', dead, 'hex').slice(0, 16)}`;
  if (!(await create(claim, mine)))
    throw new Error(
      `another process is starting on ${file}; if none is, delete ${claim}, which one that died left behind`,
    );
  if ((await content(file)) === dead) {
    await rename(claim, file);
    return true;
  }
  await rm(claim, { force: true });
  return false;
}

/** Shows now and then that the holder lives. */
async function hold(file: string, mine: string): Promise<() => Promise<void>> {
  const handle = await open(file, 'r+');
  let beat = 0;
  const timer = setInterval(() => {
    beat += 1;
    show(handle, mine, beat).catch(() => {});
  }, tickMs);
  // The lock alone is no reason for a process to go on.
  timer.unref();
  return async () => {
    clearInterval(timer);
    await handle.close();
    if ((await content(file))?.startsWith(mine) === true) await rm(file, { force: true });
  };
}

/** Into the file that was opened, whatever has its name now. */
async function show(handle: FileHandle, mine: string, beat: number): Promise<void> {
  await handle.write(`\n${beat}`, Buffer.byteLength(mine));
}

async function lives(file: string, held: string, me: Holder, clock: Clock): Promise<boolean> {
  const holder = readHolder(held);
  if (holder !== null && holder.place === me.place) {
    if (holder.started !== null) return (await startOf(holder.pid)) === holder.started;
    return holder.pid !== me.pid && isRunning(holder.pid);
  }
  // Elsewhere, or still being written.
  await clock.sleep(silentMs);
  return (await content(file)) !== held;
}

function readHolder(held: string): Holder | null {
  try {
    const read: unknown = JSON.parse(held.split('\n')[0] ?? '');
    return typeof read === 'object' && read !== null && 'place' in read && 'pid' in read ? (read as Holder) : null;
  } catch {
    return null;
  }
}

/**
 * Where process ids mean the same: a start of the machine and a process-id namespace; without /proc, the
 * host's name.
 */
async function place(): Promise<string> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    return `${boot.trim()} ${await readlink('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

/**
 * Field 22 of /proc/PID/stat (proc_pid_stat(5)); the command's name before it may hold spaces and
 * parentheses.
 */
async function startOf(pid: number): Promise<string | null> {
  const stat = await content(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function create(file: string, text: string): Promise<boolean> {
  try {
    await writeFile(file, text, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** null when there is no such file. */
async function content(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}
