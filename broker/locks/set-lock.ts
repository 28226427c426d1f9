/** An admin sets a lock: one is enough. */
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Clock, JsonObject, LockTarget } from '../core/vocabulary.ts';
import { type Admin, identityRecord } from '../people/identity.ts';
import type { EndSessionDeps } from '../sessions/end-session.ts';
import type { Statement, Store } from '../store/open.ts';
import { carryOutLock } from './carry-out.ts';
import { asStanding, isLockProven, isStanding, newestLockOn, type StoredLock } from './stored-lock.ts';
import type { StandingLock } from './under-lock.ts';

export interface LockDeps extends EndSessionDeps {
  store: Store;
  clock: Clock;
  /** Providers that are switched on. */
  providers: { has(name: string): boolean };
}

/** The unique number makes of two who lock the same at once one who does. */
const setStatement: Statement = {
  name: 'lock_set',
  text: `
    WITH set AS (
      INSERT INTO access_lock (id, level, subject, number, reason, set_by, setter, set_at, proof)
      VALUES ($1::text, $2::text, $3::text, $4::int, $5::text, $6::text, $7::jsonb, $8::timestamptz, $9::text)
      ON CONFLICT (level, subject, number) DO NOTHING RETURNING id
    ), event AS (
      ${appendEvent({ chain: "'locks'", at: '$8::timestamptz', type: event('lock.set'), actor: '$6::text', request: '$10::text', payload: '$11::json' }, 'set')}
    )
    SELECT id FROM set`,
};

/**
 * Sets a lock and ends what lives under it. Where one stands already, that one counts, and its ends are
 * carried out once more. One that was tampered with cannot be lifted as it is: a signed-in admin sets it
 * anew.
 *
 * From the commit of its row on it stops every decision in every process, whatever becomes of this call; what
 * is left to end then, the worker ends.
 * @returns the lock's id
 * @throws WritError `bad_request` when there is nothing of that name
 */
export async function setLock(
  deps: LockDeps,
  target: LockTarget,
  { reason, admin, requestId }: { reason: string; admin: Admin; requestId: string | null },
): Promise<string> {
  await checkSubject(deps, target);
  const now = deps.clock.now();
  const lock = await standingOrNew(deps, target, { reason, admin, requestId, now });
  await carryOutLock(deps, lock, { actor: admin.name, requestId, now });
  return lock.id;
}

/** How often a lock that came in between is looked at anew. */
const maxRaces = 5;

/**
 * The lock that stands and may stay, or a new one. What came in between may be one that the record put back
 * (`restore-locks.ts`), which nobody can lift: it is none that may stay.
 * @throws WritError `conflict`
 */
async function standingOrNew(
  deps: LockDeps,
  target: LockTarget,
  by: { reason: string; admin: Admin; requestId: string | null; now: Date },
): Promise<StandingLock> {
  for (let race = 0; race < maxRaces; race += 1) {
    const before = await newestLockOn(deps.store, target);
    if (before !== null && mayStay(deps.store, before, by.admin)) return asStanding(before);
    const id = await insertLock(deps.store, target, { ...by, number: (before?.number ?? 0) + 1 });
    if (id !== null) return { ...target, id, untrueLift: null };
  }
  throw new WritError('conflict', { detail: 'Others lock it at this moment. Look at it again.' });
}

/**
 * Whether a lock goes on standing as it is. Who holds the bootstrap token may be who set it: setting one anew
 * with it would make of that person another.
 */
function mayStay(store: Store, lock: StoredLock, admin: Admin): boolean {
  if (!isStanding(store, lock)) return false;
  return (isLockProven(store, lock) && lock.lift === null) || admin.identity === null;
}

async function insertLock(
  store: Store,
  { level, subject }: LockTarget,
  {
    reason,
    admin,
    requestId,
    now,
    number,
  }: { reason: string; admin: Admin; requestId: string | null; now: Date; number: number },
): Promise<string | null> {
  const setter: JsonObject =
    admin.identity === null
      ? { kind: 'bootstrap_token' }
      : { kind: 'person', identity: identityRecord(admin.identity) };
  const row = {
    id: newId('lck', now),
    level,
    subject,
    number,
    reason,
    set_by: admin.name,
    setter,
    set_at: now,
  };
  const [set] = await store.run<{ id: string }>(setStatement, [
    row.id,
    level,
    subject,
    number,
    reason,
    admin.name,
    JSON.stringify(setter),
    now,
    store.proofs.make('access_lock', row),
    requestId,
    JSON.stringify(eventPayload('lock.set', { lock: row.id, level, subject, reason })),
  ]);
  return set?.id ?? null;
}

const subjectStatement: Statement = {
  name: 'lock_subject',
  text: `
    SELECT CASE $1::text
      WHEN 'agent' THEN EXISTS (SELECT 1 FROM agent WHERE name = $2::text)
      WHEN 'owner' THEN EXISTS (SELECT 1 FROM manifest m WHERE m.compiled #>> '{manifest,owner}' = $2::text)
      WHEN 'capability' THEN EXISTS (
        SELECT 1 FROM manifest m, json_object_keys(m.compiled #> '{manifest,capabilities}') AS name
        WHERE $2::text IN (name, m.agent || '/' || name))
      WHEN 'provider' THEN EXISTS (SELECT 1 FROM agent WHERE $2::text = ANY(providers))
      ELSE true END AS known`,
};

/**
 * A lock on a misspelt name would stop nothing and look as if it did. What any version of a manifest named is
 * known: it may still be held.
 */
async function checkSubject({ store, providers }: LockDeps, { level, subject }: LockTarget): Promise<void> {
  if ((level === 'everything') !== (subject === ''))
    throw refused(level === 'everything' ? 'must be left out: everything is locked' : 'is missing');
  if (level === 'provider' && providers.has(subject)) return;
  const [row] = await store.run<{ known: boolean }>(subjectStatement, [level, subject]);
  if (row?.known !== true)
    throw refused(`is not the name of ${level === 'agent' || level === 'owner' ? 'an' : 'a'} ${level} here`);
}

const refused = (message: string) => new WritError('bad_request', { errors: [{ path: 'subject', message }] });
