/** What operators watch about leases. `writ_revocations_failing` above zero is an alarm. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type LeaseMetrics = ReturnType<typeof createLeaseMetrics>;

export function createLeaseMetrics(registry: Registry) {
  const registers = [registry];
  return {
    issued: new Counter({
      name: 'writ_leases_issued_total',
      help: 'Credentials delivered.',
      labelNames: ['provider'],
      registers,
    }),
    mintFailures: new Counter({
      name: 'writ_mint_failures_total',
      help: 'Mints that failed.',
      labelNames: ['provider', 'code'],
      registers,
    }),
    mintSeconds: new Histogram({
      name: 'writ_mint_seconds',
      help: 'Time a provider took to mint.',
      labelNames: ['provider'],
      buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20],
      registers,
    }),
    revoked: new Counter({
      name: 'writ_leases_revoked_total',
      help: 'Leases revoked with proof.',
      labelNames: ['provider'],
      registers,
    }),
    expired: new Counter({
      name: 'writ_leases_expired_total',
      help: 'Leases that reached their natural end.',
      labelNames: ['provider'],
      registers,
    }),
    revokeFailures: new Counter({
      name: 'writ_revocation_failures_total',
      help: 'Attempts to revoke that failed.',
      labelNames: ['provider', 'code'],
      registers,
    }),
    failing: new Gauge({
      name: 'writ_revocations_failing',
      help: 'Leases whose revocation has failed at least once and is not proven yet.',
      labelNames: ['provider'],
      registers,
    }),
    oldestRevoking: new Gauge({
      name: 'writ_revocation_lag_seconds',
      help: 'Age of the oldest lease that is still being revoked.',
      labelNames: ['provider'],
      registers,
    }),
  };
}
