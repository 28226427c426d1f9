/**
 * Records refusals. A row takes the lock of a chain, so a caller who has proven nothing must not be able to
 * cause rows without limit: each source gets a fixed number a minute, and one more row counts the rest.
 */

import { appendEvent } from '../audit/append.ts';
import { type EventPayload, eventAmong, eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { MisuseReason } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import { refusalReason } from '../identity/refusal.ts';
import type { Statement, Store } from '../store/open.ts';

type Refused = 'session.refused' | 'session.misused' | 'request.refused' | 'grant.refused' | 'signal.refused';

/** One of the two, with its own payload. */
export type RefusedEvent = {
  [T in Refused]: {
    chain: string;
    type: T /** Default `unknown`. */;
    actor?: string;
    requestId: string | null;
    payload: EventPayload<T>;
  };
}[Refused];

export interface Refusals {
  /**
   * @param source who is counted: an address (see `networkOf`), a session
   * @throws WritError `rate_limited` instead of writing, when this source had its rows for this minute
   */
  record(source: string, event: RefusedEvent): Promise<void>;
  /**
   * The same beside an answer that is given anyway: never throws, and takes nothing of what `record` counts,
   * so that nobody is refused a token for what was noted.
   */
  note(source: string, event: RefusedEvent): Promise<void>;
  /** Writes the counts that are not written yet. */
  close(): Promise<void>;
}

const windowMs = 60_000;
/** Beyond this many sources at once, new ones share one count, so that memory is bounded. */
const maxSources = 10_000;

interface Window {
  until: number;
  written: number;
  dropped: number;
}

const recordStatement: Statement = {
  name: 'refusal_record',
  text: appendEvent({
    chain: '$1::text',
    at: '$2::timestamptz',
    type: eventAmong(
      '$3::text',
      'session.refused',
      'session.misused',
      'request.refused',
      'grant.refused',
      'signal.refused',
    ),
    actor: '$6::text',
    request: '$4::text',
    payload: '$5::json',
  }),
};

/** @param perMinute rows for one source; 0 = no limit */
export function createRefusals(
  store: Store,
  clock: Clock,
  log: { error(fields: object, message: string): void },
  perMinute: number,
): Refusals {
  const recorded = new Map<string, Window>();
  const noted = new Map<string, Window>();
  const owed = new Set<Promise<void>>();
  const closing = new AbortController();

  const write = (event: Pick<RefusedEvent, 'chain' | 'type' | 'payload' | 'actor'>, requestId: string | null) =>
    store.run(recordStatement, [
      event.chain,
      clock.now(),
      event.type,
      requestId,
      JSON.stringify(event.payload),
      event.actor ?? 'unknown',
    ]);

  function windowOf(windows: Map<string, Window>, source: string, now: number): [string, Window] {
    const known = windows.get(source);
    if (known !== undefined && now < known.until) return [source, known];
    if (known === undefined && windows.size >= maxSources) {
      for (const [name, { until }] of windows) if (now >= until) windows.delete(name);
      if (windows.size >= maxSources && source !== 'others') return windowOf(windows, 'others', now);
    }
    const fresh = { until: now + windowMs, written: 0, dropped: 0 };
    windows.set(source, fresh);
    return [source, fresh];
  }

  /** At the end of the minute, or of the broker. */
  async function sumUp(source: string, window: Window, { chain, type, actor }: RefusedEvent): Promise<void> {
    await clock.sleep(window.until - clock.now().getTime(), closing.signal).catch(() => {});
    const payload = eventPayload(type, { code: 'rate_limited', source, dropped: window.dropped });
    await write({ chain, type, payload, ...(actor === undefined ? {} : { actor }) }, null).catch((error) =>
      log.error({ err: error, dropped: window.dropped }, 'refusals could not be put on the record'),
    );
  }

  /** @returns when this source's next row will be written; null = this one was */
  async function take(windows: Map<string, Window>, source: string, event: RefusedEvent): Promise<number | null> {
    const now = clock.now().getTime();
    const [name, window] = windowOf(windows, source, now);
    if (perMinute === 0 || window.written < perMinute) {
      window.written += 1;
      await write(event, event.requestId);
      return null;
    }
    window.dropped += 1;
    if (window.dropped === 1) {
      const sum: Promise<void> = sumUp(name, window, event).finally(() => owed.delete(sum));
      owed.add(sum);
    }
    return window.until - now;
  }

  return {
    record: async (source, event) => {
      const waitMs = await take(recorded, source, event);
      if (waitMs !== null) throw new WritError('rate_limited', { retryAfterSeconds: Math.ceil(waitMs / 1000) });
    },
    note: async (source, event) => {
      await take(noted, source, event).catch((error) =>
        log.error({ err: error, type: event.type }, 'a refusal could not be put on the record'),
      );
    },
    close: async () => {
      closing.abort();
      await Promise.all(owed);
    },
  };
}

/**
 * Why a proof did not hold, in one word for the record. `replayed` is the one that only the database can
 * tell.
 */
export function misuseReason(
  refusal: WritError,
  sent: { authorization: string | undefined; dpop: string | undefined },
): MisuseReason {
  const known = refusalReason(refusal);
  if (known !== null) return known;
  if (sent.dpop === undefined) return 'no_proof';
  return /^bearer /i.test(sent.authorization ?? '') ? 'sent_as_bearer' : 'replayed';
}
