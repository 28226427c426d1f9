/** The worker's side of a broker: the reconciler, and what notifies it. */
import { randomBytes } from 'node:crypto';
import { digestWriter } from '../../approvals/digest.ts';
import { deliveringChannels, openOutbox } from '../../approvals/outbox.ts';
import { checkpointKey, publicName } from '../audit/checkpoint-format.ts';
import { type CheckpointSink, fileFault, fileSink, httpSink, logSink } from '../audit/checkpoint-sinks.ts';
import { type Checkpoints, createCheckpoints } from '../audit/checkpoints.ts';
import { createBreakGlassMetrics } from '../break-glass/metrics.ts';
import { ConfigurationError, type Settings } from '../config/settings.ts';
import { systemClock } from '../core/clock.ts';
import { createSideChannel } from '../core/side-channel.ts';
import { createOwnerGauge } from '../signals/owner-gone-metrics.ts';
import { createSignalPoller, type SignalPoller } from '../signals/poll.ts';
import { createStreamMetrics } from '../streams/metrics.ts';
import { openTransmitter } from '../streams/transmit.ts';
import type { Job } from '../worker/job.ts';
import { deliverNotices } from '../worker/jobs/deliver-notices.ts';
import { endBreakGlasses } from '../worker/jobs/end-break-glasses.ts';
import { pollSignals } from '../worker/jobs/poll-signals.ts';
import { forgetEvents, pushEvents, watchSuspensions } from '../worker/jobs/streams.ts';
import { watchOwners } from '../worker/jobs/watch-owners.ts';
import { writeCheckpoints } from '../worker/jobs/write-checkpoints.ts';
import { writeDigests } from '../worker/jobs/write-digests.ts';
import { fanOut, listenForNotifications, localNotifier, type Notifier, redisNotifier } from '../worker/notifier.ts';
import { startReconciler } from '../worker/reconciler.ts';
import { breakGlassSettings } from './break-glass.ts';
import { callbackChannels } from './callbacks.ts';
import { grantAbout } from './grant-about.ts';
import { jobs } from './jobs.ts';
import type { Parts } from './parts.ts';
import { signalReceiver } from './signals.ts';

export interface WorkerSide {
  /** Notifies the workers of this and other processes that leases are to be revoked. */
  notify(): void;
  stop(): Promise<void>;
}

/** Starts the reconciler where the role has one, and connects every way of notifying. */
export async function startWorkerSide(parts: Parts): Promise<WorkerSide> {
  const { settings, clock } = parts;
  // The reconciler's own jobs may notify it, and the notifier is created first: set once, below.
  let notifier: Notifier = { notify: () => {}, close: async () => {} };
  const notify = () => notifier.notify();
  let stopReconciler = async () => {};

  if (settings.WRIT_ROLE !== 'api') {
    const outbox = openOutbox({
      ...parts,
      ...grantAbout(parts, settings.WRIT_APPROVAL_CHALLENGE === 'on'),
      channels: [...parts.channels, ...callbackChannels(parts)],
      publicUrl: parts.url,
      metrics: parts.sideChannels,
      escalateSeconds: settings.WRIT_APPROVAL_ESCALATE_SECONDS,
      reminds: settings.WRIT_APPROVAL_REMINDER,
    });
    const digests = digestsOf(parts);
    const checkpoints = await checkpointsOf(parts);
    const poller = signalPoller(parts, notify);
    const workerId = randomBytes(9).toString('base64url');
    const transmitter = openTransmitter({ ...parts, issuer: parts.url, metrics: parts.sideChannels, workerId });
    const reconciler = startReconciler(
      {
        ...parts,
        breakGlass: breakGlassSettings(parts),
        notify,
        mayWork: parts.clockGuard.check,
        workerId,
        jobs: [
          ...jobs,
          endBreakGlasses({ ...breakGlassSettings(parts), metrics: createBreakGlassMetrics(parts.registry) }),
          watchOwners({
            graceSeconds: settings.WRIT_OWNER_GRACE_SECONDS,
            alerts: settings.WRIT_BREAK_GLASS_ALERTS,
            noticeChannels: deliveringChannels(parts.channels).map(({ name }) => name),
            gauge: createOwnerGauge(parts.registry),
          }),
          deliverNotices(() => outbox.deliver()),
          ...(digests === null ? [] : [writeDigests(digests)]),
          ...(checkpoints === null ? [] : [writeCheckpoints(checkpoints.tick)]),
          ...(poller === null ? [] : [pollSignals(poller.tick)]),
          ...(parts.streams.length === 0 ? [] : streamJobs(parts, transmitter.tick)),
        ],
      },
      clock,
      settings.WRIT_RECONCILE_SECONDS,
    );
    const listener =
      settings.REDIS_URL === undefined
        ? null
        : await listenForNotifications(settings.REDIS_URL, redisPrefix(settings), reconciler, {
            ...parts,
            clock: systemClock,
            channel: redisChannel('redis-listener', parts),
          });
    notifier = localNotifier(reconciler);
    stopReconciler = async () => {
      await listener?.close();
      await reconciler.stop();
      await outbox.stop();
      await checkpoints?.stop();
      await poller?.stop();
      await transmitter.stop();
    };
  }
  // Its own reconciler is notified directly too: that works without Redis.
  if (settings.REDIS_URL !== undefined) {
    notifier = fanOut([
      notifier,
      await redisNotifier(settings.REDIS_URL, redisPrefix(settings), {
        ...parts,
        // As the client library's own timers: coming back is a matter of the network.
        clock: systemClock,
        channel: redisChannel('redis-notifier', parts),
      }),
    ]);
  }
  return {
    notify,
    stop: async () => {
      await stopReconciler();
      await notifier.close();
    },
  };
}

