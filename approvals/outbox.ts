/**
 * Delivers the notices of `approval_outbox`: at least once each, and once when nothing fails. All state is in
 * the rows: a process that crashes, or a channel that hangs, leaves a row that is due again.
 */
import type { WebLog } from '../broker/console/page-errors.ts';
import type { Clock } from '../broker/core/vocabulary.ts';
import type { Store } from '../broker/store/open.ts';
import { type Channel, DeliveryError } from './contract.ts';
import {
  type ClaimedNotice,
  claimNotices,
  markDelivered,
  markFailed,
  type NoticeSources,
  noticeOf,
} from './notices.ts';

export interface OutboxDeps extends NoticeSources {
  store: Store;
  clock: Clock;
  log: WebLog;
  channels: readonly Channel[];
}

type Delivering = Channel & Required<Pick<Channel, 'deliver'>>;

/** How long a channel is waited for. */
const deadlineSeconds = 10;
/**
 * How long a claim holds: longer than the deadline and what is written after it, or a second worker would
 * deliver beside the first.
 */
const claimSeconds = 30;
/** Notices of one channel that are under way at a time. */
const batch = 20;
/**
 * Approvals are decided in minutes: a notice that comes later than this after a failure may come too late.
 */
const longestRetrySeconds = 60;
/** What the other side asks for is believed so far. */
const longestPauseSeconds = 300;

export function deliveringChannels(channels: readonly Channel[]): Delivering[] {
  return channels.filter((channel): channel is Delivering => channel.deliver !== undefined);
}

/**
 * Claims what is due on one channel and tries each notice once, side by side.
 * @param stopping ends what is under way; it is tried again later
 * @returns how many rows were due, at most `limit`
 * @throws only what the database throws: a failing channel is logged, and its notice due again
 */
export async function deliverDue(
  deps: OutboxDeps,
  channel: Delivering,
  limit: number,
  stopping: AbortSignal,
): Promise<number> {
  const now = deps.clock.now();
  const until = new Date(now.getTime() + claimSeconds * 1000);
  const { found, notices } = await claimNotices(deps.store, channel.name, now, until, limit);
  // All of them have ended when this does: nothing is under way when the store closes.
  const ends = await Promise.allSettled(notices.map((notice) => deliverOne(deps, channel, notice, stopping)));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return found;
}

async function deliverOne(
  deps: OutboxDeps,
  channel: Delivering,
  row: ClaimedNotice,
  stopping: AbortSignal,
): Promise<void> {
  const { store, clock, log } = deps;
  try {
    await withDeadline(clock, stopping, async (signal) => channel.deliver(await noticeOf(deps, row), signal));
  } catch (error) {
    const { code, retryAfterSeconds } = error instanceof DeliveryError ? error : new DeliveryError('failed', '');
    const pause = Math.min(retryAfterSeconds ?? 0, longestPauseSeconds);
    const seconds = Math.max(pause, Math.min(2 ** row.attempts, longestRetrySeconds));
    // The code alone: a library's message may quote an address that is a secret (a chat's incoming webhook).
    const kind = error instanceof Error ? error.name : typeof error;
    const about = { channel: channel.name, notice_id: row.id, grant_id: row.grant_id, attempt: row.attempts };
    log.warn({ ...about, code, kind, retry_in_seconds: seconds }, 'approval notice not delivered');
    await markFailed(store, row, code, new Date(clock.now().getTime() + seconds * 1000));
    return;
  }
  await markDelivered(store, row, clock.now());
}

/** Created once; the reason of this abort is never read. */
const answered = new Error('answered');

/**
 * @throws DeliveryError `timed_out` when the time is up or the broker stops, whether or not `work` honours
 *   its signal
 */
async function withDeadline(
  clock: Clock,
  stopping: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const deadline = new AbortController();
  const signal = AbortSignal.any([deadline.signal, stopping]);
  const over = new Promise<never>((_resolve, reject) => {
    const end = () => reject(new DeliveryError('timed_out', 'no answer in time'));
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
  });
  clock.sleep(deadlineSeconds * 1000, deadline.signal).then(
    () => deadline.abort(new DeliveryError('timed_out', `no answer in ${deadlineSeconds} s`)),
    () => {},
  );
  try {
    await Promise.race([work(signal).catch((error) => (signal.aborted ? over : Promise.reject(error))), over]);
  } finally {
    deadline.abort(answered);
  }
}

export interface Outbox {
  /**
   * Starts delivering what is due and returns at once: a channel that hangs must delay neither the others nor
   * the caller.
   */
  deliver(): void;
  /** Ends what is under way. */
  stop(): Promise<void>;
}

/** Nothing is read while no channel delivers. */
export function openOutbox(deps: OutboxDeps): Outbox {
  const channels = deliveringChannels(deps.channels);
  const stopping = new AbortController();
  const busy = new Map<string, Promise<void>>();
  const drain = async (channel: Delivering) => {
    try {
      while (!stopping.signal.aborted && (await deliverDue(deps, channel, batch, stopping.signal)) === batch);
    } catch (error) {
      deps.log.error({ err: error, channel: channel.name }, 'the approval outbox cannot be read');
    }
    busy.delete(channel.name);
  };
  return {
    deliver: () => {
      for (const channel of channels) if (!busy.has(channel.name)) busy.set(channel.name, drain(channel));
    },
    stop: async () => {
      stopping.abort();
      await Promise.all(busy.values());
    },
  };
}
