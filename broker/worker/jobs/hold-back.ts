import { holdBackAll } from '../../sessions/hold-back.ts';
import { type SystemJob, stepSize } from '../job.ts';

/**
 * Ends what rules took from sessions, where a process died over it, and frozen sessions that nobody lifts.
 */
export const holdBack: SystemJob = {
  name: 'hold back',
  scope: 'system',
  run: (deps, now) => holdBackAll(deps, now, stepSize),
};
