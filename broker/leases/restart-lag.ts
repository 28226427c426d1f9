/**
 * A denial that somebody took out of a shared document, and that our next write put in again, is as good as
 * new: its lag starts anew, and a lease that was called revoked is not.
 */

import type { Logger } from 'pino';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { startRevoking } from './transitions.ts';

const restartStatement: Statement = {
  name: 'lease_restart_lag',
  text: `
    WITH l AS (
${startRevoking({
  where: "id = ANY($2::text[]) AND (status = 'revoked' OR settling_since IS NOT NULL)",
  reason: revokeReason('denial_removed'),
  dueAt: '$1::timestamptz',
  from: ['revoking', 'revoked'],
  anew: true,
})}
      RETURNING id, session_id, grant_id
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('lease.revoking'), actor: "'worker'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', ${revokeReason('denial_removed')})` }, 'l ORDER BY session_id, id')}
    )
    SELECT id FROM l`,
};

/** @param rewritten leases whose denial was not there; those that were never denied before are left alone */
export async function restartLag(
  deps: { store: Store; clock: Clock; log: Logger },
  provider: string,
  rewritten: readonly string[],
): Promise<void> {
  if (rewritten.length === 0) return;
  const leases = await deps.store.run<{ id: string }>(restartStatement, [deps.clock.now(), [...rewritten]]);
  if (leases.length === 0) return;
  const ids = leases.map(({ id }) => id);
  deps.log.error({ provider, leases: ids }, 'denials had been removed: their credentials may have worked meanwhile');
}
