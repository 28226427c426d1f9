/** Leases by state, as an admin reads them. Never what revocation holds sealed. */

import type { LeaseStatus } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';

const listStatement: Statement = {
  name: 'lease_list',
  text: `
    SELECT id, grant_id, session_id, agent, provider, status, plan_digest, reserved, intent_at, issued_at, expires_at, provider_expires_at, due_at, attempts,
           revoke_reason, last_error, provider_text, evidence, ended_at
    FROM lease WHERE status = $1 ORDER BY intent_at LIMIT $2`,
};

/** The oldest first. */
export function listLeases(store: Store, status: LeaseStatus, limit: number): Promise<Record<string, unknown>[]> {
  return store.run(listStatement, [status, limit]);
}
