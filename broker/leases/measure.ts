/** The gauges of `metrics.ts`, from the rows. */
import type { Provider } from '../../providers/contract.ts';
import type { Statement, Store } from '../store/open.ts';
import type { LeaseMetrics } from './metrics.ts';

const gaugeStatement: Statement = {
  name: 'lease_gauges',
  text: `
    SELECT provider, count(*) FILTER (WHERE last_error IS NOT NULL)::int AS failing, count(*)::int AS revoking, min(intent_at) AS oldest
    FROM lease WHERE due_at IS NOT NULL AND status = 'revoking' GROUP BY provider`,
};

export interface MeasureDeps {
  store: Store;
  providers: ReadonlyMap<string, Provider>;
  metrics: LeaseMetrics;
}

/** Sets, for each provider that has leases being revoked, how many are failing and how old the oldest is. */
export async function measureLeases(deps: MeasureDeps, now: Date): Promise<void> {
  const rows = await deps.store.run<{ provider: string; failing: number; revoking: number; oldest: Date }>(
    gaugeStatement,
    [],
  );
  deps.metrics.failing.reset();
  deps.metrics.oldestRevoking.reset();
  for (const row of rows) {
    // No worker can revoke for a provider that is switched off: count all of its leases as failing.
    const on = deps.providers.has(row.provider);
    deps.metrics.failing.set({ provider: row.provider }, on ? row.failing : row.revoking);
    deps.metrics.oldestRevoking.set({ provider: row.provider }, (now.getTime() - row.oldest.getTime()) / 1000);
  }
}
