/** A lock as its row and the row of its lift say it, and what the proofs of both make of it. */
import type { JsonObject, LockLevel, LockTarget } from '../core/vocabulary.ts';
import type { Identity } from '../people/identity.ts';
import type { Statement, Store } from '../store/open.ts';
import type { StandingLock } from './under-lock.ts';

export interface StoredLock extends LockTarget {
  id: string;
  number: number;
  reason: string;
  set_by: string;
  setter: JsonObject;
  set_at: Date;
  proof: string;
  lift: StoredLift | null;
  /** Whether it is the newest of its subject: an older one says nothing any more. */
  newest: boolean;
}

export interface StoredLift {
  lock_id: string;
  reason: string;
  lifted_by: string;
  lifter: JsonObject;
  lifted_at: Date;
  proof: string;
}

/** Who set a lock, as they are compared with whoever lifts it. */
export type Setter = { kind: 'person'; identity: Identity } | { kind: 'bootstrap_token' };

const columns = `
      k.id, k.level, k.subject, k.number, k.reason, k.set_by, k.setter, k.set_at, k.proof,
      NOT EXISTS (SELECT 1 FROM access_lock newer WHERE newer.level = k.level AND newer.subject = k.subject AND newer.number > k.number) AS newest,
      f.lock_id, f.reason AS lift_reason, f.lifted_by, f.lifter, f.lifted_at, f.proof AS lift_proof
    FROM access_lock k LEFT JOIN access_lock_lift f ON f.lock_id = k.id`;

const newestStatement: Statement = {
  name: 'lock_newest_on',
  text: `SELECT ${columns} WHERE k.level = $1::text AND k.subject = $2::text ORDER BY k.number DESC LIMIT 1`,
};
const oneStatement: Statement = { name: 'lock_one', text: `SELECT ${columns} WHERE k.id = $1::text` };
const listStatement: Statement = {
  name: 'lock_list',
  text: `SELECT ${columns} ORDER BY k.set_at DESC, k.id DESC LIMIT $1::int`,
};

/** Whether the lift of one is a true one is not asked here: the newest of every subject, and few. */
const newestOfAllStatement: Statement = {
  name: 'lock_newest_of_all',
  text: `
    SELECT ${columns} WHERE NOT EXISTS (SELECT 1 FROM access_lock n WHERE n.level = k.level AND n.subject = k.subject AND n.number > k.number)
    ORDER BY k.set_at DESC, k.id DESC`,
};

interface Row extends Omit<StoredLock, 'lift'> {
  lock_id: string | null;
  lift_reason: string;
  lifted_by: string;
  lifter: JsonObject;
  lifted_at: Date;
  lift_proof: string;
}

function fromRow({ lock_id, lift_reason, lifted_by, lifter, lifted_at, lift_proof, ...lock }: Row): StoredLock {
  const { level } = lock as { level: LockLevel };
  const lift =
    lock_id === null ? null : { lock_id, reason: lift_reason, lifted_by, lifter, lifted_at, proof: lift_proof };
  return { ...lock, level, lift };
}

export async function newestLockOn(store: Store, { level, subject }: LockTarget): Promise<StoredLock | null> {
  const [row] = await store.run<Row>(newestStatement, [level, subject]);
  return row === undefined ? null : fromRow(row);
}

export async function lockOf(store: Store, id: string): Promise<StoredLock | null> {
  const [row] = await store.run<Row>(oneStatement, [id]);
  return row === undefined ? null : fromRow(row);
}

/** The latest locks, youngest first. */
export async function latestLocks(store: Store, limit: number): Promise<StoredLock[]> {
  return (await store.run<Row>(listStatement, [limit])).map(fromRow);
}

/** A lock that stands, as those take it who end what lives under it. */
export const asStanding = ({ id, level, subject, lift }: StoredLock): StandingLock => ({
  id,
  level,
  subject,
  untrueLift: lift?.proof ?? null,
});

/** Every lock that stands, youngest first. */
export async function allStanding(store: Store): Promise<StoredLock[]> {
  return (await store.run<Row>(newestOfAllStatement, [])).map(fromRow).filter((lock) => isStanding(store, lock));
}

/** Whether the row is as an admin set it: only then is it known who that was. */
export function isLockProven({ proofs }: Store, { proof, lift: _lift, newest: _newest, ...row }: StoredLock): boolean {
  return proofs.holds('access_lock', row, proof);
}

/** Whether another admin lifted it, as the row of the lift says. */
export function isLiftProven({ proofs }: Store, { proof, ...row }: StoredLift): boolean {
  return proofs.holds('access_lock_lift', row, proof);
}

/**
 * Whether it stops anything: it is the newest of its subject, and no true lift is there. Of a lock that is
 * not as it was set nobody knows whether it is the newest.
 */
export function isStanding(store: Store, lock: StoredLock): boolean {
  if (!lock.newest) return false;
  return lock.lift === null || !isLiftProven(store, lock.lift) || !isLockProven(store, lock);
}
