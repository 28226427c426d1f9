import { releaseSlots } from '../../leases/maintenance.ts';
import type { ProviderJob } from '../job.ts';

/** Puts members of the provider's pool back into use once the last token minted on them has expired. */
export const releasePool: ProviderJob = {
  name: 'release pool',
  scope: 'provider',
  prompt: true,
  run: (deps, _now, provider) => releaseSlots(deps, provider),
};
