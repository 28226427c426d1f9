/**
 * A provider's own time, learnt from the `Date` header of its answers. Credentials end by the provider's
 * clock, and it judges our signed tokens by it; ours may be ahead or behind.
 */
import type { Clock, ProviderClock } from './contract.ts';

/** A header that is further off is a broken one, and is not believed. */
const believableMs = 24 * 3600_000;

/** A measurement serves so long; then the provider is asked again before an end is judged by it. */
const freshMs = 5 * 60_000;

export interface ObservedClock extends ProviderClock {
  /**
   * Notes the `Date` of an answer whose request left at `sentAt`. An answer from a cache (it has an `Age`)
   * tells an older time and is passed over.
   */
  observe(date: string | null | undefined, sentAt: Date, age?: string | null): void;
  /** The provider's time now, as far as it was measured; ours while nothing was. */
  now(): Date;
  /** Our own time, for `sentAt`. */
  ours(): Date;
}

/**
 * A moment as HTTP writes it (RFC 9110 section 5.6.7), or as ISO 8601 does. Without a zone it is in GMT,
 * where `Date.parse` would take it for the time of this machine, and a bare number for a year.
 * @returns milliseconds; NaN when it is none
 */
export function httpDate(text: string): number {
  if (!/^(?:[A-Za-z]{3,9},? (?:\d{1,2}[ -][A-Za-z]{3}|[A-Za-z]{3} +\d{1,2})[ -]|\d{4}-\d{2}-\d{2}T)/.test(text))
    return Number.NaN;
  const zoned = /(?:GMT|UTC|Z|[+-]\d{2}:?\d{2})$/.test(text);
  return Date.parse(zoned ? text : text.includes('T') && /^\d/.test(text) ? `${text}Z` : `${text} GMT`);
}

/** Asks an address for any answer, for the sake of its date. Throws what `fetch` throws. */
export async function askDate(url: string, clock: ObservedClock, signal: AbortSignal): Promise<void> {
  const sentAt = clock.ours();
  const { headers, body } = await fetch(url, { redirect: 'manual', signal });
  clock.observe(headers.get('date'), sentAt, headers.get('age'));
  await body?.cancel();
}

/** @param ping any cheap call to the provider whose answer is observed */
export function observedClock(clock: Clock, ping: (signal: AbortSignal) => Promise<void>): ObservedClock {
  let measured: { skewMs: number; at: number } | null = null;
  const now = () => new Date(clock.now().getTime() + (measured?.skewMs ?? 0));
  return {
    observe: (date, sentAt, age) => {
      const told = date == null || (age != null && age !== '0') ? Number.NaN : httpDate(date.trim());
      const received = clock.now().getTime();
      if (Number.isNaN(told) || Math.abs(told - received) > believableMs) return;
      // The header counts whole seconds, and was written at some moment between sending and receiving.
      const least = told - received;
      const most = told + 999 - sentAt.getTime();
      const skewMs = least <= 0 && most >= 0 ? 0 : Math.round((least + most) / 2);
      measured = { skewMs, at: received };
    },
    now,
    ours: () => clock.now(),
    skewMs: () => measured?.skewMs ?? null,
    askNow: async (signal) => {
      const age = measured === null ? Number.POSITIVE_INFINITY : Math.abs(clock.now().getTime() - measured.at);
      if (age > freshMs) await ping(signal);
      return now();
    },
  };
}
