/**
 * Runs test files in a process group of their own, each with a temporary folder of its own: one, or several
 * that have the process to share (groups.ts). However it ends, by itself, by failing, cut by the watchdog or
 * interrupted, the group is killed and the folders removed, so that nothing outlives it. No limit is set to
 * how long a test may take: a slow machine is not a fault.
 */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Together, togetherVariable } from './parts.ts';
import type { Counts, Progress } from './progress.ts';
import { childrenOf, reportFlags, waitingFor } from './waiting-for.ts';

export interface Outcome {
  file: string;
  seconds: number;
  cpuSeconds: number;
  counts: Counts;
  skipped: { test: string; why: string }[];
  failed: { test: string; why: string }[];
  /** What the file and node's `spec` reporter printed. */
  output: string;
  /** What is wrong besides failing tests: cut, left something behind, ended early. */
  faults: string[];
}

/** A file, and what its environment has of its own. */
export interface Part {
  file: string;
  env: Record<string, string>;
}

export interface FileOptions {
  /** More than one share the process, one after the other. */
  parts: Part[];
  /** An empty folder for their temporary files. */
  folder: string;
  env: NodeJS.ProcessEnv;
  /** More flags for node, such as `--test-name-pattern=…`. */
  flags: string[];
  /** Prints the output as it comes, too. */
  live: boolean;
  /** How long nothing may begin or end before the file is cut, in minutes. */
  silenceMinutes: number;
  /**
   * How long processes that were told to go may take, in seconds, before they count as left behind, and the
   * file itself when its tests are over.
   */
  graceSeconds: number;
  /** Interrupts it. */
  signal: AbortSignal;
  /** Something worth telling while it runs. */
  say(line: string): void;
}

/** Minutes without output after which the running test is reported. */
const noticeMinutes = 2;

/**
 * @returns an outcome for each part, in order; `null` for one that never began, because the process had ended
 */
