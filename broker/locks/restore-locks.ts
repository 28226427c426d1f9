/**
 * Puts back locks whose rows are gone, from the record, which is harder to change unnoticed (its heads are
 * signed outside the database). The role that a broker runs as cannot delete them; whoever owns the database
 * can. Nobody knows who set what is put back: it locks, and is set anew before it can be lifted.
 */
import type { Logger } from 'pino';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { newId } from '../core/ids.ts';
import type { Statement, Store } from '../store/open.ts';

/**
 * Of a subject whose newest lock is on record as set (or put back) and not as lifted, and whose row is gone,
 * is another subject's now, or counts no more.
 */
const restoreStatement: Statement = {
  name: 'lock_restore',
  text: `
    WITH told AS (
      SELECT DISTINCT ON (e.payload ->> 'level', e.payload ->> 'subject') e.type, e.payload ->> 'lock' AS id, e.payload ->> 'level' AS level,
             e.payload ->> 'subject' AS subject, e.payload ->> 'reason' AS reason
      FROM audit_event e WHERE e.chain = 'locks' ORDER BY e.payload ->> 'level', e.payload ->> 'subject', e.seq DESC
    ), gone AS (
      SELECT * FROM told WHERE type <> ${event('lock.lifted')} AND NOT EXISTS (
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
  for (;;) {
    const restored = await store.run(restoreStatement, [newId('lck', now), now]);
    if (restored.length === 0) return;
    log.error({ lock: restored[0] }, 'a lock was gone from the database; it stands again');
  }
}
