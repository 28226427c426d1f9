import { closeUnreported } from '../../actions/close-unreported.ts';
import { type SystemJob, stepSize } from '../job.ts';

/** Closes tool calls that an ended session left without a report. */
export const closeUnreportedCalls: SystemJob = {
  name: 'close unreported calls',
  scope: 'system',
  run: async ({ store }, now) => {
    while ((await closeUnreported(store, now, stepSize)) === stepSize);
  },
};
