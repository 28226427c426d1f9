import type { SystemJob } from '../job.ts';

/**
 * Fetches signals of the identity provider.
 * @param tick starts a poll and does not wait: a transmitter may keep it open
 */
export const pollSignals = (tick: () => void): SystemJob => ({
  name: 'poll signals',
  scope: 'system',
  run: async () => tick(),
});
