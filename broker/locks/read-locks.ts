/** Locks as admins see them. */
import { WritError } from '../core/errors.ts';
import type { LockLevel } from '../core/vocabulary.ts';
import type { Store } from '../store/open.ts';
import { type LockProgress, lockProgress } from './progress.ts';
import { allStanding, isLockProven, isStanding, latestLocks, lockOf, type StoredLock } from './stored-lock.ts';

export interface LockView extends LockProgress {
  id: string;
  level: LockLevel;
  subject: string;
  reason: string;
  set_by: string;
  /** ISO 8601. */
  set_at: string;
  stands: boolean;
  /** False: it cannot be lifted before it is set anew. */
  proven: boolean;
  lifted_by: string | null;
  lifted_at: string | null;
  lift_reason: string | null;
}

/** @throws WritError `not_found` */
export async function readLock(store: Store, id: string): Promise<LockView> {
  const lock = await lockOf(store, id);
  if (lock === null) throw new WritError('not_found');
  return view(store, lock);
}

/** Every lock that stands, and the latest `limit` of all; youngest first. */
export async function readLocks(store: Store, limit: number): Promise<LockView[]> {
  const [latest, standing] = await Promise.all([latestLocks(store, limit), allStanding(store)]);
  const older = standing.filter(({ id }) => !latest.some((one) => one.id === id));
  const views: LockView[] = [];
  // One after another: each counts, and nothing of it is urgent.
  for (const lock of [...latest, ...older]) views.push(await view(store, lock));
  return views;
}

async function view(store: Store, lock: StoredLock): Promise<LockView> {
  const { id, level, subject, reason, set_by, set_at } = lock;
  const stands = isStanding(store, lock);
  const lift = stands ? null : lock.lift;
  return {
    id,
    level,
    subject,
    reason,
    set_by,
    set_at: set_at.toISOString(),
    stands,
    proven: isLockProven(store, lock) && (lock.lift === null || !stands),
    lifted_by: lift?.lifted_by ?? null,
    lifted_at: lift?.lifted_at.toISOString() ?? null,
    lift_reason: lift?.reason ?? null,
    ...(await lockProgress(store, lock)),
  };
}
