import { releaseEndedSessions as release } from '../../sessions/end-session.ts';
import { type SystemJob, stepSize } from '../job.ts';

/**
 * Releases what ended sessions still hold, where a process died while it was ending them; wakes the loops of
 * the providers for what it held locked meanwhile.
 */
export const releaseEndedSessions: SystemJob = {
  name: 'release ended sessions',
  scope: 'system',
  run: async (deps, now) => {
    if (await release(deps, now, stepSize)) deps.wakeProviders();
  },
};
