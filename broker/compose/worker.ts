/** The worker's side of a broker: the reconciler, and what notifies it. */
import { randomBytes } from 'node:crypto';
import { openOutbox } from '../../approvals/outbox.ts';
import type { Settings } from '../config/settings.ts';
import { deliverNotices } from '../worker/jobs/deliver-notices.ts';
import { fanOut, listenForNotifications, localNotifier, type Notifier, redisNotifier } from '../worker/notifier.ts';
import { startReconciler } from '../worker/reconciler.ts';
import { grantAbout } from './grant-about.ts';
import { jobs } from './jobs.ts';
import type { Parts } from './parts.ts';

export interface WorkerSide {
  /** Notifies the workers of this and other processes that leases are to be revoked. */
  notify(): void;
  stop(): Promise<void>;
}

/**
 * Starts the reconciler where the role has one, and connects every way of notifying. @param random jitter, 0
 * to 1
 */
export async function startWorkerSide(parts: Parts, random: (() => number) | undefined): Promise<WorkerSide> {
  const { settings, log, clock } = parts;
  // The reconciler's own jobs may notify it, and the notifier is created first: set once, below.
  let notifier: Notifier = { notify: () => {}, close: async () => {} };
  const notify = () => notifier.notify();
  let stopReconciler = async () => {};

  if (settings.WRIT_ROLE !== 'api') {
    const outbox = openOutbox({ ...parts, ...grantAbout(parts), publicUrl: parts.url });
    const reconciler = startReconciler(
      {
        ...parts,
        notify,
        mayWork: parts.clockGuard.check,
        random: random ?? (() => randomBytes(4).readUInt32BE() / 2 ** 32),
        workerId: randomBytes(9).toString('base64url'),
        jobs: [...jobs, deliverNotices(() => outbox.deliver())],
      },
      clock,
      settings.WRIT_RECONCILE_SECONDS,
    );
    const listener =
      settings.REDIS_URL === undefined
        ? null
        : await listenForNotifications(settings.REDIS_URL, redisPrefix(settings), reconciler, log);
    notifier = localNotifier(reconciler);
    stopReconciler = async () => {
      await listener?.close();
      await reconciler.stop();
      await outbox.stop();
    };
  }
  // Its own reconciler is notified directly too: that works without Redis.
  if (settings.REDIS_URL !== undefined) {
    notifier = fanOut([notifier, await redisNotifier(settings.REDIS_URL, redisPrefix(settings), log)]);
  }
  return {
    notify,
    stop: async () => {
      await stopReconciler();
      await notifier.close();
    },
  };
}

const redisPrefix = (settings: Settings) => `writ-${settings.WRIT_DATABASE_SCHEMA}`;
