/** Ends leases whose time is up. */

import type { Logger } from 'pino';
import type { Provider } from '../../providers/contract.ts';
import { appendEvent } from '../audit/append.ts';
import { eventBy } from '../audit/events.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import { grantEnded, grantFailed } from '../grants/transitions.ts';
import type { Statement, Store } from '../store/open.ts';
import type { LeaseMetrics } from './metrics.ts';
import { endedBefore } from './provider-time.ts';
import { expireLease, startRevoking } from './transitions.ts';

/**
 * Active leases whose time is up, and intents whose answer never came. Where the provider itself has ended
 * the credential, the lease is `expired`; where it has not (GitHub's hour is longer than most plans), or
 * where the credential can be tried, it must be revoked. `$3` names the provider whose active leases are
 * meant; null = all that no provider's loop looks after: intents, and leases of a provider that is switched
 * off (`$5` lists those that are on), which can only be waited for. `$4` is the time by which its ends are
 * judged; null = none is over.
 */
const expireDueStatement: Statement = {
  name: 'lease_age',
  text: `
    WITH due AS (
      SELECT id, coalesce(status <> 'issuing' AND provider_expires_at <= $4::timestamptz, false) AS over FROM lease
      WHERE due_at <= $1::timestamptz
        AND CASE WHEN $3::text IS NOT NULL THEN status = 'active' AND provider = $3::text
              ELSE status = 'issuing' OR (provider <> ALL($5::text[])
                AND (status = 'active' OR (status = 'revoking' AND provider_expires_at <= $4::timestamptz))) END
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

const naturalEndsStatement: Statement = {
  name: 'lease_natural_ends',
  text: `
    SELECT EXISTS (SELECT 1 FROM lease WHERE due_at <= $1::timestamptz AND status = 'active' AND provider = $2
                     AND provider_expires_at <= $1::timestamptz) AS some`,
};

export interface ExpireDeps {
  store: Store;
  clock: Clock;
  providers: ReadonlyMap<string, Provider>;
  providerTimeoutSeconds: number;
  log: Logger;
  metrics: LeaseMetrics;
}

/**
 * Ends what no provider's loop looks after: intents without an answer, and leases of providers that are off.
 * At most `limit` in one statement, until none is left.
 * @returns whether some of them must now be revoked by their providers
 */
export function expireDue(deps: ExpireDeps, limit: number): Promise<boolean> {
  return expire(deps, limit, null, deps.clock.now());
}

/**
 * Expires or starts to revoke every lease of a provider whose time is up. Expired is what is over by the
 * provider's own clock and by ours; where that cannot be known, it is revoked. So is what can be tried: the
 * end that was told need not be the true one.
 */
export async function expireOf(deps: ExpireDeps, provider: Provider, limit: number): Promise<boolean> {
  if (provider.triesCredential === true) return expire(deps, limit, provider.name, null);
  const now = deps.clock.now();
  const asks = provider.clock !== undefined && (await someNaturalEnd(deps, provider, now));
  return expire(deps, limit, provider.name, asks ? await endsJudgedBy(deps, provider) : now);
}

async function someNaturalEnd(deps: ExpireDeps, provider: Provider, now: Date): Promise<boolean> {
  const [natural] = await deps.store.run<{ some: boolean }>(naturalEndsStatement, [now, provider.name]);
  return natural?.some === true;
}

/** @returns null when the provider cannot be asked for its time: nothing is over then */
async function endsJudgedBy(deps: ExpireDeps, provider: Provider): Promise<Date | null> {
  try {
    return await endedBefore(deps, provider);
  } catch (error) {
    deps.log.warn(
      { err: error, provider: provider.name },
      'the provider’s time is not known: its ends cannot be judged',
    );
    return null;
  }
}

async function expire(deps: ExpireDeps, limit: number, provider: string | null, over: Date | null): Promise<boolean> {
  let revoking = false;
  for (;;) {
    const expired = await deps.store.run<{ provider: string; status: string }>(expireDueStatement, [
      deps.clock.now(),
      limit,
      provider,
      over,
      [...deps.providers.keys()],
    ]);
    for (const row of expired) {
      if (row.status === 'expired') deps.metrics.expired.inc({ provider: row.provider });
      else revoking = true;
    }
    if (expired.length < limit) return revoking;
  }
}
