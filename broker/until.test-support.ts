/** Waiting, in tests, for what comes about by itself. */
import { setTimeout as wait } from 'node:timers/promises';

/** After so long one is told what the test waits for (scripts/test/progress.ts). */
const sayAfterMs = 10_000;

/**
 * Resolves when `holds` does. It sets no limit, because how long it takes is the machine's affair: the runner's watchdog ends a test that waits in vain, and says for what.
 * @param what what is waited for, for people
 */
export async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const saying = setTimeout(() => tell({ kind: 'waiting', what }), sayAfterMs).unref();
  try {
    while (!(await holds())) await wait(5);
  } finally {
    clearTimeout(saying);
  }
}

function tell(message: { kind: 'waiting'; what: string }): void {
  if (process.connected) process.send?.(message);
}
