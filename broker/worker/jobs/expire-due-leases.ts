import { expireDue } from '../../leases/expire-due.ts';
import { type SystemJob, stepSize } from '../job.ts';

/**
 * Ends intents whose answer never came, and leases of providers that are switched off; notifies the loops of
 * the providers for those that must be revoked.
 */
export const expireDueLeases: SystemJob = {
  name: 'expire due leases',
  scope: 'system',
  run: async (deps) => {
    if (await expireDue(deps, stepSize)) deps.wakeProviders();
  },
};
