/** Drops what no receiver took: what is too old, and of each stream what is more than the table may hold. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Statement, Store } from '../store/open.ts';

/** Of one stream. */
const mostWaiting = 100_000;
const step = 10_000;

/** The streams of other releases and settings too: nobody else would. */
const expireStatement: Statement = {
  name: 'stream_expire',
  text: `
    WITH old AS (
      SELECT stream, jti FROM stream_event WHERE at <= $1::timestamptz LIMIT ${step}
    ), gone AS (
      DELETE FROM stream_event e USING old WHERE e.stream = old.stream AND e.jti = old.jti RETURNING e.stream
    ), counted AS (
      SELECT stream, count(*)::int AS events FROM gone GROUP BY stream
    ), event AS (
      ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('stream.dropped'), actor: "'system'", payload: "json_build_object('stream', stream, 'events', events, 'reason', 'expired')" }, 'counted ORDER BY stream')}
    )
    SELECT count(*)::int AS dropped FROM gone`,
};

/** The oldest first. */
const boundStatement: Statement = {
  name: 'stream_bound',
  text: `
    WITH over AS (
      SELECT greatest(0, count(*) - $2::int)::int AS many FROM stream_event WHERE stream = $1::text
    ), oldest AS (
      SELECT jti FROM stream_event WHERE stream = $1::text ORDER BY at, jti LIMIT (SELECT least(many, ${step}) FROM over)
    ), gone AS (
      DELETE FROM stream_event e USING oldest WHERE e.stream = $1::text AND e.jti = oldest.jti RETURNING e.jti
    ), counted AS (
      SELECT count(*)::int AS events FROM gone
    ), event AS (
      ${appendEvent({ chain: "'system'", at: '$3::timestamptz', type: event('stream.dropped'), actor: "'system'", payload: "json_build_object('stream', $1::text, 'events', events, 'reason', 'too_many')" }, 'counted WHERE events > 0')}
    )
    SELECT events AS dropped FROM counted`,
};

/** @param most of one stream; tests bound it lower */
export async function forgetUntaken(
  store: Store,
  streams: readonly string[],
  { keepSeconds, now, most = mostWaiting }: { keepSeconds: number; now: Date; most?: number },
): Promise<void> {
  const before = new Date(now.getTime() - keepSeconds * 1000);
  await inSteps(() => store.run(expireStatement, [before, now]));
  for (const stream of streams) await inSteps(() => store.run(boundStatement, [stream, most, now]));
}

async function inSteps(once: () => Promise<{ dropped: number }[]>): Promise<void> {
  for (let dropped = step; dropped === step; ) dropped = (await once())[0]?.dropped ?? 0;
}
