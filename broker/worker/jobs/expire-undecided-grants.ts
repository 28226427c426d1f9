import { type JobDeps, type SystemJob, stepSize } from '../job.ts';

/**
 * Denies grants that nobody decided on, or nobody redeemed, in time.
 * @param expire denies at most the given number of grants; injected, because it belongs to approvals/
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
