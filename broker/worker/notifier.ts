/**
 * Promptness. A commit that leaves something to revoke notifies the workers: within this process directly,
 * across processes through a BullMQ job. The job says nothing but "look now"; what there is to do is in the
 * database, so a lost job delays revocation to the next tick, and a repeated one is harmless.
 */
import type { Logger } from 'pino';

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
  return { Queue, Worker, Redis };
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

/**
 * Never more than one job under way and one wanted, however many ask: with Redis down nothing piles up, and
 * once it is back one job says what a thousand would.
 * @param prefix keeps deployments that share a Redis apart
 */
export async function redisNotifier(url: string, prefix: string, log: Logger): Promise<Notifier> {
  const { Queue, Redis } = await loadBullmq();
  const redis = new Redis(url, { maxRetriesPerRequest: 1, enableOfflineQueue: false, disconnectTimeout });
  const queue = new Queue(queueName, { connection: redis, prefix });
  queue.on('error', (error) => log.warn({ err: error }, 'redis: prompt revocation is down, the reconciler goes on'));
  let wanted = false;
  let sending = false;
  const send = async () => {
    if (sending) return;
    sending = true;
    while (wanted && redis.status === 'ready') {
      wanted = false;
      try {
        await queue.add('look', {}, jobOptions);
      } catch (error) {
        log.warn({ err: error }, 'redis: could not notify the workers');
        wanted = true;
        break;
      }
    }
    sending = false;
  };
  redis.on('ready', send);
  return {
    notify: () => {
      wanted = true;
      void send();
    },
    close: async () => {
      wanted = false;
      redis.disconnect();
      await queue.close();
    },
  };
}

/** Runs the reconciler when a job says so. */
export async function listenForNotifications(
  url: string,
  prefix: string,
  reconciler: { notify(): void },
  log: Logger,
): Promise<{ close(): Promise<void> }> {
  const { Redis, Worker } = await loadBullmq();
  // What BullMQ requires of a connection that blocks.
  const redis = new Redis(url, { maxRetriesPerRequest: null, disconnectTimeout });
  const worker = new Worker(
    queueName,
    async () => {
      reconciler.notify();
    },
    { connection: redis, prefix, concurrency: 8 },
  );
  worker.on('error', (error) => log.warn({ err: error }, 'redis: worker connection'));
  return {
    close: async () => {
      // By force: a job is one call that never waits, and an orderly close would wait for a Redis that is
      // down.
      await worker.close(true);
      redis.disconnect();
    },
  };
}
