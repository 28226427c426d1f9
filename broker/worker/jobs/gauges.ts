import { measureLeases } from '../../leases/measure.ts';
import type { SystemJob } from '../job.ts';

/** Sets the gauges that operators' alarms watch. */
export const gauges: SystemJob = {
  name: 'gauges',
  scope: 'system',
  measures: true,
  run: (deps, now) => measureLeases(deps, now),
};
