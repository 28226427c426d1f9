import type { SystemJob } from '../job.ts';

/**
 * Tells people, through their channels, of the grants that wait for them.
 * @param deliver what does it; handed in because it is the approvals' and not the broker's
 */
export function deliverNotices(deliver: () => void): SystemJob {
  return { name: 'deliver notices', scope: 'system', run: async () => deliver() };
}
