/** The system's clock: the only file of the package that reads the time. */
import { setTimeout as wait } from 'node:timers/promises';

/** Where the package gets the time from; tests hand in one they move. */
export interface Clock {
  now(): Date;
  /**
   * Resolves after `ms`, or rejects as soon as the signal aborts.
   * @param background true = must not keep the process alive
   */
  sleep(ms: number, signal?: AbortSignal, background?: boolean): Promise<void>;
}

export const systemClock: Clock = {
  now: () => new Date(),
  sleep: (ms, signal, background = false) =>
    wait(ms, undefined, { ref: !background, ...(signal === undefined ? {} : { signal }) }),
};
