/**
 * Ends what a tree holds and may not hold any more, because it sleeps, or a rule froze it or took a
 * capability from it: what `end-session.ts` does for a session that has ended. The statement that made the
 * change comes first; from its commit on nothing more can come to the tree, so the statements here see all
 * there is. When the process dies in between, the worker goes on (`holdBackAll`).
 */
import { settleNotices } from '../../approvals/notices.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventBy } from '../audit/events.ts';
import { aboutSession } from '../core/questions.ts';
import { decisionReason, endReason, revokeReason } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import { releaseGrant } from '../grants/transitions.ts';
import { onceAnswered, startRevoking } from '../leases/transitions.ts';
import type { Statement } from '../store/open.ts';
import { type EndSessionDeps, endSession } from './end-session.ts';

/** SQL condition: the tree whose root is `r` may not have what the grant `g` is about. */
const heldBack = `(r.status = 'suspended' OR (r.status = 'asleep' AND g.status IN ('issuing', 'issued')) OR 'capability:' || g.capability = ANY(r.withheld) OR g.capability = ANY(r.withheld))`;

const leasesStatement: Statement = {
  name: 'session_hold_back_leases',
  text: `
    WITH due AS (
      SELECT lease.id, CASE r.status WHEN 'suspended' THEN ${revokeReason('session_suspended')} WHEN 'asleep' THEN ${revokeReason('session_asleep')} ELSE ${revokeReason('withheld')} END AS why
      FROM session r JOIN session s ON s.root_id = r.id JOIN lease ON lease.session_id = s.id JOIN grants g ON g.id = lease.grant_id
      WHERE r.id = ANY($4::text[]) AND r.ended_at IS NULL AND lease.status IN ('issuing', 'active') AND ${heldBack}
      ORDER BY lease.id LIMIT $3::int FOR UPDATE OF lease
    ), l AS (
${startRevoking({
  where: 'id IN (SELECT id FROM due)',
  reason: '(SELECT due.why FROM due WHERE due.id = lease.id)',
  dueAt: onceAnswered('$1::timestamptz', '$2::int'),
})}
      RETURNING id, session_id, grant_id, revoke_reason
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('lease.revoking'), actor: "'system'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', revoke_reason)` }, 'l ORDER BY session_id, id')}
    )
    SELECT id FROM l`,
};

/** All but the question whether it is lifted. */
const grantsStatement: Statement = {
  name: 'session_hold_back_grants',
  text: `
    WITH due AS (
      SELECT g.id, CASE r.status WHEN 'suspended' THEN ${decisionReason('session_suspended')} WHEN 'asleep' THEN ${decisionReason('session_asleep')} ELSE ${decisionReason('withheld')} END AS why
      FROM session r JOIN session s ON s.root_id = r.id JOIN grants g ON g.session_id = s.id
      WHERE r.id = ANY($3::text[]) AND r.ended_at IS NULL AND g.ended_at IS NULL AND g.capability <> '${aboutSession}' AND ${heldBack}
      ORDER BY g.id LIMIT $2::int FOR UPDATE OF g
    ), g AS (
${releaseGrant('id IN (SELECT id FROM due)', '$1::timestamptz', '(SELECT due.why FROM due WHERE due.id = grants.id)')}
      RETURNING id, session_id, status
    ), ${settleNotices("(SELECT id FROM g WHERE status = 'denied')", '$1::timestamptz')}, events AS (
      ${appendEvent({ chain: 'g.session_id', at: '$1::timestamptz', type: eventBy('g.status', { denied: 'grant.denied', ended: 'grant.ended' }), actor: "'system'", grant: 'g.id', payload: "json_build_object('reason', due.why)" }, 'g JOIN due ON due.id = g.id ORDER BY g.session_id, g.id')}
    )
    SELECT id FROM g`,
};

/** Sub-agents of a frozen session send no heartbeats either. */
const stillStatement: Statement = {
  name: 'session_hold_still',
  text: `
    UPDATE session s SET heartbeat_deadline = s.expires_at FROM session r
    WHERE r.id = ANY($1::text[]) AND r.status = 'suspended' AND s.root_id = r.id AND s.ended_at IS NULL AND s.heartbeat_deadline < s.expires_at`,
};

const step = 200;

/**
 * @param roots tops of the trees
 * @returns the leases that are now on their way to revocation
 */
export async function holdBack(deps: EndSessionDeps, now: Date, roots: string[]): Promise<string[]> {
  await deps.store.run(stillStatement, [roots]);
  const leases: string[] = [];
  for (let found = step; found === step; ) {
    const rows = await deps.store.run<{ id: string }>(leasesStatement, [now, deps.mintDeadlineSeconds, step, roots]);
    found = rows.length;
    leases.push(...rows.map(({ id }) => id));
    if (found > 0) deps.notify();
  }
  for (let found = step; found === step; ) found = (await deps.store.run(grantsStatement, [now, step, roots])).length;
  return leases;
}

/**
 * What follows from a rule once its statement is written: the tree ends, or what it may not hold any more
 * does.
 * @param effect of the decision; most do nothing
 */
export async function carryOut(
  deps: EndSessionDeps & { clock: Clock },
  rootId: string,
  effect: string | undefined,
  requestId: string | null,
): Promise<void> {
  const now = deps.clock.now();
  if (effect === 'terminate')
    await endSession(deps, { sessionId: rootId, reason: 'ended_by_rule', actor: 'system', requestId, now });
  if (effect === 'suspend' || effect === 'downgrade') await holdBack(deps, now, [rootId]);
}

/** Trees that hold something they may not hold. */
const restrainedStatement: Statement = {
  name: 'session_restrained',
  text: `
    SELECT r.id FROM session r
    WHERE r.ended_at IS NULL AND (r.status IN ('suspended', 'asleep') OR r.withheld <> '{}')
      AND (EXISTS (SELECT 1 FROM session s JOIN lease l ON l.session_id = s.id JOIN grants g ON g.id = l.grant_id
                   WHERE s.root_id = r.id AND l.status IN ('issuing', 'active') AND ${heldBack})
        OR EXISTS (SELECT 1 FROM session s JOIN grants g ON g.session_id = s.id
                   WHERE s.root_id = r.id AND g.ended_at IS NULL AND g.capability <> '${aboutSession}' AND ${heldBack}))
    ORDER BY r.id LIMIT $1::int`,
};

/**
 * Frozen sessions about which nobody is asked any more: a person said no, or nobody said anything in time.
 */
const unliftedStatement: Statement = {
  name: 'session_unlifted',
  text: `
    SELECT r.id, ${endReason('not_lifted')} AS reason FROM session r
    WHERE r.ended_at IS NULL AND r.status = 'suspended'
      AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.session_id = r.id AND g.capability = '${aboutSession}' AND g.status = 'pending')
    ORDER BY r.id LIMIT $1::int`,
};

/** For the worker: what a process left behind that died, and frozen sessions that are not lifted. */
export async function holdBackAll(deps: EndSessionDeps, now: Date, limit: number): Promise<void> {
  const roots = await deps.store.run<{ id: string }>(restrainedStatement, [limit]);
  if (roots.length > 0)
    await holdBack(
      deps,
      now,
      roots.map(({ id }) => id),
    );
  const unlifted = await deps.store.run<{ id: string; reason: 'not_lifted' }>(unliftedStatement, [limit]);
  for (const { id, reason } of unlifted)
    await endSession(deps, { sessionId: id, reason, actor: 'system', requestId: null, now });
}
