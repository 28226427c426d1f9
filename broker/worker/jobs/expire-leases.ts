import { expireOf } from '../../leases/expire-due.ts';
import { type ProviderJob, stepSize } from '../job.ts';

/**
 * Ends the provider's leases whose time is up, by the provider's own clock; the next job revokes what must
 * be.
 */
export const expireLeases: ProviderJob = {
  name: 'expire leases',
  scope: 'provider',
  run: (deps, _now, provider) => expireOf(deps, provider, stepSize),
};
