import { revokeDue } from '../../leases/revoke.ts';
import { type ProviderJob, stepSize } from '../job.ts';

/** Revokes the provider's due leases, step by step until a step is not full. */
export const revoke: ProviderJob = {
  name: 'revoke',
  scope: 'provider',
  prompt: true,
  run: async (deps, _now, provider) => {
    while ((await revokeDue(deps, provider, stepSize)) === stepSize);
  },
};
