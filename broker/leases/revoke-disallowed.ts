/** Leases that a newer manifest no longer allows: the same state, the same path as every other end. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Statement, Store } from '../store/open.ts';
import { onceAnswered, startRevoking } from './transitions.ts';

const disallowStatement: Statement = {
  name: 'lease_disallow',
  text: `
    WITH due AS (
      SELECT id FROM lease WHERE id = ANY($1::text[]) AND status IN ('issuing', 'active') ORDER BY id FOR UPDATE
    ), l AS (
${startRevoking({ where: 'id IN (SELECT id FROM due)', reason: revokeReason('manifest_narrowed'), dueAt: onceAnswered('$2::timestamptz', '$3::int') })}
      RETURNING id, grant_id, session_id
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('lease.revoking'), actor: "'system'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', ${revokeReason('manifest_narrowed')})` }, 'l ORDER BY session_id, id')}
    )
    SELECT id FROM l`,
};

/** @returns how many are now on their way to revocation */
export async function revokeDisallowed(
  deps: { store: Store; mintDeadlineSeconds: number },
  leaseIds: readonly string[],
  now: Date,
): Promise<number> {
  if (leaseIds.length === 0) return 0;
  return (await deps.store.run(disallowStatement, [[...leaseIds], now, deps.mintDeadlineSeconds])).length;
}
