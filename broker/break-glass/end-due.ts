/**
 * For the worker: ends what is over, revokes what was given by it, and says once a day what was not reviewed
 * in time.
 */
import { insertIncident } from '../../approvals/incidents.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Statement } from '../store/open.ts';
import { type EndDeps, endOne, endWhatWasGiven, ownerOf } from './end.ts';
import type { BreakGlassMetrics } from './metrics.ts';
import {
  awaitsReview,
  breakGlassColumns,
  isOpen,
  onRecordAsOpened,
  type StoredBreakGlass,
} from './stored-break-glass.ts';
import { tellingOf } from './tell-people.ts';

/** Until it is reviewed, people are told so often. */
const remindMs = 24 * 3_600_000;

const unsettledStatement: Statement = {
  name: 'break_glass_unsettled',
  text: `
    SELECT ${breakGlassColumns}, b.reminded_at FROM break_glass b
    WHERE b.status <> 'lapsed' OR ${onRecordAsOpened('b')} ORDER BY b.requested_at, b.id`,
};

const remindStatement: Statement = {
  name: 'break_glass_remind',
  text: `
    WITH due AS (
      UPDATE break_glass b SET reminded_at = $2::timestamptz
      WHERE b.id = $1::text AND (b.reminded_at IS NULL OR b.reminded_at <= $3::timestamptz) RETURNING b.id, b.agent
    ), event AS (
      ${appendEvent({ chain: "'break-glass'", at: '$2::timestamptz', type: event('break_glass.review_overdue'), actor: "'system'", payload: "json_build_object('break_glass', id, 'agent', agent, 'ended_at', $5::text)" }, 'due')}
    ), telling AS (
      SELECT NULL::text AS session_id, $2::timestamptz AS at, $4::jsonb AS tells FROM due
    ), told AS (${insertIncident('telling')}
    )
    SELECT id FROM due`,
};

export async function endDueBreakGlasses(deps: EndDeps & { metrics: BreakGlassMetrics }, now: Date): Promise<void> {
  const rows = await deps.store.run<StoredBreakGlass>(unsettledStatement, []);
  const system = { actor: 'system', words: null, requestId: null };
  for (const row of rows) {
    if (row.status === 'waiting' && row.decide_by <= now) await endOne(deps, row, { how: 'lapsed', ...system });
    if (row.status === 'active' && row.expires_at! <= now) await endOne(deps, row, { how: 'expired', ...system });
  }
  await endWhatWasGiven(deps, now);
  // One whose end is on record and whose row says otherwise is over all the same.
  const unreviewed = rows.filter((row) => awaitsReview(deps.store, row, now));
  const overdue = unreviewed.filter((row) => dueAt(row, deps.reviewSeconds) <= now);
  deps.metrics.open.set(rows.filter((row) => isOpen(deps.store, row, now)).length);
  deps.metrics.unreviewed.set(unreviewed.length);
  deps.metrics.overdue.set(overdue.length);
  for (const row of overdue) await remind(deps, row, now);
}

/** When it must have been reviewed. */
export const dueAt = (row: StoredBreakGlass, reviewSeconds: number): Date =>
  row.review_due_at ?? new Date(endOf(row).getTime() + reviewSeconds * 1000);

/** As far as the row still says. */
const endOf = ({ ended_at, expires_at, requested_at }: StoredBreakGlass): Date =>
  ended_at ?? expires_at ?? requested_at;

async function remind(deps: EndDeps, row: StoredBreakGlass, now: Date): Promise<void> {
  const due = dueAt(row, deps.reviewSeconds);
  const owner = await ownerOf(deps.catalog, row.agent);
  await deps.store.run(remindStatement, [
    row.id,
    now,
    new Date(now.getTime() - remindMs),
    JSON.stringify(tellingOf(deps, row, owner, 'break_glass_review_overdue', due, now)),
    endOf(row).toISOString(),
  ]);
}