export async function runTestFiles(options: FileOptions): Promise<(Outcome | null)[]> {
  const { parts, folder } = options;
  const temporaries = parts.map((_, at) => join(folder, `tmp${at}`));
  for (const temporary of temporaries) await mkdir(temporary, { recursive: true });
  const own = parts.map(({ file, env }, at) => ({ file, env: { ...env, TMPDIR: temporaries[at]! } }));
  const together = parts.length > 1;
  const outcomes = parts.map(({ file }) => newOutcome(file));
  let began = performance.now();
  /** Which of them is under way. */
  let at = 0;
  let outcome = outcomes[0]!;
  const running: string[] = [];
  let output = '';
  let heard = performance.now();
  let noticed = false;
  let waitsFor: string | null = null;
  let summed = false;
  let someEnded = false;

  const orders = JSON.stringify({ parts: own, graceSeconds: options.graceSeconds / 2 } satisfies Together);
  const child = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      ...(!together && (await calculatesLong(parts[0]!.file)) ? [] : ['--liftoff-only']),
      `--import=${join(import.meta.dirname, 'test-scopes.ts')}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      `--test-reporter=${join(import.meta.dirname, 'progress.ts')}`,
      '--test-reporter-destination=stderr',
      ...reportFlags(folder),
      ...options.flags,
      together ? join(import.meta.dirname, 'together.ts') : parts[0]!.file,
    ],
    {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...options.env, ...own[0]!.env, ...(together ? { [togetherVariable]: orders } : {}) },
    },
  );
  const group = child.pid;
  if (group === undefined) throw new Error(`${parts[0]!.file}: no process could be started`);
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
  });

  child.on('message', (progress: Progress) => {
    if (progress.kind === 'waiting') {
      waitsFor = progress.what;
      return;
    }
    heard = performance.now();
    noticed = false;
    waitsFor = null;
    if (progress.kind === 'began') running.push(progress.test);
    if (progress.kind === 'ended') {
      someEnded = true;
      running.splice(running.lastIndexOf(progress.test), 1);
    }
    if (progress.kind === 'skipped') outcome.skipped.push({ test: progress.test, why: progress.why });
    if (progress.kind === 'failed') outcome.failed.push({ test: progress.test, why: progress.why });
    if (progress.kind === 'over') {
      const { counts, cpuSeconds, error } = progress;
      Object.assign(outcome, { counts, cpuSeconds, seconds: (performance.now() - began) / 1000 });
      if (error !== null && counts.failed + counts.cancelled === 0)
        outcome.faults.push(`failed outside of its tests: ${error}`);
      else if (counts.tests === 0) outcome.faults.push('has no test');
      began = performance.now();
      at += 1;
      // The last one goes on until the process has ended.
      outcome = outcomes[at] ?? outcome;
    }
    if (progress.kind === 'left') {
      const its = outcomes.find(({ file }) => file === progress.file);
      its?.faults.push(`left in the process: ${progress.what.join(', ')}`);
    }
    if (progress.kind === 'summary') {
      summed = true;
      if (together) return;
      outcome.counts = progress.counts;
      outcome.cpuSeconds = progress.cpuSeconds;
    }
  });
  for (const [stream, to] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ] as const) {
    stream!.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (options.live) to.write(text);
    });
  }

  let cutting = false;
  const cut = async (why: string) => {
    if (cutting) return;
    cutting = true;
    const waits = await waitingFor(group, folder, () => output);
    if (waitsFor !== null) waits.unshift(`waits until ${waitsFor}`);
    outcome.faults.push(
      [`${why}; under way: ${running.length === 0 ? 'no test' : running.join(' › ')}`, ...waits].join('\n      '),
    );
    killGroup(group);
  };
  let lingering = false;
  /** Its children first: without them it exits by itself, and says what has failed. */
  const endLingering = async () => {
    lingering = true;
    const waits = await waitingFor(group, folder, () => output);
    outcome.faults.push([`did not exit within ${options.graceSeconds} s of its last test`, ...waits].join('\n      '));
    for (const { pid } of await childrenOf(group)) killProcess(pid);
    const over = await Promise.race([ended, wait(options.graceSeconds * 1000, null, { ref: false })]);
    if (over !== null) return;
    cutting = true;
    killGroup(group);
  };
  const interrupted = () => void cut('interrupted');
  options.signal.addEventListener('abort', interrupted);
  const watchdog = setInterval(() => {
    const minutes = (performance.now() - heard) / 60_000;
    if (minutes >= options.silenceMinutes)
      void cut(`cut: nothing began or ended for ${options.silenceMinutes} minutes`);
    else if (!lingering && someEnded && running.length === 0 && minutes * 60 >= options.graceSeconds)
      void endLingering();
    else if (minutes >= noticeMinutes && !noticed) {
      noticed = true;
      options.say(`… ${outcome.file}: ${running.join(' › ')} has been under way for ${noticeMinutes} minutes`);
    }
  }, 1000);

  const { code, signal } = await ended;
  clearInterval(watchdog);
  options.signal.removeEventListener('abort', interrupted);
  if (at < parts.length) outcome.seconds = (performance.now() - began) / 1000;
  for (const one of outcomes) one.output = output;
  const { counts, faults } = outcome;
  if (!cutting) {
    const failed = outcomes.some((one) => one.faults.length + one.counts.failed + one.counts.cancelled > 0);
    if (!summed || (together && at < parts.length))
      faults.push(`has no test, or ended before its tests did (${signal ?? `exit code ${code}`})`);
    else if (code !== 0 && (together ? !failed : counts.failed + counts.cancelled === 0))
      faults.push(`failed outside of its tests (${code})`);
    if (!(await groupEnds(group, options.graceSeconds))) faults.push('left processes behind');
    for (const [number, temporary] of temporaries.entries()) {
      const left = await readdir(temporary);
      if (left.length > 0)
        outcomes[number]!.faults.push(`left in its temporary folder: ${left.slice(0, 5).join(', ')}`);
    }
  }
  killGroup(group);
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  return outcomes.map((one, number) => (number > at ? null : one));
}

const newOutcome = (file: string): Outcome => ({
  file,
  seconds: 0,
  cpuSeconds: 0,
  counts: { tests: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 },
  skipped: [],
  failed: [],
  output: '',
  faults: [],
});

/**
 * A file ends before optimised WebAssembly has paid for its making: without it the suite takes a sixth less
 * CPU time. One that asks Cedar thousands of times in one process says so in its head, by this word.
 */
export const calculatesLong = async (file: string): Promise<boolean> =>
  (await readFile(file, 'utf8')).slice(0, 2000).includes('@long-calculation');

/** Whether every process that the file started has exited; allows a moment for those that were signalled. */
async function groupEnds(group: number, seconds: number): Promise<boolean> {
  for (let tries = 0; tries < seconds * 20; tries += 1) {
    if (!killGroup(group, 0)) return true;
    await wait(50);
  }
  return false;
}

function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has gone by itself.
  }
}

/** @returns whether there was anybody to get the signal */
function killGroup(group: number, signal: 'SIGKILL' | 0 = 'SIGKILL'): boolean {
  try {
    return process.kill(-group, signal);
  } catch {
    return false;
  }
}
