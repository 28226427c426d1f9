import { prune as pruneDenials } from '../../leases/maintenance.ts';
import type { ProviderJob } from '../job.ts';

/** Takes expired denials out of the provider's shared documents. */
export const prune: ProviderJob = {
  name: 'prune',
  scope: 'provider',
  run: (deps, _now, provider) => pruneDenials(deps, provider),
};
