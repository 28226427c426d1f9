/** A loop that ticks at a fixed interval and answers notifications in between. */
import type { Clock } from '../core/vocabulary.ts';

export interface Loop {
  notify(): void;
  /** Resolves when what is under way has finished. */
  stop(): Promise<void>;
}

/**
 * Calls `tick` at once and then at the interval, counted from the end of the last call and regardless of
 * notifications; calls `prompt` for each notification. Never two calls at once. Neither may throw.
 */
export function startLoop(
  clock: Clock,
  seconds: number,
  tick: (count: number) => Promise<void>,
  prompt: () => Promise<void>,
): Loop {
  let stopped = false;
  let notified = false;
  let ticks = 0;
  let sleep = new AbortController();
  const notify = () => {
    notified = true;
    sleep.abort();
  };
  const loop = (async () => {
    let next = clock.now().getTime();
    while (!stopped) {
      notified = false;
      // A clock that was set back must not put the tick off for as long.
      if (clock.now().getTime() >= next || clock.now().getTime() < next - seconds * 1000) {
        await tick(ticks);
        ticks += 1;
        next = clock.now().getTime() + seconds * 1000;
      } else {
        await prompt();
      }
      sleep = new AbortController();
      const left = Math.min(next - clock.now().getTime(), seconds * 1000);
      if (!notified && left > 0) await clock.sleep(left, sleep.signal).catch(() => {});
    }
  })();
  return {
    notify,
    stop: async () => {
      stopped = true;
      notify();
      await loop;
    },
  };
}
