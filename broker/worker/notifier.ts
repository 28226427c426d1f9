/**
 * Promptness. A commit that leaves something to revoke notifies the workers: within this process directly,
 * across processes through a BullMQ job. The job says nothing but "look now"; what there is to do is in the
 * database, so a lost job delays revocation to the next tick, and a repeated one is harmless.
 */
import type { RedisOptions } from 'ioredis';
import { backoffMs } from '../core/backoff.ts';
import type { SideChannel } from '../core/side-channel.ts';
import type { Clock } from '../core/vocabulary.ts';

export interface Notifier {
  notify(): void;
  close(): Promise<void>;
}

/** For a process that has its own reconciler. */
export function localNotifier(reconciler: { notify(): void }): Notifier {
  return { notify: () => reconciler.notify(), close: async () => {} };
}

/** Notifies by every way there is. */
export function fanOut(notifiers: readonly Notifier[]): Notifier {
  return {
    notify: () => {
      for (const notifier of notifiers) notifier.notify();
    },
    close: async () => {
      for (const notifier of notifiers) await notifier.close();
    },
  };
}

/**
 * Loaded when it is wanted: most starts, tests and commands have no Redis, and it is a sixth of what a start
 * loads.
 */
async function loadBullmq() {
  const [{ Queue, Worker }, { Redis }] = await Promise.all([import('bullmq'), import('ioredis')]);
  /**
   * Of each connection, and each that BullMQ makes of it, errors are heard from its first moment to its last:
   * what answers nonsense, or once too often, would end the process otherwise.
   */
  class HeardRedis extends Redis {
    constructor(url: string, options: RedisOptions) {
      super(url, options);
      this.on('error', () => {});
    }
    override duplicate(override?: Partial<RedisOptions>) {
      return super.duplicate(override).on('error', () => {});
    }
  }
  return { Queue, Worker, Redis: HeardRedis };
}

const queueName = 'writ-revoke';

/**
 * How long ioredis waits for the other side to hang up, in ms; with Redis down there is none, and a timer of
 * its default 2 s would hold up the end of the process.
 */
const disconnectTimeout = 100;

/**
 * Jobs are kept no longer than they are useful, and never grow in number: one is enough to notify everybody.
 */
const jobOptions = { removeOnComplete: true, removeOnFail: true, attempts: 1 } as const;

/** A Redis that takes a command and says nothing must not hold the next. */
const commandTimeout = 5_000;

export interface RedisDeps {
  clock: Clock;
  channel: SideChannel;
  /** Jitter, 0 to 1. */
  random(): number;
}

/**
 * Never more than one job under way and one wanted, however many ask: with Redis down nothing piles up, and
 * once it is back one job says what a thousand would.
 * @param prefix keeps deployments that share a Redis apart
 */
export async function redisNotifier(url: string, prefix: string, deps: RedisDeps): Promise<Notifier> {
  const { clock, channel, random } = deps;
  const { Queue, Redis } = await loadBullmq();
  const redis = new Redis(url, {
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    disconnectTimeout,
    commandTimeout,
    retryStrategy: (times) => backoffMs(times, random()),
  });
  const queue = new Queue(queueName, { connection: redis, prefix });
  const closing = new AbortController();
  let failing = false;
  const failed = (error: Error): number => {
    failing = true;
    return channel.failed(aboutError(error));
  };
  queue.on('error', failed);
  let wanted = false;
  let sending = false;
  const send = async () => {
    if (sending) return;
    sending = true;
    while (wanted && redis.status === 'ready' && !closing.signal.aborted) {
      wanted = false;
      try {
        await queue.add('look', {}, jobOptions);
        failing = false;
        channel.works();
      } catch (error) {
        wanted = true;
        await clock.sleep(failed(error as Error), closing.signal).catch(() => {});
      }
    }
    sending = false;
  };
  redis.on('ready', () => {
    // Whether it takes a job is what tells whether it is back.
    if (failing) wanted = true;
    void send();
  });
  return {
    notify: () => {
      // One is enough: those that would come after it are not sent.
      if (wanted && failing) channel.dropped(1);
      wanted = true;
      void send();
    },
    close: async () => {
      wanted = false;
      closing.abort();
      redis.disconnect();
      await soon(clock, queue.close());
    },
  };
}

/**
 * Runs the reconciler when a job says so. BullMQ's worker goes on at once after an error, thousands of times
 * a second where Redis answers with errors (full, read-only, a cluster's): after the first one it is closed,
 * and another is opened after a pause.
 */
export async function listenForNotifications(
  url: string,
  prefix: string,
  reconciler: { notify(): void },
  { clock, channel }: RedisDeps,
): Promise<{ close(): Promise<void> }> {
  const { Redis, Worker } = await loadBullmq();
  const closing = new AbortController();

  /** Listens until something goes wrong. @returns what */
  const listen = async (): Promise<Error> => {
    // No limit is what BullMQ requires of a connection that blocks; coming back is for the loop below.
    const redis = new Redis(url, { maxRetriesPerRequest: null, disconnectTimeout, retryStrategy: () => null });
    const over = new AbortController();
    const worker = new Worker(
      queueName,
      async () => {
        reconciler.notify();
        channel.works();
      },
      { connection: redis, prefix, concurrency: 8 },
    );
    const error = await new Promise<Error>((resolve) => {
      for (const source of [redis, worker]) source.on('error', resolve);
      redis.on('end', () => resolve(new Error('the connection was closed')));
      closing.signal.addEventListener('abort', () => resolve(new Error('stopping')), { once: true });
      // Quiet for so long is as good as a job.
      clock.sleep(quietMs, over.signal).then(
        () => channel.works(),
        () => {},
      );
    });
    over.abort();
    // By force: a job is one call that never waits, and an orderly close would wait for a Redis that is down.
    await soon(clock, worker.close(true));
    redis.disconnect();
    return error;
  };

  const listening = (async () => {
    while (!closing.signal.aborted) {
      const error = await listen();
      if (closing.signal.aborted) return;
      await clock.sleep(channel.failed(aboutError(error)), closing.signal).catch(() => {});
    }
  })();
  return {
    close: async () => {
      closing.abort();
      await listening;
    },
  };
}

/** After so long without an error a connection counts as good. */
const quietMs = 30_000;

/** What closes something that may not answer is not waited for. */
async function soon(clock: Clock, closing: Promise<unknown>): Promise<void> {
  const closed = new AbortController();
  await Promise.race([closing.catch(() => {}), clock.sleep(1_000, closed.signal).catch(() => {})]);
  closed.abort();
}

const aboutError = (error: Error) => ({ err: error });
