/** What operators watch: events that wait for their receivers, and since when. */
import { Gauge, type Registry } from 'prom-client';
import type { Statement, Store } from '../store/open.ts';

export type StreamMetrics = ReturnType<typeof createStreamMetrics>;

export function createStreamMetrics(registry: Registry) {
  const shared = { labelNames: ['stream'] as const, registers: [registry] };
  return {
    waiting: new Gauge({
      name: 'writ_stream_events_waiting',
      help: 'Events that the receiver of a stream has not taken.',
      ...shared,
    }),
    oldest: new Gauge({
      name: 'writ_stream_oldest_seconds',
      help: 'Age of the oldest event that the receiver of a stream has not taken.',
      ...shared,
    }),
  };
}

const waitingStatement: Statement = {
  name: 'stream_measure',
  text: `
    SELECT stream, count(*)::int AS waiting, min(at) AS oldest FROM stream_event WHERE stream = ANY($1::text[]) GROUP BY stream`,
};

export async function measureStreams(
  store: Store,
  metrics: StreamMetrics,
  streams: readonly string[],
  now: Date,
): Promise<void> {
  const rows = await store.run<{ stream: string; waiting: number; oldest: Date }>(waitingStatement, [[...streams]]);
  for (const stream of streams) {
    const row = rows.find((one) => one.stream === stream);
    metrics.waiting.set({ stream }, row?.waiting ?? 0);
    metrics.oldest.set({ stream }, row === undefined ? 0 : Math.max(0, (now.getTime() - row.oldest.getTime()) / 1000));
  }
}
