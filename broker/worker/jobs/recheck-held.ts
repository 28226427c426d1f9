import { recheckHeld } from '../../grants/recheck.ts';
import type { SystemJob } from '../job.ts';

/** Ends what a newer manifest no longer allows. */
export const recheckHeldGrants: SystemJob = {
  name: 'recheck held grants',
  scope: 'system',
  run: (deps) => recheckHeld(deps, null),
};
