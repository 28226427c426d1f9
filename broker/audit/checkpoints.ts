/**
 * Writes signed checkpoints of all chain heads at an interval. What one row of the database knows of them is
 * proven as other rows are; of several workers one writes at a time.
 *
 * Signed first, kept, then delivered, then forgotten: whoever dies between leaves lines that the next one
 * delivers again, to the letter. This moves no chain and writes no audit row: history would grow by being
 * looked at.
 */
import type { KeyObject } from 'node:crypto';
import type { ProvenRows } from '../core/proven-rows.ts';
import { pauseAfter } from '../core/retry-after.ts';
import type { SideChannelMetrics } from '../core/side-channel.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { type ChainHead, hashOf, signCheckpoint } from './checkpoint-format.ts';
import type { CheckpointSink } from './checkpoint-sinks.ts';

export interface CheckpointDeps {
  store: Store;
  clock: Clock;
  key: KeyObject;
  /** All must take a checkpoint. */
  sinks: readonly CheckpointSink[];
  seconds: number;
  log: { error(fields: object, message: string): void; info(fields: object, message: string): void };
  metrics?: SideChannelMetrics;
}

export interface Checkpoints {
  /** Starts to write what is due, if nothing is under way. Never waits, never throws. */
  tick(): void;
  /**
   * Writes what is due. @throws Error when a sink or the database fails: what is not delivered stays to be
   */
  write(): Promise<void>;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
  stop(): Promise<void>;
}

/** Characters of the heads in one line: what reads a container's log cuts at 16 KiB, a third is encoding. */
const lineLength = 10_000;
/** Heads read, and lines signed, in one step. */
const headsPerStep = 2_000;
/** How long one process may take before another takes over, and a sink before it has failed. */
const claimMs = 60_000;
const sinkMs = 15_000;
/** After a failure, twice as long after each that follows it. */
const retryMs = 30_000;
const longestRetryMs = 600_000;
/** An event is committed later than its time says, and clocks differ: so far back is looked every time. */
const overlapMs = 600_000;

type State = ProvenRows['audit_checkpoint'];
const start: State = { number: 0, hash: '', watermark: null, next_watermark: null, cursor: '', pending: null };

// A time that is later than any that a broker sets is somebody else's: it must not keep checkpoints away.
const claimStatement: Statement = {
  name: 'checkpoint_claim',
  text: `
    INSERT INTO audit_checkpoint (number, hash, cursor, due_at) VALUES (0, '', '', $2::timestamptz)
    ON CONFLICT (id) DO UPDATE SET due_at = $2::timestamptz WHERE audit_checkpoint.due_at <= $1::timestamptz OR audit_checkpoint.due_at > $3::timestamptz
    RETURNING number, hash, watermark, next_watermark, cursor, pending, proof`,
};

const saveStatement: Statement = {
  name: 'checkpoint_save',
  text: `
    UPDATE audit_checkpoint SET number = $2::int, hash = $3::text, watermark = $4::timestamptz, next_watermark = $5::timestamptz, cursor = $6::text,
           pending = $7::text, proof = $8::text, due_at = $9::timestamptz
    WHERE id = 1 AND proof = $1::text RETURNING id`,
};

const allHeadsStatement: Statement = {
  name: 'checkpoint_all_heads',
  text: 'SELECT chain, seq, head FROM audit_chain WHERE chain > $1::text ORDER BY chain LIMIT $2::int',
};

const movedHeadsStatement: Statement = {
  name: 'checkpoint_moved_heads',
  text: `
    SELECT c.chain, c.seq, c.head FROM audit_chain c
    WHERE c.chain > $1::text AND c.chain IN (SELECT e.chain FROM audit_event e WHERE e.at > $3::timestamptz) ORDER BY c.chain LIMIT $2::int`,
};

interface Head {
  chain: string;
  seq: number;
  head: string;
}

/** @returns at least one, which may be empty */
function inLines(heads: readonly Head[]): ChainHead[][] {
  const lines: ChainHead[][] = [[]];
  let length = 0;
  for (const { chain, seq, head } of heads) {
    const one: ChainHead = [chain, seq, head];
    const more = JSON.stringify(one).length + 1;
    if (length > 0 && length + more > lineLength) {
      lines.push([]);
      length = 0;
    }
    lines.at(-1)!.push(one);
    length += more;
  }
  return lines;
}

