/** The clocks of a broker: its own against the database's, and the providers' against its own. */
import { Gauge, type Registry } from 'prom-client';
import type { Provider } from '../../providers/contract.ts';
import { type ClockGuard, guardClock, largestSkewMs, unguarded } from '../core/clock-guard.ts';
import { databaseClock } from '../store/database-clock.ts';
import type { Foundation, Overrides } from './foundation.ts';

/** A clock that a test moves is held against the database's only when the test says by what. */
export function createClockGuard({ clock, store, log }: Foundation, overrides: Overrides): ClockGuard {
  if (overrides.databaseClock !== undefined) return guardClock(clock, overrides.databaseClock, log);
  return overrides.clock === undefined ? guardClock(clock, () => databaseClock(store), log) : unguarded;
}

type Providers = ReadonlyMap<string, Pick<Provider, 'clock'>>;

/** What operators watch: every clock that ours was held against. */
export function measureClocks(registry: Registry, guard: ClockGuard, providers: Providers): void {
  new Gauge({
    name: 'writ_clock_skew_seconds',
    help: 'This process’s clock minus another’s: the database’s, or a provider’s as its answers tell it.',
    labelNames: ['against'],
    registers: [registry],
    collect() {
      this.reset();
      const database = guard.skewMs();
      if (database !== null) this.set({ against: 'database' }, database / 1000);
      for (const [name, provider] of providers) {
        const theirs = provider.clock?.skewMs() ?? null;
        if (theirs !== null) this.set({ against: name }, -theirs / 1000);
      }
    },
  });
}

/**
 * One sentence for each provider whose clock is far from ours: tokens are corrected by it, yet somebody
 * should look.
 */
export function clockWarnings(providers: Providers): string[] {
  return [...providers].flatMap(([name, { clock }]) => {
    const skewMs = clock?.skewMs() ?? 0;
    if (Math.abs(skewMs) < largestSkewMs) return [];
    const seconds = Math.round(Math.abs(skewMs) / 1000);
    return [`the clock of ${name} is ${seconds} s ${skewMs < 0 ? 'behind' : 'ahead of'} this machine’s`];
  });
}
