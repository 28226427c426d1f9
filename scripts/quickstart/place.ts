/**
 * Where a quickstart lives: one temporary folder, what must be closed, and words when nothing has been said
 * for a while. Ctrl-C at any moment closes what is there and leaves nothing behind.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Place {
  readonly folder: string;
  /** To be closed when all ends, the last first. What is still starting when it ends is waited for. */
  keep<T extends { close(): Promise<unknown> }>(starting: Promise<T>): Promise<T>;
  /** A process of ours, to be ended. */
  keepProcess(child: ChildProcess): void;
  /** What is under way: said again after each such silence. null: nothing that takes time. */
  doing(what: string | null, silenceMs?: number): void;
  /** Closes everything and ends the process. */
  close(code: number): Promise<never>;
}

/** What does not close in this time ends with the process. */
const closingMs = 15_000;

export function openPlace(): Place {
  const folder = mkdtempSync(join(tmpdir(), 'writ-quickstart-'));
  // Whatever is started makes its own folders inside.
  process.env.TMPDIR = folder;
  const kept: Promise<{ close(): Promise<unknown> } | null>[] = [];
  const children: ChildProcess[] = [];
  let under: { what: string; since: number; silenceMs: number } | null = null;
  let said = performance.now();
  const talking = setInterval(() => {
    const now = performance.now();
    if (under === null || now - said < under.silenceMs) return;
    said = now;
    console.log(`  … ${under.what} (${Math.round((now - under.since) / 1000)} s)`);
  }, 250);
  talking.unref();

  const closeAll = async () => {
    for (const child of children) child.kill('SIGTERM');
    for (const one of kept.toReversed()) await one.then((it) => it?.close()).catch(() => {});
  };
  let closing: Promise<never> | null = null;
  const close = (code: number): Promise<never> => {
    closing ??= (async () => {
      clearInterval(talking);
      let late: NodeJS.Timeout | undefined;
      await Promise.race([
        closeAll(),
        new Promise<void>((resolve) => {
          late = setTimeout(resolve, closingMs);
        }),
      ]);
      clearTimeout(late);
      process.exit(code);
    })();
    return closing;
  };
  // On every way out, an error that nobody caught too.
  process.on('exit', () => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  });
  // A terminal's Ctrl-C comes twice under npm: from the terminal, and from npm, which hands it on.
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)
    process.on(signal, () => {
      if (closing === null) console.log('\nStopping …');
      void close(code);
    });
  return {
    folder,
    keep: (starting) => {
      kept.push(starting.catch(() => null));
      return starting;
    },
    keepProcess: (child) => void children.push(child),
    doing: (what, silenceMs = 2_000) => {
      const now = performance.now();
      under = what === null ? null : { what, since: now, silenceMs };
      said = now;
    },
    close,
  };
}
