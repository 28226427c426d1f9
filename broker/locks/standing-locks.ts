/**
 * Which locks stand. Read by the statement that reads a session for a decision, so that a decision sees every
 * lock that was committed before it, in every process, without a round trip of its own.
 *
 * A row locks whether its proof holds or not; a lift counts only when its proof does, and that of the lock,
 * which says that it is the newest. Whoever can write the database can therefore lock more, and lifts
 * nothing.
 */
import type { ProvenRows } from '../core/proven-rows.ts';
import type { JsonObject, LockTarget, Reason } from '../core/vocabulary.ts';
import type { Store } from '../store/open.ts';

/**
 * SQL of a JSON array: the newest lock of every subject, and the lift of it; NULL where there is none. It
 * hangs on no row, so an execution reads it once.
 */
export const newestLocks = `(
      SELECT json_agg(newest) FROM (
        SELECT DISTINCT ON (k.level, k.subject) k.id, k.level, k.subject, f.lock_id, f.reason, f.lifted_by, f.lifter, f.lifted_at, f.proof,
          CASE WHEN f.lock_id IS NOT NULL THEN to_jsonb(k) END AS lock
        FROM access_lock k LEFT JOIN access_lock_lift f ON f.lock_id = k.id ORDER BY k.level, k.subject, k.number DESC) newest)`;

/** SQL of the agent's owner by the manifest in force. Looked up only where there is a lock at all. */
export const ownerWhereLocked = (agent: string, version: string): string => `
      CASE WHEN EXISTS (SELECT 1 FROM access_lock) THEN (
        SELECT m.compiled #>> '{manifest,owner}' FROM manifest m WHERE m.agent = ${agent} AND m.version = ${version}) END`;

/**
 * SQL of the level of a lock that nobody lifted and that stops the agent altogether; NULL = none. For the
 * statement that opens a session: whether a lift is a true one, the session's next read finds out.
 */
export const lockedOut = (agent: string, owner: string): string => `(
      SELECT k.level FROM access_lock k
      WHERE (k.level = 'everything' OR (k.level = 'agent' AND k.subject = ${agent}) OR (k.level = 'owner' AND k.subject = ${owner}))
        AND NOT EXISTS (SELECT 1 FROM access_lock_lift f WHERE f.lock_id = k.id)
        AND NOT EXISTS (SELECT 1 FROM access_lock newer WHERE newer.level = k.level AND newer.subject = k.subject AND newer.number > k.number)
      LIMIT 1)`;

/** A row of `newestLocks`. */
export interface NewestLock extends LockTarget {
  id: string;
  /** Of the lift; null = there is none. */
  lock_id: string | null;
  reason: string | null;
  lifted_by: string | null;
  lifter: object | null;
  lifted_at: string | null;
  proof: string | null;
  /** The lock itself, where there is a lift of it. */
  lock: (JsonObject & { proof: string }) | null;
}

/** Lifts that were proven, or were not: a row of them is never changed. */
const judged = new WeakMap<Store, Map<string, boolean>>();
const mostRemembered = 10_000;

function judgedBy(store: Store): Map<string, boolean> {
  const known = judged.get(store);
  if (known !== undefined && known.size < mostRemembered) return known;
  const fresh = new Map<string, boolean>();
  judged.set(store, fresh);
  return fresh;
}

/** @param rows of `newestLocks` */
export function standingLocks(store: Store, rows: readonly NewestLock[] | null): LockTarget[] {
  if (rows === null) return [];
  return rows.filter((row) => !isLifted(store, row)).map(({ level, subject }) => ({ level, subject }));
}

function isLifted(store: Store, row: NewestLock): boolean {
  const { lock_id, reason, lifted_by, lifter, lifted_at, proof, lock } = row;
  if (lock_id === null || lock === null) return false;
  const known = judgedBy(store);
  const key = JSON.stringify(row);
  const before = known.get(key);
  if (before !== undefined) return before;
  const lift = {
    lock_id,
    reason: String(reason),
    lifted_by: String(lifted_by),
    lifter: lifter ?? {},
    lifted_at: new Date(String(lifted_at)),
  };
  const { proof: lockProof, ...set } = { ...lock, set_at: new Date(String(lock.set_at)) };
  const holds =
    store.proofs.holds('access_lock_lift', lift, proof ?? '') &&
    store.proofs.holds('access_lock', set as unknown as ProvenRows['access_lock'], lockProof);
  known.set(key, holds);
  return holds;
}

/** The lock that stops a session altogether; undefined = none does. */
export const lockOnSession = (
  locks: readonly LockTarget[],
  session: { agent: string; owner: string | null },
): LockTarget | undefined =>
  locks.find(
    ({ level, subject }) =>
      level === 'everything' ||
      (level === 'agent' && subject === session.agent) ||
      // Whose owner nobody can tell is not given the benefit of it.
      (level === 'owner' && (session.owner === null || subject === session.owner)),
  );

/** Why a capability may not be given, as reasons of a decision; null = no lock stands against it. */
export function lockedReasons(
  locks: readonly LockTarget[],
  asked: { agent: string; capability: string; provider: string },
): Reason[] | null {
  const against = locks.filter(
    ({ level, subject }) =>
      (level === 'capability' && (subject === asked.capability || subject === `${asked.agent}/${asked.capability}`)) ||
      (level === 'provider' && subject === asked.provider),
  );
  if (against.length === 0) return null;
  return against.map(({ level }) => ({ code: 'locked', policy_id: `lock.${level}`, path: 'capability' }));
}
