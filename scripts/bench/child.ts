/**
 * A process of the benchmark and the line to it: numbered questions over IPC, each answered once. Everything
 * measured runs in a process of its own.
 */
import { fork } from 'node:child_process';
import { resourceUsage } from 'node:process';

export interface Child {
  /** @throws Error with what the child said, or when it has gone */
  ask<Answer>(what: string, argument?: unknown): Promise<Answer>;
  stop(): Promise<void>;
}

/** What a process has used since it began. */
export interface Usage {
  cpuMs: number;
  peakRssMb: number;
  /** SQL round trips. */
  trips: number;
}

interface Poll {
  id: number;
  what: string;
  argument: unknown;
}
interface Reply {
  id: number;
  value?: unknown;
  error?: string;
}

/** Poll that a child answers with nothing once it has started. */
const ready = 'ready';

/** Starts a file of this folder, or one by its URL, and waits until it says that it is up. */
export async function startChild(file: string, env: Record<string, string>): Promise<Child> {
  const child = fork(new URL(file, import.meta.url), {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    execArgv: ['--disable-warning=ExperimentalWarning', ...(env.BENCH_NODE_OPTIONS ?? '').split(' ').filter(Boolean)],
    serialization: 'advanced',
    // What is printed are figures; what a broker logs (checkpoints, at any level) goes beside them.
    stdio: ['ignore', process.stderr, process.stderr, 'ipc'],
  });
  const waiting = new Map<number, (reply: Reply) => void>();
  let gone: string | null = null;
  let last = 0;
  child.on('message', (reply: Reply) => waiting.get(reply.id)?.(reply));
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      gone = `${file} has ended (${signal ?? code})`;
      for (const [id, answer] of waiting) answer({ id, error: gone });
      resolve();
    });
  });
  const ask = <Answer>(what: string, argument: unknown = null) =>
    new Promise<Answer>((resolve, reject) => {
      if (gone !== null) return reject(new Error(gone));
      last += 1;
      waiting.set(last, ({ id, value, error }) => {
        waiting.delete(id);
        if (error === undefined) resolve(value as Answer);
        else reject(new Error(`${file}: ${error}`));
      });
      child.send({ id: last, what, argument } satisfies Poll);
    });
  await ask(ready);
  return {
    ask,
    stop: async () => {
      if (gone === null) await ask('stop').catch(() => {});
      if (gone === null) child.disconnect();
      await exited;
    },
  };
}

/** The child's side. `start` makes what answers; a question that fails is answered with its error. */
export function answerParent(start: () => Promise<Record<string, (argument: never) => unknown>>): void {
  const started = start();
  // A benchmark that was interrupted leaves nothing running.
  process.once('disconnect', () => process.exit());
  process.on('message', async ({ id, what, argument }: Poll) => {
    try {
      const handlers = await started;
      const value = what === ready ? null : await handlers[what]?.(argument as never);
      process.send?.({ id, value } satisfies Reply);
    } catch (error) {
      process.send?.({
        id,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      } satisfies Reply);
    }
  });
}

/** @param trips SQL round trips of this process so far */
export function usageOf(trips: number): Usage {
  const { userCPUTime, systemCPUTime, maxRSS } = resourceUsage();
  return { cpuMs: (userCPUTime + systemCPUTime) / 1000, peakRssMb: maxRSS / 1024, trips };
}
