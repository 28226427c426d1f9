import type { SystemJob } from '../job.ts';

/**
 * Writes, once a day, what is told to owners of what was decided in their name.
 * @param write what does it; handed in because it is the approvals' and not the broker's
 */
export function writeDigests(write: () => Promise<void>): SystemJob {
  return { name: 'write digests', scope: 'system', everyTicks: 10, run: write };
}
