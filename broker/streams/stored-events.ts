/** Rows of `stream_event`: read in order, and gone once their receiver has answered. */
import { appendEvent } from '../audit/append.ts';
import { event, eventAmong, eventPayload } from '../audit/events.ts';
import type { EventStream } from '../core/event-stream.ts';
import { provenColumns } from '../sessions/proven-session.ts';
import type { Statement, Store } from '../store/open.ts';
import { eventOf, type Signalled, type StoredEvent } from './event-of.ts';

const columns = `e.stream, e.jti, e.type, e.about, e.reason, e.number, e.at, e.proof AS event_proof,
      ${provenColumns('s')}, s.proof, s.status, s.end_reason, s.ended_at
    FROM stream_event e LEFT JOIN session s ON s.id = e.about`;

// Of one thing nothing is told before what came before it. As a value and not as NOT EXISTS, which would be a
// join with all that waits; ordered as the index is, so that a long queue is not sorted for its head.
const nextStatement: Statement = {
  name: 'stream_next',
  text: `
    SELECT ${columns} WHERE e.stream = $1::text
      AND e.number = (SELECT min(b.number) FROM stream_event b WHERE b.stream = e.stream AND b.about = e.about)
    ORDER BY e.at LIMIT $2::int`,
};

const namedStatement: Statement = {
  name: 'stream_named',
  text: `SELECT ${columns} WHERE e.stream = $1::text AND e.jti = ANY($2::text[]) ORDER BY e.jti`,
};

const settleStatement: Statement = {
  name: 'stream_settle',
  text: `
    WITH answered AS (
      SELECT a.jti, a.chain, a.type, a.payload FROM jsonb_to_recordset($2::jsonb) AS a (jti text, chain text, type text, payload json)
    ), gone AS (
      DELETE FROM stream_event e USING answered a WHERE e.stream = $1::text AND e.jti = a.jti RETURNING e.jti
    )
    ${appendEvent({ chain: 'a.chain', at: '$3::timestamptz', type: eventAmong('a.type', 'stream.delivered', 'stream.refused'), actor: '$4::text', payload: 'a.payload' }, 'answered a JOIN gone ON gone.jti = a.jti ORDER BY a.chain, a.jti')}`,
};

const dropStatement: Statement = {
  name: 'stream_drop',
  text: `
    WITH gone AS (
      DELETE FROM stream_event WHERE stream = $1::text AND jti = ANY($2::text[]) RETURNING jti
    ), counted AS (
      SELECT count(*)::int AS events FROM gone
    )
    ${appendEvent({ chain: "'system'", at: '$3::timestamptz', type: event('stream.dropped'), actor: "'system'", payload: "json_build_object('stream', $1::text, 'events', events, 'reason', 'unproven')" }, 'counted WHERE events > 0')}`,
};

/** Whoever goes on writing rows of their own holds nobody up. */
const mostReads = 10;

export interface ReadDeps {
  store: Store;
  issuer: string;
  log: { error(fields: object, message: string): void };
}

/**
 * The next events of a stream, oldest first; one of a session or an agent at a time. What this broker did not
 * write is dropped.
 * @returns `found`: how many rows there were, at most `limit`
 */
export async function nextEvents(
  deps: ReadDeps,
  stream: EventStream,
  now: Date,
  limit: number,
): Promise<{ found: number; events: Signalled[] }> {
  for (let read = 1; ; read += 1) {
    const rows = await deps.store.run<StoredEvent>(nextStatement, [stream.name, limit]);
    const events = await proven(deps, stream, now, rows);
    // What was dropped stood before others.
    if (events.length === rows.length || read === mostReads) return { found: rows.length, events };
  }
}

/** Those events of a stream that have these names and are still there. */
export async function namedEvents(
  deps: ReadDeps,
  stream: EventStream,
  now: Date,
  jtis: readonly string[],
): Promise<Signalled[]> {
  if (jtis.length === 0) return [];
  const rows = await deps.store.run<StoredEvent>(namedStatement, [stream.name, [...jtis]]);
  return proven(deps, stream, now, rows);
}

async function proven(deps: ReadDeps, stream: EventStream, now: Date, rows: StoredEvent[]): Promise<Signalled[]> {
  const { store, issuer, log } = deps;
  const read = rows.map((row) => ({ jti: row.jti, event: eventOf(store, issuer, stream, row) }));
  const forged = read.flatMap(({ jti, event }) => (event === null ? [jti] : []));
  if (forged.length > 0) {
    log.error({ stream: stream.name, events: forged.length }, 'events that this broker did not write are dropped');
    await store.run(dropStatement, [stream.name, forged, now]);
  }
  return read.flatMap(({ event }) => event ?? []);
}

/** What a receiver says of an event. */
export interface Settled {
  event: Signalled;
  /** Its own words, where it refuses. */
  refused: { err: string; description: string } | null;
}

/** Forgets events that the receiver has answered, and puts on record how. One that is gone already is not. */
export async function settleEvents(
  { store }: Pick<ReadDeps, 'store'>,
  stream: EventStream,
  settled: readonly Settled[],
  how: { via: 'push' | 'poll'; actor: string; now: Date },
): Promise<void> {
  if (settled.length === 0) return;
  const answered = settled.map(({ event: { jti, event, chain }, refused }) => {
    const signalled = { stream: stream.name, signal: jti, event, via: how.via };
    return refused === null
      ? { jti, chain, type: 'stream.delivered', payload: eventPayload('stream.delivered', signalled) }
      : { jti, chain, type: 'stream.refused', payload: eventPayload('stream.refused', { ...signalled, ...refused }) };
  });
  await store.run(settleStatement, [stream.name, JSON.stringify(answered), how.now, how.actor]);
}
