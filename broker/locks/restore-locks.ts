/**
 * Puts back locks whose rows are gone, from the record, which is harder to change unnoticed (its heads are
 * signed outside the database). The role that a broker runs as cannot delete them; whoever owns the database
 * can. Nobody knows who set what is put back: it locks, and is set anew before it can be lifted.
 */
import type { Logger } from 'pino';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { newId } from '../core/ids.ts';
import { lockLevels } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { isLiftProven, type StoredLift } from './stored-lock.ts';

const liftsStatement: Statement = {
  name: 'lock_lifts',
  text: 'SELECT lock_id, reason, lifted_by, lifter, lifted_at, proof FROM access_lock_lift',
};

/**
 * Of a subject whose newest lock was not lifted, and whose row is gone, is another subject's now, or counts
 * no more. That it was lifted says its lift alone: the record can be told so by whoever adds to it, and the
 * same of a lock of before, so that of each its first event counts.
 */
const restoreStatement: Statement = {
  name: 'lock_restore',
  text: `
    WITH known AS (
      SELECT DISTINCT ON (e.payload ->> 'lock') e.payload ->> 'lock' AS id, e.payload ->> 'level' AS level, e.payload ->> 'subject' AS subject,
             e.payload ->> 'reason' AS reason, e.seq
      FROM audit_event e WHERE e.chain = 'locks' AND e.type IN (${event('lock.set')}, ${event('lock.restored')})
        -- What somebody added in another shape is no lock, and keeps none from being put back.
        AND e.payload ->> 'level' IN (${lockLevels.map((level) => `'${level}'`).join(', ')}) AND e.payload ->> 'lock' IS NOT NULL
        AND e.payload ->> 'subject' IS NOT NULL AND e.payload ->> 'reason' IS NOT NULL ORDER BY e.payload ->> 'lock', e.seq
    ), told AS (
      SELECT DISTINCT ON (level, subject) id, level, subject, reason FROM known ORDER BY level, subject, seq DESC
    ), gone AS (
      SELECT * FROM told WHERE id <> ALL($3::text[]) AND NOT EXISTS (
        SELECT 1 FROM access_lock k WHERE k.id = told.id AND k.level = told.level AND k.subject = told.subject
          AND NOT EXISTS (SELECT 1 FROM access_lock newer WHERE newer.level = k.level AND newer.subject = k.subject AND newer.number > k.number))
      ORDER BY id LIMIT 1
    ), put AS (
      INSERT INTO access_lock (id, level, subject, number, reason, set_by, setter, set_at)
      SELECT $1::text, level, subject, 1 + GREATEST(0, (SELECT max(k.number) FROM access_lock k WHERE k.level = gone.level AND k.subject = gone.subject)),
             reason, 'the record', '{"kind":"record"}', $2::timestamptz FROM gone
      ON CONFLICT (level, subject, number) DO NOTHING RETURNING id, level, subject, reason
    ), event AS (
      ${appendEvent({ chain: "'locks'", at: '$2::timestamptz', type: event('lock.restored'), actor: "'system'", payload: "json_build_object('lock', id, 'level', level, 'subject', subject, 'reason', reason)" }, 'put')}
    )
    SELECT level, subject FROM put`,
};

export async function restoreLocks({ store, log }: { store: Store; log: Logger }, now: Date): Promise<void> {
  const lifts = await store.run<StoredLift>(liftsStatement, []);
  const lifted = lifts.filter((lift) => isLiftProven(store, lift)).map(({ lock_id }) => lock_id);
  for (;;) {
    const restored = await store.run(restoreStatement, [newId('lck', now), now, lifted]);
    if (restored.length === 0) return;
    log.error({ lock: restored[0] }, 'a lock was gone from the database; it stands again');
  }
}
