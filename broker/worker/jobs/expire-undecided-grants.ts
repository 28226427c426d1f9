import { type JobDeps, type SystemJob, stepSize } from '../job.ts';

/**
 * Denies grants that nobody decided on, or nobody redeemed, in time.
 * @param expire what does it, at most so many at once; handed in because it is the approvals' and not the
 * broker's
 */
export function expireUndecidedGrants(
  expire: (store: JobDeps['store'], now: Date, limit: number) => Promise<unknown>,
): SystemJob {
  return {
    name: 'expire undecided grants',
    scope: 'system',
    run: (deps, now) => expire(deps.store, now, stepSize),
  };
}
