/** Another admin lifts a lock: it takes two, so that nobody undoes what they set themselves. */
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Clock, JsonObject } from '../core/vocabulary.ts';
import { type Admin, identityRecord, isAnotherPerson } from '../people/identity.ts';
import type { Statement, Store } from '../store/open.ts';
import { isLockProven, isStanding, lockOf, type Setter, type StoredLock } from './stored-lock.ts';

const liftStatement: Statement = {
  name: 'lock_lift',
  text: `
    WITH lifted AS (
      INSERT INTO access_lock_lift (lock_id, reason, lifted_by, lifter, lifted_at, proof)
      VALUES ($1::text, $2::text, $3::text, $4::jsonb, $5::timestamptz, $6::text)
      ON CONFLICT (lock_id) DO NOTHING RETURNING lock_id
    ), event AS (
      ${appendEvent({ chain: "'locks'", at: '$5::timestamptz', type: event('lock.lifted'), actor: '$3::text', request: '$7::text', payload: '$8::json' }, 'lifted')}
    )
    SELECT lock_id FROM lifted`,
};

/**
 * Lifts a lock. What it ended stays ended.
 * @throws WritError `not_found`, `forbidden` (whoever set it, the bootstrap token, or nobody can tell),
 *   `conflict` (it does not stand any more)
 */
export async function liftLock(
  { store, clock }: { store: Store; clock: Clock },
  { id, reason, admin, requestId }: { id: string; reason: string; admin: Admin; requestId: string | null },
): Promise<void> {
  const lock = await lockOf(store, id);
  if (lock === null) throw new WritError('not_found');
  if (!isStanding(store, lock)) throw new WritError('conflict', { detail: 'It does not stand any more.' });
  const barred = whyBarred(store, lock, admin);
  if (barred !== null) throw new WritError('forbidden', { detail: barred });
  const { level, subject } = lock;
  const row = {
    lock_id: id,
    reason,
    lifted_by: admin.name,
    lifter: identityRecord(admin.identity!) as JsonObject,
    lifted_at: clock.now(),
  };
  const lifted = await store.run(liftStatement, [
    id,
    reason,
    row.lifted_by,
    JSON.stringify(row.lifter),
    row.lifted_at,
    store.proofs.make('access_lock_lift', row),
    requestId,
    JSON.stringify(eventPayload('lock.lifted', { lock: id, level, subject, reason })),
  ]);
  if (lifted.length === 0) throw new WritError('conflict', { detail: 'It was lifted just now.' });
}

/** Why this admin may not lift it; null = they may. */
export function whyBarred(store: Store, lock: StoredLock, admin: Admin): string | null {
  if (admin.identity === null)
    return 'The bootstrap token says nothing of who holds it: a signed-in admin must lift a lock.';
  if (!isLockProven(store, lock) || lock.lift !== null)
    return 'Its row was written or changed by somebody other than this broker, so nobody knows who set it. Set it anew; another admin can lift it then.';
  const setter = lock.setter as unknown as Setter;
  // Of the bootstrap token nobody knows whose hand it was; the person who lifts is the other.
  if (setter.kind !== 'person' || isAnotherPerson(setter.identity, admin.identity)) return null;
  return 'Another admin than the one who set it must lift it, signed in at the same identity provider.';
}
