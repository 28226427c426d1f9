/**
 * Holds this process's clock against the one that all processes share, the database's. A process whose clock
 * is far off would end what still works, and keep what has ended: while it is, it does no work that depends
 * on the time.
 */
import type { Logger } from 'pino';
import { WritError } from './errors.ts';
import type { Clock } from './vocabulary.ts';

/**
 * Half of what every kill is kept beyond its end: two processes may be this far off in opposite directions.
 */
export const largestSkewMs = 30_000;

export interface ClockGuard {
  /** Measures anew. Never rejects: a database that does not answer leaves the last verdict standing. */
  check(): Promise<boolean>;
  /** The last verdict. */
  holds(): boolean;
  /** Our time minus the database's, as last measured; null while it was not. */
  skewMs(): number | null;
}

/** Of whoever gives something for a time. */
export interface Timed {
  /** Absent: the clock is held against no other. */
  clockHolds?(): boolean;
}

/**
 * What is given by a wrong clock lasts too long for all others. Refusing, denying and ending take no clock.
 * @throws WritError `unavailable`
 */
export function requireClock({ clockHolds }: Timed): void {
  if (clockHolds?.() !== false) return;
  throw new WritError('unavailable', {
    detail: 'The clock of this broker is too far from its database’s. Nothing is given until it is right.',
    retryAfterSeconds: 30,
  });
}

/** For a clock that has nothing to do with the database's: tests move theirs by hand. */
export const unguarded: ClockGuard = { check: async () => true, holds: () => true, skewMs: () => null };

/** @param shared reads the shared clock */
export function guardClock(clock: Clock, shared: () => Promise<Date>, log: Logger): ClockGuard {
  let skewMs: number | null = null;
  let held = true;
  const measure = async () => {
    const before = clock.now().getTime();
    const theirs = (await shared()).getTime();
    const after = clock.now().getTime();
    // It was read at some moment between the two: a slow answer is no skew.
    if (theirs >= before && theirs <= after) return 0;
    return Math.round(theirs < before ? before - theirs : after - theirs);
  };
  const check = async () => {
    skewMs = await measure().catch(() => skewMs);
    const holds = skewMs === null || Math.abs(skewMs) <= largestSkewMs;
    const about = { skew_seconds: (skewMs ?? 0) / 1000, allowed_seconds: largestSkewMs / 1000 };
    if (held && !holds)
      log.error(about, 'this machine’s clock is too far from the database’s: no work is done until it is right');
    if (!held && holds) log.info(about, 'this machine’s clock agrees with the database’s again');
    held = holds;
    return holds;
  };
  return { check, holds: () => held, skewMs: () => skewMs };
}
