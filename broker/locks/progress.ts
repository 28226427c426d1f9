/** How far the ends under a lock have come. */
import { endReason } from '../core/reasons.ts';
import type { Statement, Store } from '../store/open.ts';
import { isStanding, type StoredLock } from './stored-lock.ts';
import { endsSessions, leaseUnder, scopeOf, sessionUnder } from './under-lock.ts';

export interface LockProgress {
  sessions: {
    ended: number;
    /** Still to be ended. They can do nothing any more. */
    ending: number;
  };
  /** Those that lived when it was set, by where they are now. */
  leases: {
    /** Their revocation has not begun. */
    waiting: number;
    revoking: number;
    /** The provider took the order, or has none; its lag or the natural end has not passed. */
    not_provable_yet: number;
    revoked: number;
    expired: number;
    /** Nothing was minted. */
    failed: number;
  };
  /** Nothing lives under it any more. */
  done: boolean;
}

const sessionsStatement: Statement = {
  name: 'lock_sessions',
  text: `
    SELECT (SELECT count(*)::int FROM session s WHERE s.ended_at IS NULL AND s.opened_at <= $3::timestamptz AND ${sessionUnder('s', '$1')}) AS ending,
           (SELECT count(*)::int FROM session s
            WHERE s.ended_at >= $2::timestamptz AND s.ended_at <= $3::timestamptz AND (s.end_reason = ${endReason('locked')}
              OR (s.end_reason = ${endReason('parent_ended')} AND (SELECT r.end_reason FROM session r WHERE r.id = s.root_id) = ${endReason('locked')})) AND ${sessionUnder('s', '$1')}) AS ended`,
};

/** A lease lived when the lock was set where it has not ended, or ended since. */
const leasesStatement: Statement = {
  name: 'lock_leases',
  text: `
    SELECT what, count(*)::int AS leases FROM (
      SELECT CASE WHEN l.status IN ('issuing', 'active') THEN 'waiting'
                  WHEN l.status = 'revoking' AND (l.settling_since IS NOT NULL OR (l.evidence IS NOT NULL AND l.last_error IS NULL)) THEN 'not_provable_yet'
                  ELSE l.status END AS what
      FROM lease l
      WHERE (l.ended_at IS NULL OR l.ended_at >= $2::timestamptz) AND l.intent_at <= $3::timestamptz
        AND CASE WHEN $4::text IN ('capability', 'provider') THEN ${leaseUnder('l', '$4', '$5')} ELSE ${sessionUnder('l', '$1')} END
    ) counted GROUP BY what`,
};

const forever = new Date('9999-01-01T00:00:00Z');

export async function lockProgress(store: Store, lock: StoredLock): Promise<LockProgress> {
  const { agents } = await scopeOf(store, lock);
  const { level, subject, set_at: since } = lock;
  // What was opened or given after it was lifted is no matter of its.
  const until = isStanding(store, lock) ? forever : (lock.lift?.lifted_at ?? forever);
  const [sessions, counted] = await Promise.all([
    endsSessions(lock) ? store.run<{ ended: number; ending: number }>(sessionsStatement, [agents, since, until]) : [],
    store.run<{ what: string; leases: number }>(leasesStatement, [agents, since, until, level, subject]),
  ]);
  const leases = { waiting: 0, revoking: 0, not_provable_yet: 0, revoked: 0, expired: 0, failed: 0 };
  for (const { what, leases: count } of counted) leases[what as keyof typeof leases] = count;
  const { ended, ending } = sessions[0] ?? { ended: 0, ending: 0 };
  return {
    sessions: { ended, ending },
    leases,
    done: ending + leases.waiting + leases.revoking + leases.not_provable_yet === 0,
  };
}
