/** Whether a Google Cloud plan is surely within another: fewer buckets, scopes, longer prefixes. Pure. */
import type { Plan } from '../contract.ts';
import { readPermission } from './permission.ts';

export function narrower(plan: Plan, than: Plan): boolean {
  const [one, other] = [readPermission(plan), readPermission(than)];
  return (
    plan.ttl_seconds <= than.ttl_seconds &&
    one.service_account === other.service_account &&
    one.exclusive === other.exclusive &&
    one.project === other.project &&
    one.scopes.every((scope) => other.scopes.includes(scope)) &&
    // Without buckets nothing but its scopes bounds it.
    (other.buckets.length === 0 ||
      (one.buckets.length > 0 &&
        one.buckets.every(({ bucket, role, prefix }) =>
          other.buckets.some(
            (wider) =>
              wider.bucket === bucket &&
              wider.role === role &&
              (wider.prefix === null || prefix?.startsWith(wider.prefix) === true),
          ),
        )))
  );
}
