import { carryOutSignals as carryOut } from '../../signals/carry-out.ts';
import { type SystemJob, stepSize } from '../job.ts';

/** Ends what the identity provider signalled the end of. */
export const carryOutSignals: SystemJob = {
  name: 'carry out signals',
  scope: 'system',
  prompt: true,
  run: (deps, now) => carryOut(deps, now, stepSize),
};
