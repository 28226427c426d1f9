import { releaseEndedSessions as release } from '../../sessions/end-session.ts';
import { type SystemJob, stepSize } from '../job.ts';

/** Releases what ended sessions still hold, where a process died while it was ending them. */
export const releaseEndedSessions: SystemJob = {
  name: 'release ended sessions',
  scope: 'system',
  run: (deps, now) => release(deps, now, stepSize),
};
