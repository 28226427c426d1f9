import type { EventStream } from '../../core/event-stream.ts';
import { forgetUntaken } from '../../streams/forget-untaken.ts';
import { measureStreams, type StreamMetrics } from '../../streams/metrics.ts';
import { forgetSuspensions, watchSuspensions as watch } from '../../streams/watch-suspensions.ts';
import type { SystemJob } from '../job.ts';

/** Finds which agents and sessions are suspended, and tells event streams what has changed. */
export const watchSuspensions = (streams: readonly EventStream[]): SystemJob => ({
  name: 'watch suspensions',
  scope: 'system',
  run: ({ store }, now) => watch(store, streams, now),
});

/**
 * Pushes what event streams are told.
 * @param tick starts it and does not wait: a receiver may hang
 */
export const pushEvents = (tick: () => void): SystemJob => ({
  name: 'push events',
  scope: 'system',
  prompt: true,
  run: async () => tick(),
});

/** Drops what no receiver took, and says how much waits. */
export const forgetEvents = (
  streams: readonly EventStream[],
  { keepSeconds, metrics }: { keepSeconds: number; metrics: StreamMetrics },
): SystemJob => ({
  name: 'forget events',
  scope: 'system',
  everyTicks: 30,
  run: async ({ store }, now) => {
    const names = streams.map(({ name }) => name);
    await forgetUntaken(store, names, { keepSeconds, now });
    await forgetSuspensions(store);
    await measureStreams(store, metrics, names, now);
  },
});
