/** Break-glasses as people see them. */
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Catalog } from '../manifests/catalog.ts';
import type { Identity } from '../people/identity.ts';
import type { Statement, Store } from '../store/open.ts';
import { ownerOf, seenBy } from './end.ts';
import { dueAt } from './end-due.ts';
import {
  awaitsReview,
  isAgreed,
  isAsked,
  isOpen,
  isReviewed,
  latestBreakGlasses,
  type StoredBreakGlass,
} from './stored-break-glass.ts';
import { type BreakGlassPeople, maySee } from './who-may.ts';

export interface BreakGlassView {
  id: string;
  agent: string;
  session: string | null;
  capabilities: string[];
  reason: string;
  incident: string;
  seconds: number;
  /** `waiting`, `open`, `to_review`, `reviewed`, `lapsed`. */
  state: 'waiting' | 'open' | 'to_review' | 'reviewed' | 'lapsed';
  /** False: its row was not written by this broker. It gives nothing. */
  proven: boolean;
  asked_by: string;
  /** Times are ISO 8601. */
  asked_at: string;
  /** Until when another may agree. */
  agree_by: string;
  agreed_by: string | null;
  agreed_at: string | null;
  expires_at: string | null;
  ended_at: string | null;
  ended_how: string | null;
  ended_by: string | null;
  end_words: string | null;
  review_due_at: string | null;
  overdue: boolean;
  reviewed_by: string | null;
  reviewed_at: string | null;
  review: string | null;
  /** What was given by it. */
  uses: BreakGlassUseView[];
}

export interface BreakGlassUseView {
  grant: string;
  session: string;
  capability: string;
  at: string;
  /** Of its credential; null = none was intended. */
  lease: string | null;
  /** `issuing`, `active`, `revoking`, `revoked`, `expired`, `failed`. */
  lease_status: string | null;
}

export interface ReadDeps {
  store: Store;
  catalog: Catalog;
  people: BreakGlassPeople;
  clock: Clock;
  reviewSeconds: number;
}

const usesStatement: Statement = {
  name: 'break_glass_uses',
  text: `
    SELECT u.break_glass_id, u.grant_id AS "grant", g.session_id AS session, g.capability, u.at, l.id AS lease, l.status AS lease_status
    FROM break_glass_use u JOIN grants g ON g.id = u.grant_id LEFT JOIN lease l ON l.grant_id = g.id
    WHERE u.break_glass_id = ANY($1::text[]) ORDER BY u.at DESC, u.grant_id LIMIT 1000`,
};

/** @throws WritError `not_found`, also for who may not see it */
export async function readBreakGlass(deps: ReadDeps, id: string, person: Identity): Promise<BreakGlassView> {
  const row = await seenBy(deps, id, person);
  const [view] = await viewsOf(deps, [row]);
  if (view === undefined) throw new WritError('not_found');
  return view;
}

/** Of those that this person may see: all that wait, are open or are to be reviewed, and the latest. */
export async function readBreakGlasses(deps: ReadDeps, limit: number, person: Identity): Promise<BreakGlassView[]> {
  const seen: StoredBreakGlass[] = [];
  for (const row of await latestBreakGlasses(deps.store, limit))
    if (maySee(deps.people, person, await ownerOf(deps.catalog, row.agent))) seen.push(row);
  return viewsOf(deps, seen);
}

async function viewsOf({ store, clock, reviewSeconds }: ReadDeps, rows: StoredBreakGlass[]): Promise<BreakGlassView[]> {
  const now = clock.now();
  const uses = await store.run<Omit<BreakGlassUseView, 'at'> & { break_glass_id: string; at: Date }>(usesStatement, [
    rows.map(({ id }) => id),
  ]);
  return rows.map((row) => {
    const due = row.approved_at === null && !row.opened ? null : dueAt(row, reviewSeconds);
    const reviewed = isReviewed(store, row);
    const awaits = awaitsReview(store, row, now);
    return {
      id: row.id,
      agent: row.agent,
      session: row.session_id,
      capabilities: row.capabilities.map(({ name }) => name),
      reason: row.reason,
      incident: row.incident,
      seconds: row.seconds,
      state: stateOf(store, row, now),
      proven: isAsked(store, row) && ((row.approved_at === null && !row.opened) || isAgreed(store, row)),
      asked_by: row.requested_by,
      asked_at: row.requested_at.toISOString(),
      agree_by: row.decide_by.toISOString(),
      agreed_by: row.approved_by,
      agreed_at: row.approved_at?.toISOString() ?? null,
      expires_at: row.expires_at?.toISOString() ?? null,
      ended_at: row.ended_at?.toISOString() ?? null,
      ended_how: row.ended_how,
      ended_by: row.ended_by,
      end_words: row.end_words,
      review_due_at: due?.toISOString() ?? null,
      overdue: awaits && due !== null && due <= now,
      reviewed_by: reviewed ? row.reviewed_by : null,
      reviewed_at: reviewed ? row.reviewed_at!.toISOString() : null,
      review: reviewed ? row.review : null,
      uses: uses
        .filter(({ break_glass_id }) => break_glass_id === row.id)
        .map(({ break_glass_id: _, at, ...use }) => ({ ...use, at: at.toISOString() })),
    };
  });
}

function stateOf(store: Store, row: StoredBreakGlass, now: Date): BreakGlassView['state'] {
  if (isOpen(store, row, now)) return 'open';
  if (isReviewed(store, row)) return 'reviewed';
  if (row.approved_at !== null || row.opened) return 'to_review';
  return row.status === 'waiting' && !row.over && row.decide_by > now ? 'waiting' : 'lapsed';
}
