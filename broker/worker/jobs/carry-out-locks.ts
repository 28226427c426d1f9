import { carryOutLocks as carryOut } from '../../locks/carry-out.ts';
import { restoreLocks } from '../../locks/restore-locks.ts';
import type { SystemJob } from '../job.ts';

/** Ends what lives under locks that stand: where a process died over it, and what slipped in. */
export const carryOutLocks: SystemJob = {
  name: 'carry out locks',
  scope: 'system',
  run: async (deps, now) => {
    await restoreLocks(deps, now);
    await carryOut(deps, now);
  },
};
