/** Waits, in tests, for a condition that the broker brings about in the background. */
import { setTimeout as wait } from 'node:timers/promises';

/** Milliseconds after which the runner reports what the test waits for (scripts/test/progress.ts). */
const sayAfterMs = 10_000;

/**
 * Resolves when `holds` does. Sets no limit, because a slow machine is not a fault: the runner's watchdog
 * ends a test that hangs, and reports what it waited for.
 * @param what description of the condition, for people
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
