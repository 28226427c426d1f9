/**
 * Calls that cannot wait for the network: a snapshot kept fresh in the background, calls let through by it,
 * and their report afterwards, in bulk. What cannot be reported makes later calls be asked for.
 */
import type { JSONWebKeySet } from 'jose';
import type { Clock } from './clock.ts';
import { WritError } from './errors.ts';
import { keepAlive } from './heartbeat.ts';
import { covers, holds, plainArguments, readSnapshot, type Snapshot } from './snapshot.ts';
import { type AllowedCall, type CallOptions, type CallReport, finishCall, type Send } from './tools.ts';

interface Made {
  snapshot: Snapshot;
  callId: string;
  tool: string;
  args: { [name: string]: unknown };
  /** By the broker's clock, as far as the snapshot tells it. */
  at: Date;
  promptedBy: string | undefined;
  report: CallReport | null;
  /** The action on record; null = one whose outcome is not to be reported; absent = not reported yet. */
  actionId?: string | null;
}

export interface Offline {
  /** Lets a call through, or says nothing of it: then it is asked for. */
  call(tool: string, args: { [name: string]: unknown }, options: CallOptions): AllowedCall | undefined;
  /** Reports what was called so far. Never rejects; what could not be reported is still waiting. */
  flush(): Promise<void>;
  /** Lets nothing through until there is another snapshot. */
  drop(): void;
  /** Resolves once there is a snapshot, or none to be had. Never rejects. */
  ready: Promise<void>;
}

interface Deps {
  clock: Clock;
  send: Send;
  issuer: string;
  sessionId: string;
  signal: AbortSignal;
  /** Told when a report shows that the session has ended, was suspended or narrowed by it. */
  restrained(effect: string): void;
}

/** Calls that may wait to be reported, and for how long they do, in milliseconds. */
const mostWaiting = 500;
const flushAfterMs = 1_000;
/** Of one report: a body of 64 kB has room for them and the snapshot. */
const mostInReport = 50;
const mostBytes = 32_000;
/** Where no snapshot is given, or none can be had, it is asked for again after so long, in seconds. */
const retrySeconds = 30;

