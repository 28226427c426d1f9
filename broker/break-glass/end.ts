/**
 * Ends a break-glass, whoever or whatever does: the row first, from whose commit on it gives nothing more
 * (`uses.ts`); then what was given by it is revoked. A process that dies in between leaves what the worker
 * ends.
 */
import { insertIncident } from '../../approvals/incidents.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import { onceAnswered, startRevoking } from '../leases/transitions.ts';
import type { Catalog } from '../manifests/catalog.ts';
import { type Identity, personRef } from '../people/identity.ts';
import type { EndSessionDeps } from '../sessions/end-session.ts';
import type { Statement, Store } from '../store/open.ts';
import { breakGlassOf, onRecordAsEnded, type StoredBreakGlass } from './stored-break-glass.ts';
import { type TellDeps, tellingOf } from './tell-people.ts';
import { type BreakGlassPeople, maySee } from './who-may.ts';

const step = 200;

export interface EndDeps extends EndSessionDeps, TellDeps {
  clock: Clock;
  catalog: Catalog;
  reviewSeconds: number;
}

/** One that waited never began; one that was open must be reviewed. People are told of the latter. */
const endStatement: Statement = {
  name: 'break_glass_end',
  text: `
    WITH ended AS (
      UPDATE break_glass b SET status = CASE WHEN b.status = 'waiting' THEN 'lapsed' ELSE 'ended' END, ended_at = $3::timestamptz, ended_how = $4::text,
        ended_by = $5::text, end_words = $6::text, review_due_at = CASE WHEN b.status = 'active' THEN $7::timestamptz END
      WHERE b.id = $1::text AND b.status = $2::text RETURNING b.id, b.agent, b.status, b.review_due_at
    ), event AS (
      ${appendEvent({ chain: "'break-glass'", at: '$3::timestamptz', type: event('break_glass.ended'), actor: '$5::text', request: '$8::text', payload: `json_strip_nulls(json_build_object('break_glass', id, 'agent', agent, 'how', $4::text, 'because', $6::text, 'review_due_at', to_char(review_due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))` }, 'ended')}
    ), telling AS (
      SELECT NULL::text AS session_id, $3::timestamptz AS at, $9::jsonb AS tells FROM ended WHERE status = 'ended'
    ), told AS (${insertIncident('telling')}
    )
    SELECT status FROM ended`,
};

const leasesStatement: Statement = {
  name: 'break_glass_end_leases',
  text: `
    WITH due AS (
      SELECT l.id FROM break_glass b JOIN break_glass_use u ON u.break_glass_id = b.id JOIN lease l ON l.grant_id = u.grant_id
      WHERE (b.status IN ('ended', 'reviewed') OR ${onRecordAsEnded('b')}) AND l.status IN ('issuing', 'active') AND l.due_at IS NOT NULL
      ORDER BY l.id LIMIT ${step} FOR UPDATE OF l
    ), l AS (
${startRevoking({
  where: 'id IN (SELECT id FROM due)',
  reason: revokeReason('break_glass_ended'),
  dueAt: onceAnswered('$1::timestamptz', '$2::int'),
})}
      RETURNING id, session_id, grant_id
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('lease.revoking'), actor: "'system'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', ${revokeReason('break_glass_ended')})` }, 'l ORDER BY session_id, id')}
    )
    SELECT id FROM l`,
};

/** Revokes what was given by break-glasses that are over. Idempotent. */
export async function endWhatWasGiven(deps: EndSessionDeps, now: Date): Promise<void> {
  for (let found = step; found === step; ) {
    found = (await deps.store.run(leasesStatement, [now, deps.mintDeadlineSeconds])).length;
    if (found > 0) deps.notify();
  }
}

/** @returns whether it was ended by this */
export async function endOne(
  deps: EndDeps,
  row: StoredBreakGlass,
  by: {
    how: 'expired' | 'closed' | 'lapsed' | 'refused' | 'signed_off';
    actor: string;
    words: string | null;
    requestId: string | null;
  },
): Promise<boolean> {
  const now = deps.clock.now();
  const reviewDueAt = new Date(now.getTime() + deps.reviewSeconds * 1000);
  const owner = await ownerOf(deps.catalog, row.agent);
  const because = { how: by.how, by: by.actor, words: by.words };
  const telling = tellingOf(deps, row, owner, 'break_glass_ended', reviewDueAt, now, because);
  const ended = await deps.store.run(endStatement, [
    row.id,
    row.status,
    now,
    by.how,
    by.actor,
    by.words,
    reviewDueAt,
    by.requestId,
    JSON.stringify(telling),
  ]);
  return ended.length > 0;
}

/** Who answers for the agent by the manifest in force; of one that cannot be read, nobody. */
export async function ownerOf(catalog: Catalog, agent: string): Promise<string> {
  const manifest = await catalog.current(agent).catch(() => null);
  return manifest?.compiled.manifest.owner ?? '';
}

/**
 * Whoever sees it may close it, or refuse it while it waits. What was given by it is being revoked when this
 * returns.
 * @throws WritError `not_found`, `conflict`
 */
export async function closeBreakGlass(
  deps: EndDeps & { people: BreakGlassPeople },
  { id, person, words, requestId }: { id: string; person: Identity; words: string; requestId: string | null },
): Promise<void> {
  const row = await seenBy(deps, id, person);
  const how = row.status === 'waiting' ? 'refused' : 'closed';
  const closable = row.status === 'waiting' || row.status === 'active';
  if (!closable || !(await endOne(deps, row, { how, actor: personRef(person), words, requestId })))
    throw new WritError('conflict', { detail: 'It is neither open nor waiting any more.' });
  await endWhatWasGiven(deps, deps.clock.now());
}

/** @throws WritError `not_found`, also for who may not see it */
export async function seenBy(
  { store, catalog, people }: { store: Store; catalog: Catalog; people: BreakGlassPeople },
  id: string,
  person: Identity,
): Promise<StoredBreakGlass> {
  const row = await breakGlassOf(store, id);
  if (row === null || !maySee(people, person, await ownerOf(catalog, row.agent))) throw new WritError('not_found');
  return row;
}