export function createCheckpoints(deps: CheckpointDeps): Checkpoints {
  const { store, clock, log } = deps;
  /** Heads that this process has written lately: within the overlap they would come again. */
  const written = new Map<string, number>();
  const stopping = new AbortController();
  let running: Promise<void> | null = null;
  let failures = 0;
  let said = false;
  let dueFrom = 0;
  /** Sinks that have what is pending: while another one fails, they are not told it again and again. */
  let taken = { pending: '', sinks: new Set<CheckpointSink>() };
  const labels = { channel: 'checkpoints' };
  deps.metrics?.failing.set(labels, 0);

  async function save(before: string, state: State, dueAt: Date): Promise<string> {
    const proof = store.proofs.make('audit_checkpoint', state);
    const { number, hash, watermark, next_watermark, cursor, pending } = state;
    const values = [before, number, hash, watermark, next_watermark, cursor, pending, proof, dueAt];
    const saved = await store.run(saveStatement, values);
    if (saved.length === 0) throw new Error('another process has written checkpoints meanwhile');
    return proof;
  }

  async function deliver(pending: string): Promise<void> {
    const signal = AbortSignal.any([AbortSignal.timeout(sinkMs), stopping.signal]);
    if (taken.pending !== pending) taken = { pending, sinks: new Set() };
    const { sinks } = taken;
    const told = await Promise.allSettled(
      deps.sinks
        .filter((sink) => !sinks.has(sink))
        .map(async (sink) => {
          await sink(pending.split('\n'), signal);
          sinks.add(sink);
        }),
    );
    for (const one of told) if (one.status === 'rejected') throw one.reason;
  }

  /** The next heads of this round, and the state after them. */
  async function advance(state: State, now: Date): Promise<{ state: State; done: boolean }> {
    const from = state.cursor === '' ? { ...state, next_watermark: new Date(now.getTime() - overlapMs) } : state;
    const place = [from.cursor, headsPerStep];
    const rows = await (from.watermark === null
      ? store.run<Head>(allHeadsStatement, place)
      : store.run<Head>(movedHeadsStatement, [...place, from.watermark]));
    const done = rows.length < headsPerStep;
    const heads = rows.filter(({ chain, seq }) => written.get(chain) !== seq);
    let { number, hash } = from;
    const lines: string[] = [];
    // A round without a move is said too: silence would look like a broker that does not run.
    for (const part of heads.length === 0 && !done ? [] : inLines(heads)) {
      number += 1;
      const line = signCheckpoint({ number, previous: hash, at: now.toISOString(), heads: part }, deps.key);
      hash = hashOf(line);
      lines.push(line);
    }
    if (written.size > 20 * headsPerStep) written.clear();
    for (const { chain, seq } of heads) written.set(chain, seq);
    const next = done
      ? { watermark: from.next_watermark, next_watermark: null, cursor: '' }
      : { cursor: rows.at(-1)!.chain };
    return { state: { ...from, ...next, number, hash, pending: lines.length === 0 ? null : lines.join('\n') }, done };
  }

  async function write(): Promise<void> {
    const now = clock.now();
    const claimed = new Date(now.getTime() + claimMs);
    // Of two clocks and two settings, twice the longest time.
    const latest = new Date(now.getTime() + 2 * Math.max(deps.seconds * 1000, longestRetryMs));
    const [row] = await store.run<State & { proof: string }>(claimStatement, [now, claimed, latest]);
    if (row === undefined) return;
    let { proof, ...state } = row;
    // A row that is new, was removed or was changed: from the beginning, which whoever verifies will see.
    if (proof === '' || !store.proofs.holds('audit_checkpoint', state, proof)) state = start;
    try {
      for (let done = false; !done && !stopping.signal.aborted; ) {
        if (state.pending === null) {
          const next = await advance(state, clock.now());
          proof = await save(proof, next.state, new Date(clock.now().getTime() + claimMs));
          ({ state, done } = next);
        }
        if (state.pending !== null) await deliver(state.pending);
        state = { ...state, pending: null };
        const due = new Date(clock.now().getTime() + (done ? deps.seconds * 1000 : claimMs));
        proof = await save(proof, state, due);
      }
      failures = 0;
    } catch (error) {
      written.clear();
      failures += 1;
      const pause = pauseAfter(
        error,
        Math.min(retryMs * 2 ** Math.min(failures - 1, 16), longestRetryMs),
        longestRetryMs,
      );
      await save(proof, state, new Date(clock.now().getTime() + pause)).catch(() => {});
      throw error;
    }
  }

  async function attempt(): Promise<void> {
    try {
      await write();
      if (said && failures === 0) {
        log.info({}, 'checkpoints of the record are written again');
        deps.metrics?.failing.set(labels, 0);
        said = false;
      }
    } catch (error) {
      if (stopping.signal.aborted) return;
      deps.metrics?.failures.inc(labels);
      deps.metrics?.failing.set(labels, 1);
      if (!said)
        log.error(
          { err: error },
          'checkpoints of the record cannot be written; it is tried again, and this is said once',
        );
      said = true;
    }
  }

  return {
    write,
    tick: () => {
      const now = clock.now().getTime();
      if (running !== null || (now < dueFrom && now > dueFrom - claimMs)) return;
      // Asking whether anything is due is a statement: not with every tick.
      dueFrom = now + Math.min(deps.seconds * 1000, 5_000);
      running = attempt().finally(() => {
        running = null;
      });
    },
    idle: async () => {
      await running;
    },
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}
