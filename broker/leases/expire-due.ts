/** Ends leases whose time is up, as far as no provider call is needed. */

import type { Provider } from '../../providers/contract.ts';
import { appendEvent } from '../audit/append.ts';
import { eventBy } from '../audit/events.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import { grantEnded, grantFailed } from '../grants/transitions.ts';
import type { Statement, Store } from '../store/open.ts';
import type { LeaseMetrics } from './metrics.ts';
import { expireLease, startRevoking } from './transitions.ts';

/**
 * Active leases whose time is up, and intents whose answer never came. Where the provider itself has ended
 * the credential, the lease is `expired`; where it has not (GitHub's hour is longer than most plans), it must
 * be revoked. Leases of a provider that is switched off ($3 lists those that are on) can only be waited for.
 */
const expireDueStatement: Statement = {
  name: 'lease_age',
  text: `
    WITH due AS (
      SELECT id, status <> 'issuing' AND provider_expires_at <= $1::timestamptz AS over FROM lease
      WHERE due_at <= $1::timestamptz
        AND (status IN ('issuing', 'active') OR (status = 'revoking' AND provider_expires_at <= $1::timestamptz AND provider <> ALL($3::text[])))
      ORDER BY due_at FOR UPDATE SKIP LOCKED LIMIT $2::int
    ), expired AS (${expireLease('id IN (SELECT id FROM due WHERE over)', '$1::timestamptz')}
      RETURNING id, session_id, grant_id, provider, status, revoke_reason
    ), revoking AS (${startRevoking({
      where: 'id IN (SELECT id FROM due WHERE NOT over)',
      reason: `CASE WHEN status = 'issuing' THEN ${revokeReason('issue_timed_out')} ELSE ${revokeReason('expired')} END`,
      dueAt: '$1::timestamptz',
    })}
      RETURNING id, session_id, grant_id, provider, status, revoke_reason
    ), l AS (
      SELECT * FROM expired UNION ALL SELECT * FROM revoking
    ), failed AS (
      SELECT grant_id FROM l WHERE revoke_reason = ${revokeReason('issue_timed_out')}
    ), g AS (${grantFailed('failed', '$1::timestamptz')}
    ), h AS (${grantEnded('l', '$1::timestamptz', `l.revoke_reason <> ${revokeReason('issue_timed_out')}`)}
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: eventBy('status', { revoking: 'lease.revoking', expired: 'lease.expired' }), actor: "'worker'", grant: 'grant_id', lease: 'id', payload: "json_build_object('reason', revoke_reason)" }, 'l ORDER BY session_id, id')}
    )
    SELECT provider, status FROM l`,
};

export interface ExpireDeps {
  store: Store;
  clock: Clock;
  providers: ReadonlyMap<string, Provider>;
  metrics: LeaseMetrics;
}

/**
 * Expires or starts to revoke every lease whose time is up, at most `limit` in one statement, until none is
 * left.
 * @returns whether some of them must now be revoked by their providers
 */
export async function expireDue(deps: ExpireDeps, limit: number): Promise<boolean> {
  let revoking = false;
  for (;;) {
    const expired = await deps.store.run<{ provider: string; status: string }>(expireDueStatement, [
      deps.clock.now(),
      limit,
      [...deps.providers.keys()],
    ]);
    for (const row of expired) {
      if (row.status === 'expired') deps.metrics.expired.inc({ provider: row.provider });
      else revoking = true;
    }
    if (expired.length < limit) return revoking;
  }
}