/** Null where nobody is told. */
function digestsOf({ settings, store, clock, channels }: Parts): (() => Promise<void>) | null {
  const minuteOfDay = settings.WRIT_DIGEST_AT;
  const names = deliveringChannels(channels).map(({ name }) => name);
  return minuteOfDay === null || names.length === 0
    ? null
    : digestWriter(store, clock, { minuteOfDay, channels: names });
}

function streamJobs({ settings, streams, registry }: Parts, push: () => void): Job[] {
  const keepSeconds = settings.WRIT_STREAMS_KEEP_SECONDS;
  return [
    watchSuspensions(streams),
    pushEvents(push),
    forgetEvents(streams, { keepSeconds, metrics: createStreamMetrics(registry) }),
  ];
}

/** Null where nothing is polled. */
function signalPoller(parts: Parts, notify: () => void): SignalPoller | null {
  const { WRIT_SIGNALS_POLL_URL: url, WRIT_SIGNALS_POLL_TOKEN: token } = parts.settings;
  const receiver = signalReceiver(parts, notify);
  if (receiver === null || url === undefined || token === undefined) return null;
  const channel = createSideChannel('signals', 'signals of the identity provider come late', {
    ...parts,
    metrics: parts.sideChannels,
  });
  return createSignalPoller({ ...receiver, url, token, channel });
}

/** Null where none are wanted. */
async function checkpointsOf({ settings, store, clock, log, kek, sideChannels }: Parts): Promise<Checkpoints | null> {
  // Whoever wants no log at all gets no checkpoints there.
  const none = settings.WRIT_LOG_LEVEL === 'silent' ? ['off', 'log'] : ['off'];
  const places = settings.WRIT_CHECKPOINTS.filter((place) => !none.includes(place));
  if (places.length === 0) return null;
  const key = checkpointKey(kek);
  log.info({ to: places.map(withoutQuery), key: publicName(key) }, 'checkpoints of the record are written');
  return createCheckpoints({
    store,
    clock,
    key,
    seconds: settings.WRIT_CHECKPOINT_SECONDS,
    sinks: await Promise.all(places.map((place) => sinkOf(place, { settings, clock, log }))),
    log,
    metrics: sideChannels,
  });
}

async function sinkOf(
  place: string,
  { settings, clock, log }: Pick<Parts, 'settings' | 'clock' | 'log'>,
): Promise<CheckpointSink> {
  if (place === 'log') return logSink(log);
  if (place.startsWith('/')) {
    const fault = await fileFault(place);
    if (fault !== null)
      throw new ConfigurationError([`WRIT_CHECKPOINTS: ${place} cannot be written (${fault}); make its folder`]);
    return fileSink(place);
  }
  if (!place.startsWith('s3://')) return httpSink(place, settings.WRIT_CHECKPOINT_TOKEN);
  // Loads an SDK, which costs a start more than all the rest.
  const { bucketPlace, bucketSink } = await import('../audit/checkpoint-bucket.ts');
  return bucketSink(bucketPlace(place, settings.WRIT_CHECKPOINT_RETENTION_DAYS || null), clock);
}

/** What follows a question mark may be a secret. */
const withoutQuery = (place: string) => place.replace(/\?.*/, '');

const redisPrefix = (settings: Settings) => `writ-${settings.WRIT_DATABASE_SCHEMA}`;
const redisChannel = (name: string, parts: Parts) =>
  createSideChannel(name, 'what is due is found by looking for it, every WRIT_RECONCILE_SECONDS', {
    ...parts,
    metrics: parts.sideChannels,
  });
