/** Everything that the next request needs, as a list of checks: one more is one more entry. */
import type { ReadinessCheck } from '../http/health.ts';
import { signingFault } from '../keys/check-signing.ts';
import type { KeyRing } from '../keys/ring.ts';
import { migrationsCheck, writesFault } from '../store/check-database.ts';
import type { Store } from '../store/open.ts';

export interface ReadinessSources {
  store: Store;
  ring: KeyRing;
  /** Manifests that are files and are not in force as given, in words; null = all are. */
  manifests(): string | null;
}

export function readinessChecks({ store, ring, manifests }: ReadinessSources): ReadinessCheck[] {
  return [
    { name: 'database', fault: () => writesFault(store) },
    { name: 'migrations', fault: migrationsCheck(store) },
    { name: 'signing_key', fault: async () => signingFault(ring) },
    { name: 'manifests', fault: async () => manifests() },
  ];
}
