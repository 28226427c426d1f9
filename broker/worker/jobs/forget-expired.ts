import type { JobDeps, SystemJob } from '../job.ts';

/**
 * Deletes one-time values that could not be used any more anyway. Rare: nothing depends on it but the size of
 * the tables.
 * @param rooms what forgets its own; one after another
 */
export function forgetExpired(rooms: readonly ((store: JobDeps['store'], now: Date) => Promise<unknown>)[]): SystemJob {
  return {
    name: 'forget expired',
    scope: 'system',
    everyTicks: 60,
    run: async (deps, now) => {
      for (const forget of rooms) await forget(deps.store, now);
    },
  };
}
