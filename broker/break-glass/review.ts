/** Somebody who was neither of the two says what to make of a break-glass that is over. */
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Catalog } from '../manifests/catalog.ts';
import { type Identity, identityRecord, personRef } from '../people/identity.ts';
import type { Statement, Store } from '../store/open.ts';
import { seenBy } from './end.ts';
import { awaitsReview, isAgreed, isAsked, isOpen, type StoredBreakGlass } from './stored-break-glass.ts';
import { type BreakGlassPeople, isNeither } from './who-may.ts';

/** One that was reviewed, and not by us, is reviewed again. */
const reviewStatement: Statement = {
  name: 'break_glass_review',
  text: `
    WITH reviewed AS (
      UPDATE break_glass b SET status = 'reviewed', reviewed_by = $2::text, reviewer = $3::jsonb, reviewed_at = $4::timestamptz, review = $5::text, review_proof = $6::text
      WHERE b.id = $1::text AND b.status IN ('ended', 'reviewed') AND b.review_proof = $9::text RETURNING b.id
    ), event AS (
      ${appendEvent({ chain: "'break-glass'", at: '$4::timestamptz', type: event('break_glass.reviewed'), actor: '$2::text', request: '$7::text', payload: '$8::json' }, 'reviewed')}
    )
    SELECT id FROM reviewed`,
};

/** Why a person may not review it; null = they may. */
export function whyNotReviewer({ store }: { store: Store }, row: StoredBreakGlass, person: Identity): string | null {
  if (!isAsked(store, row) || !isAgreed(store, row))
    return 'Its row was written or changed by somebody other than this broker, so nobody knows who the two were. Find out who changed the database.';
  return isNeither(row, person)
    ? null
    : 'Somebody who was neither of the two must review it, signed in at the same identity provider.';
}

/** @throws WritError `not_found`, `forbidden`, `conflict` */
export async function reviewBreakGlass(
  deps: { store: Store; clock: Clock; catalog: Catalog; people: BreakGlassPeople },
  { id, person, words, requestId }: { id: string; person: Identity; words: string; requestId: string | null },
): Promise<void> {
  const row = await seenBy(deps, id, person);
  const now = deps.clock.now();
  if (isOpen(deps.store, row, now)) throw new WritError('conflict', { detail: 'It is still open.' });
  if (!awaitsReview(deps.store, row, now)) throw new WritError('conflict', { detail: 'It awaits no review.' });
  const barred = whyNotReviewer(deps, row, person);
  if (barred !== null) throw new WritError('forbidden', { detail: barred });
  const review = {
    reviewed_by: personRef(person),
    reviewer: identityRecord(person),
    reviewed_at: now,
    review: words,
  };
  const reviewed = await deps.store.run(reviewStatement, [
    id,
    review.reviewed_by,
    JSON.stringify(review.reviewer),
    now,
    words,
    deps.store.proofs.make('break_glass_review', { id, ...review }),
    requestId,
    JSON.stringify(
      eventPayload('break_glass.reviewed', {
        break_glass: id,
        agent: row.agent,
        words,
        person: review.reviewer as never,
      }),
    ),
    row.review_proof,
  ]);
  if (reviewed.length === 0)
    throw new WritError('conflict', { detail: 'It was reviewed just now, or its end is not written yet: try again.' });
}
