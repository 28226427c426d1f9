import type { SystemJob } from '../job.ts';

/**
 * Writes signed checkpoints of the record to where the database's owner cannot reach them.
 * @param tick starts what is due and does not wait: a sink that hangs delays no other job
 */
export const writeCheckpoints = (tick: () => void): SystemJob => ({
  name: 'write checkpoints',
  scope: 'system',
  run: async () => tick(),
});
