/**
 * Promptness. A commit that leaves something to revoke wakes the workers: within this process directly, across processes through a BullMQ job. The job says
 * nothing but "look now"; what there is to do is in the database, so a lost job costs a second and a repeated one nothing.
 */
import { Queue, Worker } from 'bullmq';
import type { Logger } from 'pino';

export interface Waker {
  wake(): void;
  close(): Promise<void>;
}

/** For a process that has its own reconciler and no Redis. */
export function localWaker(reconciler: { wake(): void }): Waker {
  return { wake: () => reconciler.wake(), close: async () => {} };
}

const queueName = 'writ-revoke';

/** Jobs are kept no longer than they are useful, and never grow in number: one is enough to wake everybody. */
const jobOptions = { removeOnComplete: true, removeOnFail: true, attempts: 1 } as const;

function connection(url: string) {
  // `maxRetriesPerRequest: null` is what BullMQ's workers require; a queue that fails fast is what a request handler wants.
  return { url, maxRetriesPerRequest: null, enableOfflineQueue: true } as const;
}

/** @param prefix keeps deployments that share a Redis apart */
export function redisWaker(url: string, prefix: string, log: Logger): Waker {
  const queue = new Queue(queueName, { connection: connection(url), prefix });
  queue.on('error', (error) => log.warn({ err: error }, 'redis: prompt revocation is down, the reconciler goes on'));
  return {
    wake: () => {
      queue.add('look', {}, jobOptions).catch((error) => log.warn({ err: error }, 'redis: could not wake the workers'));
    },
    close: () => queue.close(),
  };
}

/** Runs the reconciler when a job says so. */
export function listenForWakes(
  url: string,
  prefix: string,
  reconciler: { wake(): void },
  log: Logger,
): { close(): Promise<void> } {
  const worker = new Worker(
    queueName,
    async () => {
      reconciler.wake();
    },
    { connection: connection(url), prefix, concurrency: 8 },
  );
  worker.on('error', (error) => log.warn({ err: error }, 'redis: worker connection'));
  // By force: a job is one call that never waits, and an orderly close would wait for a Redis that is down.
  return { close: () => worker.close(true) };
}
