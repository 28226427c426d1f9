import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { manualClock } from '../core/clock.ts';
import { lockFolder } from './folder-lock.ts';

let root: string;
let folder: string;
let file: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'writ-lock-'));
  folder = join(root, 'database');
  file = `${folder}.lock`;
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A process that takes the lock, says so and lives on; or ends when it is refused. */
function spawnHolder() {
  const source = JSON.stringify(new URL('./folder-lock.ts', import.meta.url).href);
  const script = `const { lockFolder } = await import(${source});
    await lockFolder(process.argv[1]); console.log('held'); setInterval(() => {}, 1000);`;
  const options = ['--input-type=module', '-e', script, folder];
  return spawn(process.execPath, options, { stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Killed, it leaves the lock behind. */
async function otherProcess() {
  const child = spawnHolder();
  await once(child.stdout, 'data');
  return {
    kill: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

/** A clock on which every sleep is over at once. */
function hurrying() {
  const clock = manualClock(new Date('2026-01-01T00:00:00Z'));
  const sleeps: number[] = [];
  const sleep = (ms: number) => {
    sleeps.push(ms);
    return Promise.resolve();
  };
  return { clock: { ...clock, sleep }, sleeps };
}

test('one at a time, this process included; given back, it can be had again', async () => {
  const unlock = await lockFolder(folder);
  await assert.rejects(lockFolder(folder), /in use by process/);
  await unlock();
  await (await lockFolder(folder))();
  assert.deepEqual(await readdir(root), ['database']);
});

test('a living process is not robbed, a killed one is, at once', async () => {
  const other = await otherProcess();
  await assert.rejects(lockFolder(folder), /in use by process/);
  await other.kill();
  const { clock, sleeps } = hurrying();
  const unlock = await lockFolder(folder, clock);
  assert.deepEqual(sleeps, [], 'nothing to wait for: the process is known to be gone');
  await unlock();
});

test('a process id that was given to another process since is no sign of life', async () => {
  const unlock = await lockFolder(folder);
  const held = JSON.parse(await readFile(file, 'utf8'));
  await unlock();
  // The kill was followed by a start that got the same id: in a container every broker is process 1.
  await writeFile(file, JSON.stringify({ ...held, started: '1' }));
  await (await lockFolder(folder))();
});

test('of many that find the same dead holder, exactly one gets the folder', async () => {
  for (let round = 0; round < 5; round += 1) {
    const other = await otherProcess();
    await other.kill();
    const starters = await Promise.allSettled(Array.from({ length: 20 }, () => lockFolder(folder)));
    const won = starters.filter((starter) => starter.status === 'fulfilled');
    assert.equal(won.length, 1);
    for (const starter of starters)
      if (starter.status === 'rejected') assert.match(String(starter.reason), /in use by|another process is starting/);
    await won[0]?.value();
    assert.deepEqual(await readdir(root), ['database']);
  }
});

test('so it is among processes', async () => {
  await (await otherProcess()).kill();
  const starters = Array.from({ length: 4 }, () => spawnHolder());
  // Each lives on holding the folder, or ends with the refusal.
  const outcomes = await Promise.all(
    starters.map((child) =>
      Promise.race([once(child.stdout, 'data').then(() => 'held'), once(child, 'exit').then(() => 'refused')]),
    ),
  );
  for (const child of starters) child.kill('SIGKILL');
  assert.deepEqual(outcomes.toSorted(), ['held', 'refused', 'refused', 'refused']);
});

test('a holder in another container is not robbed while it shows life, and is when it does not', async () => {
  const unlock = await lockFolder(folder);
  const held = JSON.parse(await readFile(file, 'utf8'));
  await unlock();
  // The same process id and even the same start: but of another place.
  const elsewhere = JSON.stringify({ ...held, place: 'another container' });
  await writeFile(file, elsewhere);
  const { clock, sleeps } = hurrying();
  let beat = 0;
  const beating = async (ms: number) => {
    await clock.sleep(ms);
    beat += 1;
    await writeFile(file, `${elsewhere}\n${beat}`);
  };
  await assert.rejects(lockFolder(folder, { ...clock, sleep: beating }), /in use by process/);
  await (await lockFolder(folder, clock))();
  assert.deepEqual(sleeps, [10_000, 10_000]);
});

test('the holder does show life', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const unlock = await lockFolder(folder);
  const before = await readFile(file, 'utf8');
  t.mock.timers.tick(2_000);
  for (let n = 0; n < 1000 && (await readFile(file, 'utf8')) === before; n += 1) await new Promise(setImmediate);
  assert.equal(await readFile(file, 'utf8'), `${before}\n1`);
  await unlock();
  assert.deepEqual(await readdir(root), ['database']);
});

test('a lock that its holder had not finished writing, or of an older version, is taken after the wait', async () => {
  for (const text of ['', '4711', '{"place":']) {
    await writeFile(file, text);
    await (await lockFolder(folder, hurrying().clock))();
  }
});
