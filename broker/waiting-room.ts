/**
 * Where long polls wait: one loop per process looks for all of them, with one statement a beat per question, and only while somebody waits. How many wait costs the
 * database nothing.
 */
import { WritError } from './errors.ts';
import type { Clock } from './vocabulary.ts';

/** @returns those of the ids whose waiting is over */
export type Question = (ids: string[]) => Promise<string[]>;

export interface Wait {
  /** The object itself is what groups waiters: make it once. */
  question: Question;
  id: string;
  /** Whose wait it is; a session may have only so many. */
  sessionId: string;
  seconds: number;
  /** The caller has gone. */
  signal: AbortSignal;
}

export interface WaitingRoom {
  /**
   * Resolves when the question is answered, the time is over, the caller has gone, or the room is closed: look again to know which.
   * @throws WritError `rate_limited` when the session waits too often at once; whatever the question throws
   */
  wait(wait: Wait): Promise<void>;
  /** Ends every wait, and every later one at once: the broker stops. */
  close(): void;
}

/** A person's decision takes seconds, and so does a cloud's revocation. */
export const beatMs = 200;

/** Of one session, per question. */
export const waitsPerSession = 4;

interface Waiter extends Wait {
  until: number;
  done(): void;
  fail(error: unknown): void;
}

export function createWaitingRoom(clock: Clock): WaitingRoom {
  const waiters = new Set<Waiter>();
  const closing = new AbortController();
  let looking = false;

  async function look(): Promise<void> {
    while (waiters.size > 0) {
      await clock.sleep(beatMs, closing.signal).catch(() => {});
      if (closing.signal.aborted) break;
      await Promise.all([...Map.groupBy(waiters, ({ question }) => question)].map(([, group]) => ask(group)));
      const next = clock.now().getTime() + beatMs;
      for (const waiter of waiters) if (next > waiter.until) waiter.done();
    }
    looking = false;
  }

  return {
    wait: async (wait) => {
      if (wait.signal.aborted || closing.signal.aborted) return;
      const own = [...waiters].filter(
        ({ sessionId, question }) => sessionId === wait.sessionId && question === wait.question,
      );
      if (own.length >= waitsPerSession) {
        throw new WritError('rate_limited', {
          detail: `This session waits ${waitsPerSession} times already.`,
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
      if (!looking) {
        looking = true;
        void look();
      }
      try {
        await promise;
      } finally {
        waiters.delete(waiter);
        for (const signal of [wait.signal, closing.signal]) signal.removeEventListener('abort', waiter.done);
      }
    },
    close: () => closing.abort(),
  };
}

/** Never rejects: what goes wrong is told to those who wait. */
async function ask(group: Waiter[]): Promise<void> {
  try {
    const over = new Set(await group[0]!.question([...new Set(group.map(({ id }) => id))]));
    for (const waiter of group) if (over.has(waiter.id)) waiter.done();
  } catch (error) {
    for (const waiter of group) waiter.fail(error);
  }
}
