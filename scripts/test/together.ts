/**
 * What a process runs that has several test files to run (test-file.ts): one after the other, each in a suite
 * named by it, in its own environment. The next begins when nothing of the last one is left in the process:
 * no server, socket, timer or child.
 */
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { type Together, togetherVariable } from './parts.ts';
import { over, tell } from './progress.ts';

/** Where the runner listens. */
const ours = new Set(['PipeWrap', 'TTYWrap']);

const { parts, graceSeconds } = JSON.parse(process.env[togetherVariable] ?? '{"parts":[]}') as Together;
delete process.env[togetherVariable];

// A test may wait for something that keeps no process alive, such as a signal's timeout.
const awake = setInterval(() => {}, 2 ** 30);
/** What files before left, and were told so. */
let known = ['Timeout'];

for (const { file, env } of parts) {
  Object.assign(process.env, env);
  const told = once(over, file);
  // What it does before its first test is not the silence after the last.
  tell({ kind: 'began', test: file });
  await suite(file, async () => {
    await import(pathToFileURL(file).href);
  });
  // The next one may end the process: by then it must be known what became of this one.
  await told;
  tell({ kind: 'ended', test: file });
  const stays = await whatStays();
  const left = beyond(stays, known);
  if (left.length > 0) tell({ kind: 'left', file, what: left });
  known = stays;
}
clearInterval(awake);

/** What keeps the process from ending, after it has had its time to go. */
async function whatStays(): Promise<string[]> {
  const until = performance.now() + graceSeconds * 1000;
  for (;;) {
    const left = [...process.getActiveResourcesInfo().filter((one) => !ours.has(one)), ...children()];
    if (beyond(left, known).length === 0 || performance.now() >= until) return left;
    await wait(10);
  }
}

/** What is in `all` more often than in `some`. */
function beyond(all: string[], some: string[]): string[] {
  const rest = [...some];
  return all.filter((one) => {
    const at = rest.indexOf(one);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
}

/** Processes of this process group; none where there is no /proc. */
function children(): string[] {
  const found: string[] = [];
  let pids: string[] = [];
  try {
    pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  } catch {
    return [];
  }
  for (const pid of pids) {
    try {
      const afterName = readFileSync(join('/proc', pid, 'stat'), 'utf8')
        .split(') ')
        .at(-1)!
        .split(' ');
      if (Number(afterName[2]) === process.pid && afterName[0] !== 'Z') found.push(`process ${pid}`);
    } catch {
      // It has gone.
    }
  }
  return found;
}
