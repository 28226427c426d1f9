/** The system's clock: the only place that reads the time by itself (invariant 9; a lint rule holds it). */
import type { Clock } from './vocabulary.ts';

export const systemClock: Clock = {
  now: () => new Date(),
  // Not `timers/promises`: most timers are aborted, and creating an AbortError with its stack would be most
  // of their cost.
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const stop = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stop);
        resolve();
      }, ms);
      signal?.addEventListener('abort', stop, { once: true });
    }),
};

/**
 * A clock that stands still until it is moved. `sleep` resolves when `advance` has passed its end, so timers
 * are exact in tests.
 */
export function manualClock(start: Date): Clock & { advance(ms: number): void; set(at: Date): void } {
  let now = start.getTime();
  let sleepers: { until: number; wake: () => void }[] = [];
  const settle = () => {
    const due = sleepers.filter((s) => s.until <= now);
    sleepers = sleepers.filter((s) => s.until > now);
    for (const sleeper of due) sleeper.wake();
  };
  return {
    now: () => new Date(now),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const sleeper = { until: now + ms, wake: resolve };
        sleepers.push(sleeper);
        signal?.addEventListener('abort', () => {
          sleepers = sleepers.filter((s) => s !== sleeper);
          reject(signal.reason);
        });
        settle();
      }),
    advance: (ms) => {
      now += ms;
      settle();
    },
    set: (at) => {
      now = at.getTime();
      settle();
    },
  };
}
