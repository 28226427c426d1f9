/**
 * Pushes the events of every stream that wants them pushed. All state is in the rows: one worker at a time
 * holds a stream, events of one thing go in their order, and whoever dies leaves what the next one goes on
 * with. A receiver that hangs, fails or answers nonsense holds up its own stream alone.
 */
import type { EventStream } from '../core/event-stream.ts';
import { createRetried } from '../core/retried.ts';
import { createSideChannel, type SideChannel, type SideChannelDeps } from '../core/side-channel.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { Statement } from '../store/open.ts';
import type { Signalled } from './event-of.ts';
import { type PushOutcome, pushSet } from './push.ts';
import { signSet } from './sign-set.ts';
import { nextEvents, type ReadDeps, settleEvents } from './stored-events.ts';

export interface TransmitDeps extends ReadDeps {
  clock: Clock;
  ring: KeyRing;
  streams: readonly EventStream[];
  /** Tells this process from the others that deliver. */
  workerId: string;
  log: ReadDeps['log'] & SideChannelDeps['log'];
  metrics: SideChannelDeps['metrics'];
  random(): number;
}

export interface Transmitter {
  /** Starts delivering what is due, and does not wait for it. Never throws. */
  tick(): void;
  /** Ends what is under way; it is tried again later. */
  stop(): Promise<void>;
}

/** How long a receiver is waited for. */
const deadlineMs = 10_000;
/** Longer than the deadline and what is written after it: nobody delivers beside whoever holds the stream. */
const holdMs = 30_000;
/** Under way at a time. */
const batch = 20;
/** What a receiver asks for is believed so far. */
const longestPauseSeconds = 3_600;

/** No row where nothing waits, another holds it, or it is left alone. */
const holdStatement: Statement = {
  name: 'stream_hold',
  text: `
    INSERT INTO event_stream AS s (name, held_by, held_until, due_at)
    SELECT $1::text, $2::text, $4::timestamptz, $3::timestamptz WHERE EXISTS (SELECT 1 FROM stream_event e WHERE e.stream = $1::text)
    ON CONFLICT (name) DO UPDATE SET held_by = excluded.held_by, held_until = excluded.held_until
    WHERE s.held_until <= $3::timestamptz AND s.due_at <= $3::timestamptz RETURNING name`,
};

const letGoStatement: Statement = {
  name: 'stream_let_go',
  text: `
    UPDATE event_stream SET held_until = $3::timestamptz, due_at = $4::timestamptz WHERE name = $1::text AND held_by = $2::text`,
};

type Pushed = EventStream & { push: NonNullable<EventStream['push']> };

const cannotDeliver = 'the events of a stream cannot be delivered; it is tried again, and this is said once';

export function openTransmitter(deps: TransmitDeps): Transmitter {
  const { clock, store, log } = deps;
  const retried = createRetried(clock, log);
  const stopping = new AbortController();
  const busy = new Map<string, Promise<void>>();
  const pushed = deps.streams.filter((stream): stream is Pushed => stream.push !== null);
  const health = new Map(pushed.map(({ name }) => [name, openHealth(deps, name)]));

  async function drain(stream: Pushed): Promise<void> {
    const own = health.get(stream.name)!;
    for (let more = true; more && !stopping.signal.aborted; ) {
      const now = clock.now();
      const held = [stream.name, deps.workerId, now, new Date(now.getTime() + holdMs)];
      if ((await store.run(holdStatement, held)).length === 0) return;
      const { found, events } = await nextEvents(deps, stream, now, batch);
      const { pauseMs, settled } = await deliver(stream, own.chosen(events), own);
      const then = clock.now();
      await settleEvents(deps, stream, settled, { via: 'push', actor: 'system', now: then });
      const due = new Date(then.getTime() + pauseMs);
      await store.run(letGoStatement, [stream.name, deps.workerId, then, due]);
      more = pauseMs === 0 && found > 0;
    }
  }

  async function deliver(stream: Pushed, events: readonly Signalled[], own: Health) {
    const outcomes = await withDeadline(clock, stopping.signal, (signal) =>
      Promise.all(events.map(async (event) => ({ event, outcome: await deliverOne(stream, event, signal) }))),
    );
    // A stop cuts what is under way: that says nothing about the other side.
    const failures = stopping.signal.aborted ? [] : outcomes.filter(({ outcome }) => outcome.kind === 'failed');
    const asked = failures.map(({ outcome }) => (outcome.kind === 'failed' ? outcome.retryAfterSeconds : 0));
    const [first] = failures;
    let pauseMs = 0;
    if (first?.outcome.kind === 'failed') {
      const pause = own.failed({ signal: first.event.jti, code: first.outcome.code });
      pauseMs = Math.max(pause, Math.min(Math.max(...asked), longestPauseSeconds) * 1000);
    } else if (outcomes.length > 0 && !stopping.signal.aborted) own.works();
    const settled = outcomes.flatMap(({ event, outcome }) => {
      if (outcome.kind === 'failed') return [];
      return [{ event, refused: outcome.kind === 'refused' ? outcome.error : null }];
    });
    return { pauseMs, settled };
  }

  async function deliverOne(stream: Pushed, event: Signalled, signal: AbortSignal): Promise<PushOutcome> {
    const set = await signSet(deps.ring, deps.issuer, stream, event);
    return pushSet(stream.push, set, signal);
  }

  return {
    tick: () => {
      for (const stream of pushed) {
        const { name } = stream;
        if (busy.has(name) || stopping.signal.aborted) continue;
        const draining = drain(stream)
          .then(
            () => retried.works(name, { stream: name }, 'the events of a stream can be delivered again'),
            (error) => retried.failed(name, error, { stream: name }, cannotDeliver),
          )
          .finally(() => busy.delete(name));
        busy.set(name, draining);
      }
    },
    stop: async () => {
      stopping.abort();
      await Promise.all(busy.values());
    },
  };
}

interface Health {
  /**
   * What is tried now: while the receiver fails, one event to find out, each time another, because it may be
   * this one that it cannot bear.
   */
  chosen(events: readonly Signalled[]): readonly Signalled[];
  /** @returns how long to leave it alone, in ms */
  failed: SideChannel['failed'];
  works(): void;
}

function openHealth({ log, metrics, random }: TransmitDeps, name: string): Health {
  const consequence = 'its receiver learns late, or not at all, of what ended';
  const channel = createSideChannel(`stream-${name}`, consequence, { log, metrics, random });
  let failures = 0;
  return {
    chosen: (events) => (failures === 0 ? events : events.slice((failures - 1) % events.length).slice(0, 1)),
    failed: (about) => {
      failures += 1;
      return channel.failed(about);
    },
    works: () => {
      failures = 0;
      channel.works();
    },
  };
}

/** @param work ends soon after its signal is aborted: the time is up, or the broker stops */
async function withDeadline<T>(
  clock: Clock,
  stopping: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const done = new AbortController();
  clock.sleep(deadlineMs, done.signal).then(
    () => deadline.abort(),
    () => {},
  );
  try {
    return await work(AbortSignal.any([deadline.signal, stopping]));
  } finally {
    done.abort();
  }
}