export function goOffline({ clock, send, issuer, sessionId, signal, restrained }: Deps): Offline {
  let keys: JSONWebKeySet | null = null;
  let current: Snapshot | null = null;
  let waiting: Made[] = [];
  /** On record, with an outcome that is not. */
  let finished: Made[] = [];
  let failed = false;
  let flushing: Promise<void> | null = null;
  let timed = false;

  const refresh = async () => {
    const asked = clock.now().getTime();
    try {
      const { body } = await send({ method: 'GET', path: '/v1/tools/snapshot', repeatable: true, signal });
      const jws: unknown = body?.snapshot;
      const fresh = typeof jws === 'string' ? await verified(jws, asked) : null;
      current = signal.aborted ? null : fresh;
      return fresh === null ? retrySeconds : (fresh.until - fresh.from) / 1000;
    } catch (error) {
      // Told no: what it allowed is allowed no more. Not reached: it holds until it is over.
      if (error instanceof WritError && error.code !== 'network' && error.status !== 503) current = null;
      return retrySeconds;
    }
  };

  const verified = async (jws: string, asked: number): Promise<Snapshot | null> => {
    const expected = { issuer, sessionId, asked };
    const known = keys === null ? null : await readSnapshot(jws, keys, expected);
    if (known !== null) return known;
    // The broker's keys change now and then.
    keys = (await send({ method: 'GET', path: '/.well-known/jwks.json', repeatable: true, signal })).body;
    return readSnapshot(jws, keys!, expected);
  };

  const beat = async () => {
    const seconds = await refresh();
    return { heartbeatSeconds: seconds / 2, expiresIn: seconds };
  };
  const first = beat();
  void first.then((rhythm) => keepAlive(clock, rhythm, beat, signal));

  /** Calls by one snapshot, as many as one report has room for. */
  const nextReport = (): Made[] => {
    const [first] = waiting;
    const batch: Made[] = [];
    let bytes = 0;
    for (const made of waiting) {
      bytes += JSON.stringify(made.args).length * 2 + 512;
      if (made.snapshot !== first!.snapshot || batch.length === mostInReport || bytes > mostBytes) break;
      batch.push(made);
    }
    return batch;
  };

  const reportCalls = async (batch: readonly Made[]) => {
    const calls = batch.map(({ callId, tool, args, at, promptedBy, report }) => ({
      call_id: callId,
      tool,
      arguments: args,
      made_at: at.toISOString(),
      ...(promptedBy === undefined ? {} : { prompted_by: promptedBy }),
      ...(report === null ? {} : { outcome: report.outcome }),
    }));
    const json = { snapshot: batch[0]!.snapshot.jws, calls };
    const { body } = await send({ method: 'POST', path: '/v1/actions/report', json, repeatable: true });
    const reports: { id: string | null; effect: string | null }[] = body?.reports;
    if (!Array.isArray(reports) || reports.length !== batch.length)
      throw new WritError('bad_answer', 'The broker did not say what it has on record');
    waiting = waiting.slice(batch.length);
    for (const [index, made] of batch.entries()) {
      const { id, effect } = reports[index]!;
      made.actionId = effect === 'allow' ? id : null;
      if (made.report !== null && !('outcome' in calls[index]!)) finished.push(made);
      if (effect === 'allow') continue;
      // What was let through would not have been: the snapshot is no longer what holds.
      current = null;
      if (effect !== null) restrained(effect);
    }
  };

  const reportOutcomes = async (batch: readonly Made[]) => {
    const reports = batch.flatMap(({ actionId, report }) =>
      actionId == null || report === null ? [] : [{ id: actionId, outcome: report.outcome }],
    );
    if (reports.length > 0)
      await send({ method: 'POST', path: '/v1/actions/finish', json: { reports }, repeatable: true });
    finished = finished.slice(batch.length);
  };

  const flushAll = async () => {
    while (waiting.length > 0) await reportCalls(nextReport());
    while (finished.length > 0) await reportOutcomes(finished.slice(0, mostInReport));
  };

  const flush = (): Promise<void> => {
    flushing ??= flushAll()
      .then(() => {
        failed = false;
      })
      .catch(() => {
        failed = true;
      })
      .finally(() => {
        flushing = null;
      });
    return flushing;
  };

  /**
   * Not in the background: a process that has nothing else to do ends when its calls are reported; but one
   * whose broker is away does not wait for it.
   */
  const flushSoon = () => {
    if (timed) return;
    timed = true;
    void clock
      .sleep(flushAfterMs, undefined, failed)
      .catch(() => {})
      .then(async () => {
        timed = false;
        await flush();
        if (failed && !signal.aborted) flushSoon();
      });
  };

  const finisher =
    (made: Made) =>
    async (report: CallReport): Promise<void> => {
      // What history takes is on record before anything else is asked for.
      const { labels = [], entities = [], costUsd } = report;
      if (labels.length + entities.length > 0 || costUsd !== undefined) {
        if (made.actionId === undefined) await flushed();
        if (made.actionId === undefined) throw new WritError('network', 'The call could not be reported yet');
        if (made.actionId !== null) await finishCall(send, made.actionId, report);
        return;
      }
      made.report = report;
      if (made.actionId !== undefined) {
        finished.push(made);
        flushSoon();
      }
    };

  /** Also what came while another flush was under way. */
  const flushed = async () => {
    await flush();
    if (!failed && waiting.length + finished.length > 0) await flush();
  };

  return {
    call: (tool, args, { callId = crypto.randomUUID(), costUsd, promptedBy }) => {
      const now = clock.now();
      const snapshot = current;
      if (snapshot === null || failed || signal.aborted || !holds(snapshot, now.getTime())) return undefined;
      // Its cost, and an id that was used before, are the broker's to judge.
      if (costUsd !== undefined || callId.length > 256 || waiting.length >= mostWaiting) return undefined;
      const plain = plainArguments(args);
      if (plain === undefined || !covers(snapshot, tool, plain)) return undefined;
      const at = new Date(snapshot.issuedAt + (now.getTime() - snapshot.from));
      const made: Made = { snapshot, callId, tool, args: plain, at, promptedBy, report: null };
      waiting.push(made);
      if (waiting.length >= mostInReport) void flush();
      else flushSoon();
      return { id: callId, finish: finisher(made) };
    },
    flush: flushed,
    drop: () => {
      current = null;
    },
    ready: first.then(() => {}),
  };
}
