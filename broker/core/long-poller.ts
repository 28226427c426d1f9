/**
 * Serves long polls: one loop per process checks all of them, with one statement a tick per kind of poll, and
 * only while any are open. Their number costs the database nothing.
 */
import { WritError } from './errors.ts';
import type { Clock } from './vocabulary.ts';

/** @returns those of the ids whose waiting is over */
export type Poll = (ids: string[]) => Promise<string[]>;

export interface Wait {
  /** Waiters are grouped by object identity: create the object once. */
  poll: Poll;
  id: string;
  /** The waiting session; each may have only `maxWaitsPerSession`. */
  sessionId: string;
  seconds: number;
  /** The caller has gone. */
  signal: AbortSignal;
}

export interface LongPoller {
  /**
   * Resolves when the poll is answered, the time is over, the caller has disconnected, or the poller is
   * closed: read the row to know which.
   * @throws WritError `rate_limited` when the session waits too often at once; whatever the poll throws
   */
  wait(wait: Wait): Promise<void>;
  /** The broker stops: nobody waits any more. */
  readonly closed: boolean;
  /** Ends every wait, and every later one at once, because the broker stops. */
  close(): void;
}

/** Often enough: a person's decision takes seconds, and so does a revocation. */
export const tickMs = 200;

/** Of one session, per poll. */
export const maxWaitsPerSession = 4;

interface Waiter extends Wait {
  until: number;
  done(): void;
  fail(error: unknown): void;
}

export function createLongPoller(clock: Clock): LongPoller {
  const waiters = new Set<Waiter>();
  const closing = new AbortController();
  let ticking = false;

  async function tick(): Promise<void> {
    while (waiters.size > 0) {
      await clock.sleep(tickMs, closing.signal).catch(() => {});
      if (closing.signal.aborted) break;
      await Promise.all([...Map.groupBy(waiters, ({ poll }) => poll)].map(([, group]) => pollGroup(group)));
      const next = clock.now().getTime() + tickMs;
      for (const waiter of waiters) if (next > waiter.until) waiter.done();
    }
    ticking = false;
  }

  return {
    wait: async (wait) => {
      if (wait.signal.aborted || closing.signal.aborted) return;
      const own = [...waiters].filter(({ sessionId, poll }) => sessionId === wait.sessionId && poll === wait.poll);
      if (own.length >= maxWaitsPerSession) {
        throw new WritError('rate_limited', {
          detail: `This session waits ${maxWaitsPerSession} times already.`,
          retryAfterSeconds: 2,
        });
      }
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const waiter = {
        ...wait,
        until: clock.now().getTime() + wait.seconds * 1000,
        done: () => resolve(),
        fail: reject,
      };
      waiters.add(waiter);
      for (const signal of [wait.signal, closing.signal]) signal.addEventListener('abort', waiter.done);
      if (!ticking) {
        ticking = true;
        void tick();
      }
      try {
        await promise;
      } finally {
        waiters.delete(waiter);
        for (const signal of [wait.signal, closing.signal]) signal.removeEventListener('abort', waiter.done);
      }
    },
    get closed() {
      return closing.signal.aborted;
    },
    close: () => closing.abort(),
  };
}

/** Never rejects: passes errors to the waiters. */
async function pollGroup(group: Waiter[]): Promise<void> {
  try {
    const over = new Set(await group[0]!.poll([...new Set(group.map(({ id }) => id))]));
    for (const waiter of group) if (over.has(waiter.id)) waiter.done();
  } catch (error) {
    for (const waiter of group) waiter.fail(error);
  }
}
