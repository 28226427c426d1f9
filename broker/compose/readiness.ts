/** Everything that the next request needs, as a list of checks: one more is one more entry. */
import type { ClockGuard } from '../core/clock-guard.ts';
import type { ReadinessCheck } from '../http/health.ts';
import { signingFault } from '../keys/check-signing.ts';
import type { KeyRing } from '../keys/ring.ts';
import { databaseFault, migrationsCheck } from '../store/check-database.ts';
import type { Store } from '../store/open.ts';

export interface ReadinessSources {
  store: Store;
  ring: KeyRing;
  /** Manifests that are files and are not in force as given, in words; null = all are. */
  manifests(): string | null;
  /** Files whose text was in force before and was replaced since, in words; null = none. */
  leftOut(): string | null;
  clockGuard: Pick<ClockGuard, 'holds'>;
  /** Providers' clocks that are far from ours, in words. */
  providerClocks(): string[];
  /** What a provider's target does not hold, in words. */
  stores(): string | null;
  /** Names of the weak settings in use. */
  weakSettings(): readonly string[];
  /** Why nobody can sign in, in words; null = as far as is known, people can. */
  signIn(): string | null;
}

export function readinessChecks(sources: ReadinessSources): ReadinessCheck[] {
  const { store, ring, manifests, leftOut, clockGuard, providerClocks, stores, weakSettings, signIn } = sources;
  const clockFault = 'this machine’s clock is too far from the database’s: no work is done until it is right';
  return [
    { name: 'database', fault: () => databaseFault(store) },
    { name: 'migrations', fault: migrationsCheck(store) },
    { name: 'signing_key', fault: async () => signingFault(ring) },
    { name: 'manifests', fault: async () => manifests() },
    { name: 'clock', fault: async () => (clockGuard.holds() ? null : clockFault) },
    { name: 'provider_clocks', warning: true, fault: async () => providerClocks().join('; ') || null },
    { name: 'weak_settings', warning: true, fault: async () => weakSettings().join(', ') || null },
    { name: 'manifests_left_out', warning: true, fault: async () => leftOut() },
    { name: 'sign_in', warning: true, fault: async () => signIn() },
    { name: 'stores', warning: true, fault: async () => stores() },
  ];
}
