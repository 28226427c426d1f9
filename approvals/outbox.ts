/**
 * Delivers the notices of `approval_outbox`: at least once each, and once when nothing fails. All state is in
 * the rows: a process that crashes, or a channel that hangs, leaves a row that is due again.
 */
import type { WebLog } from '../broker/console/page-errors.ts';
import { createRetried } from '../broker/core/retried.ts';
import { createSideChannel, type SideChannelDeps, type SideChannelMetrics } from '../broker/core/side-channel.ts';
import type { Clock } from '../broker/core/vocabulary.ts';
import type { Store } from '../broker/store/open.ts';
import { type Channel, DeliveryError, type DeliveryErrorCode, type Message } from './contract.ts';
import { digestOf } from './digest.ts';
import { claimTold, incidentOf } from './incidents.ts';
import { type Claim, claimNotices, markDelivered, markFailed, type NoticeSources, noticeOf } from './notices.ts';

export interface OutboxDeps extends NoticeSources {
  store: Store;
  clock: Clock;
  log: WebLog & SideChannelDeps['log'];
  channels: readonly Channel[];
  /** Where a failing channel is counted, and the jitter of its pauses, 0 to 1. */
  metrics: SideChannelMetrics;
  random(): number;
  /** After so much silence people are told again, or after half of the time that it waits; 0 = never. */
  escalateSeconds: number;
  /** Whether whoever was told is reminded before the time is over. */
  reminds: boolean;
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
 * @param health of the channel, over all its rounds
 * @returns how many rows were due, at most `limit`
 * @throws only what the database throws: a failing channel is logged, and its notice due again
 */
export async function deliverDue(
  deps: OutboxDeps,
  channel: Delivering,
  limit: number,
  stopping: AbortSignal,
  health: ChannelHealth = openHealth(deps, channel.name),
): Promise<number> {
  const now = deps.clock.now();
  const until = new Date(now.getTime() + claimSeconds * 1000);
  // What has happened comes before what is asked.
  const happened = await claimTold(deps.store, channel.name, now, until, limit);
  const left = limit - happened.found;
  const { found, notices } =
    left === 0 ? { found: 0, notices: [] } : await claimNotices(deps.store, channel.name, now, until, left);
  // All of them have ended when this does: nothing is under way when the store closes.
  const ends = await Promise.allSettled([
    ...happened.told.map((row) => {
      const subject = row.kind === 'digest' ? {} : { session_id: row.session_id };
      const make = () => (row.kind === 'digest' ? digestOf(deps, row) : incidentOf(deps, row));
      return deliverOne(deps, channel, row, subject, make, stopping, health);
    }),
    ...notices.map((row) =>
      deliverOne(
        deps,
        channel,
        row,
        { grant_id: row.grant_id },
        () => noticeOf(deps, row, channel.name),
        stopping,
        health,
      ),
    ),
  ]);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return happened.found + found;
}

async function deliverOne(
  deps: OutboxDeps,
  channel: Delivering,
  row: Claim,
  subject: { grant_id?: string; session_id?: string | null },
  make: () => Message | Promise<Message>,
  stopping: AbortSignal,
  health: ChannelHealth,
): Promise<void> {
  const { store, clock } = deps;
  let reference: string | null;
  let message: Message | null = null;
  try {
    reference = await withDeadline(clock, stopping, async (signal) => {
      message = await make();
      return channel.deliver(message, signal);
    });
  } catch (error) {
    const { code, retryAfterSeconds } = error instanceof DeliveryError ? error : new DeliveryError('failed', '');
    const pause = Math.min(retryAfterSeconds ?? 0, longestPauseSeconds);
    const seconds = Math.max(pause, Math.min(2 ** row.attempts, longestRetrySeconds));
    // The code alone: a library's message may quote an address that is a secret (a chat's incoming webhook).
    const kind = error instanceof Error ? error.name : typeof error;
    const about = { channel: channel.name, notice_id: row.id, ...subject, attempt: row.attempts };
    // A stop cuts what is under way: that says nothing about the other side.
    if (!stopping.aborted) health.failed(code, { ...about, code, kind });
    const now = clock.now();
    // Who could not be told cannot answer: the next ones are told at once. But not after a stop, nor where
    // the other side only asks to wait, nor the same ones again, who are tried again as it is.
    const down = code !== 'refused' && retryAfterSeconds === undefined && !stopping.aborted;
    const others = code === 'refused' || (down && message !== null && channel.hasNext?.(message) === true);
    const escalates = deps.escalateSeconds > 0 && others;
    const next = { silenceSeconds: escalates ? 0 : null, reminds: false };
    await markFailed(store, row, code, { now, retryAt: later(now, seconds), next });
    return;
  }
  health.works();
  const now = clock.now();
  const silenceSeconds = deps.escalateSeconds > 0 ? deps.escalateSeconds : null;
  await markDelivered(store, row, now, reference, { silenceSeconds, reminds: deps.reminds });
}

const later = (at: Date, seconds: number) => new Date(at.getTime() + seconds * 1000);

/** Whether the other side of a channel can be reached at all, over all notices. */
interface ChannelHealth {
  failed(code: DeliveryErrorCode, about: object): void;
  works(): void;
  /** How many notices may be tried now: none while it is left alone, one to find out, then as many as fit. */
  room(): number;
}

function openHealth({ clock, log, metrics, random }: OutboxDeps, name: string): ChannelHealth {
  const consequence = 'who decides is not told through it; the requests are on the approvals page';
  const channel = createSideChannel(`approvals-${name}`, consequence, { log, metrics, random });
  let pausedUntil = 0;
  let failing = false;
  return {
    failed: (code, about) => {
      const pause = channel.failed(about);
      // A refusal is about this notice: another room may be there.
      if (code === 'refused') return;
      failing = true;
      pausedUntil = clock.now().getTime() + Math.min(pause, longestRetrySeconds * 1000);
    },
    works: () => {
      failing = false;
      channel.works();
    },
    room: () => {
      if (!failing) return batch;
      return clock.now().getTime() < pausedUntil ? 0 : 1;
    },
  };
}

/** Created once; the reason of this abort is never read. */
const answered = new Error('answered');

/**
 * @throws DeliveryError `timed_out` when the time is up or the broker stops, whether or not `work` honours
 *   its signal
 */
async function withDeadline<T>(
  clock: Clock,
  stopping: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
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
    return await Promise.race([work(signal).catch((error) => (signal.aborted ? over : Promise.reject(error))), over]);
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
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
  /** Ends what is under way. */
  stop(): Promise<void>;
}

/** Nothing is read while no channel delivers. */
export function openOutbox(deps: OutboxDeps): Outbox {
  const channels = deliveringChannels(deps.channels);
  const stopping = new AbortController();
  const busy = new Map<string, Promise<void>>();
  const health = new Map(channels.map(({ name }) => [name, openHealth(deps, name)]));
  const retried = createRetried(deps.clock, deps.log);
  const drain = async (channel: Delivering) => {
    const own = health.get(channel.name)!;
    try {
      for (let room = own.room(); room > 0 && !stopping.signal.aborted; room = own.room()) {
        if ((await deliverDue(deps, channel, room, stopping.signal, own)) < room) break;
      }
      retried.works(channel.name, { channel: channel.name }, 'the approval outbox is read again');
    } catch (error) {
      const words = 'the approval outbox cannot be read; it is tried again, and this is said once';
      retried.failed(channel.name, error, { channel: channel.name }, words);
    }
  };
  return {
    deliver: () => {
      for (const channel of channels) {
        if (busy.has(channel.name)) continue;
        busy.set(
          channel.name,
          drain(channel).finally(() => busy.delete(channel.name)),
        );
      }
    },
    idle: async () => void (await Promise.all(busy.values())),
    stop: async () => {
      stopping.abort();
      await Promise.all(busy.values());
    },
  };
}
