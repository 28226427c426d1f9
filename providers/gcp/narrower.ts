/** Whether a Google Cloud plan is surely within another: fewer buckets, scopes, longer prefixes. Pure. */
import type { Plan } from '../contract.ts';
import { type BucketAccess, beginningOf } from './boundary.ts';
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
        one.buckets.every((access) =>
          other.buckets.some(
            (wider) => wider.bucket === access.bucket && wider.role === access.role && isWithin(access, wider),
          ),
        )))
  );
}

/** Whether all that one reaches of a bucket, the other does. */
function isWithin(access: BucketAccess, wider: BucketAccess): boolean {
  const most = beginningOf(wider);
  // The whole bucket, its folders included.
  if (most === '') return true;
  if (wider.object !== undefined) return access.object === wider.object;
  // A folder itself is reached through a folder alone.
  if (access.managed_folder !== undefined && wider.managed_folder === undefined) return false;
  return beginningOf(access).startsWith(most);
}
