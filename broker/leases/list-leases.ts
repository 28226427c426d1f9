/** Leases by state, as an admin reads them. Never what revocation holds sealed. */

import type { LeaseStatus } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';

const listStatement: Statement = {
  name: 'lease_list',
  text: `
    SELECT id, grant_id, session_id, agent, provider, status, plan_digest, reserved, intent_at, issued_at, expires_at, provider_expires_at, due_at, attempts,
           revoke_reason, last_error, provider_text, evidence, ended_at
    FROM lease WHERE status = $1 AND id > $2 ORDER BY id LIMIT $3`,
};

/** The oldest first: ids sort by time. @param after id of the last one seen; empty = from the start */
export function listLeases(
  store: Store,
  status: LeaseStatus,
  after: string,
  limit: number,
): Promise<({ id: string } & Record<string, unknown>)[]> {
  return store.run(listStatement, [status, after, limit]);
}
