import { endOverdueSessions as end } from '../../sessions/end-session.ts';
import { type SystemJob, stepSize } from '../job.ts';

/** Ends sessions whose time is up, whose heartbeats are missing, or whose parent has ended. */
export const endOverdueSessions: SystemJob = {
  name: 'end overdue sessions',
  scope: 'system',
  run: (deps, now) => end(deps, now, stepSize),
};
