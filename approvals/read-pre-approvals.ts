/** Pre-approvals as people read them: what was given, whether it still approves anything, each use. */
import { event } from '../broker/audit/events.ts';
import { WritError } from '../broker/core/errors.ts';
import type { ProvenRows } from '../broker/core/proven-rows.ts';
import type { PreApprovalEnd } from '../broker/core/reasons.ts';
import type { Identity } from '../broker/people/identity.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import type { Bounds } from './bounds.ts';
import { preApprovalHolds, provenPreApprovalColumns } from './proven-pre-approval.ts';

export interface PreApprovalView {
  id: string;
  agent: string;
  task_type: string;
  capability: string;
  bounds: Bounds;
  max_uses: number;
  max_ttl_seconds: number;
  until: Date;
  from_grant: string;
  reason: string;
  giver: Identity;
  given_by: string;
  given_at: Date;
  /** `stands`, or why it approves nothing more. `not_proven`: its row was not written by this broker. */
  state: 'stands' | 'used_up' | 'expired' | 'not_proven' | PreApprovalEnd;
  used: number;
  ended_at: Date | null;
  /** Newest first. */
  uses: { number: number; grant_id: string; session_id: string; at: string }[];
}

type Row = Omit<PreApprovalView, 'state'> &
  ProvenRows['pre_approval'] & { proof: string; end_reason: PreApprovalEnd | null; over: boolean };

const readStatement: Statement = {
  name: 'pre_approvals_read',
  text: `
    SELECT ${provenPreApprovalColumns('p')}, p.ended_at, p.end_reason,
      greatest(p.used_count, (SELECT count(*)::int FROM audit_event e WHERE e.chain = p.id AND e.type = ${event('pre_approval.used')})) AS used,
      EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = p.id AND e.type = ${event('pre_approval.ended')}) AS over,
      (SELECT coalesce(jsonb_agg(jsonb_build_object('number', u.number, 'grant_id', u.grant_id, 'session_id', u.session_id, 'at', u.at) ORDER BY u.number DESC), '[]')
       FROM (SELECT * FROM pre_approval_use u WHERE u.pre_approval_id = p.id ORDER BY u.number DESC LIMIT 100) u) AS uses
    FROM pre_approval p
    WHERE ($1::text IS NULL OR p.id = $1::text) AND ($2::text IS NULL OR (p.giver ->> 'issuer' = $2::text AND p.giver ->> 'subject' = $3::text))
    ORDER BY p.ended_at IS NOT NULL, p.given_at DESC LIMIT $4::int`,
};

/** @throws WritError `not_found` */
export async function readPreApproval(store: Store, id: string, now: Date): Promise<PreApprovalView> {
  const [row] = await store.run<Row>(readStatement, [id, null, null, 1]);
  if (row === undefined) throw new WritError('not_found');
  return viewOf(store, row, now);
}

/** @param giver of this account alone; null = of everybody */
export async function readPreApprovals(
  store: Store,
  giver: Pick<Identity, 'issuer' | 'subject'> | null,
  now: Date,
  limit: number,
): Promise<PreApprovalView[]> {
  const rows = await store.run<Row>(readStatement, [null, giver?.issuer ?? null, giver?.subject ?? null, limit]);
  return rows.map((row) => viewOf(store, row, now));
}

function viewOf(store: Store, row: Row, now: Date): PreApprovalView {
  const { proof: _proof, terms: _terms, groups: _groups, end_reason, over, ...view } = row;
  const state = !preApprovalHolds(store, row)
    ? 'not_proven'
    : (end_reason ??
      (over ? 'withdrawn' : row.used >= row.max_uses ? 'used_up' : row.until <= now ? 'expired' : 'stands'));
  return { ...view, state };
}
