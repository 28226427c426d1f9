import { expireDue } from '../../leases/expire-due.ts';
import { type SystemJob, stepSize } from '../job.ts';

/** Ends leases whose time is up, and notifies the loops of the providers for those that must be revoked. */
export const expireDueLeases: SystemJob = {
  name: 'expire due leases',
  scope: 'system',
  run: async (deps) => {
    if (await expireDue(deps, stepSize)) deps.wakeProviders();
  },
};
