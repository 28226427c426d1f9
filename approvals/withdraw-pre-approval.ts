/**
 * Takes a pre-approval back, at once: nothing more is approved by it, and what it approved and nobody has
 * collected is denied. By whoever gave it, or an admin.
 */
import { appendEvent } from '../broker/audit/append.ts';
import { event } from '../broker/audit/events.ts';
import { WritError } from '../broker/core/errors.ts';
import { decisionReason, preApprovalEnd } from '../broker/core/reasons.ts';
import type { Clock } from '../broker/core/vocabulary.ts';
import { lapseGrant } from '../broker/grants/transitions.ts';
import { type Admin, isSurelySame } from '../broker/people/identity.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import { settleNotices } from './notices.ts';
import { endPreApprovals } from './pre-approval-transitions.ts';
import { readPreApproval } from './read-pre-approvals.ts';

const endStatement: Statement = {
  name: 'pre_approval_withdraw',
  text: `
    WITH due AS (
      SELECT id, ${preApprovalEnd('withdrawn')} AS reason FROM pre_approval WHERE id = $1::text AND ended_at IS NULL FOR UPDATE
    ), ${endPreApprovals('due', '$2::timestamptz', '$3::text', '$4::text')}
    SELECT id FROM over`,
};

// A statement of its own: it must see what was approved while the one before it waited. Whoever dies in
// between leaves approvals that nobody can collect (`grant_claim` asks the record).
const lapseStatement: Statement = {
  name: 'pre_approval_lapse_grants',
  text: `
    WITH due AS (
      SELECT g.id, ${decisionReason('withdrawn')} AS reason FROM grants g
      WHERE g.id IN (SELECT grant_id FROM pre_approval_use WHERE pre_approval_id = $1::text) AND g.status IN ('pending', 'approved') AND g.ended_at IS NULL
      ORDER BY g.id FOR UPDATE
    ), changed AS (
${lapseGrant('due', '$2::timestamptz')}
      RETURNING g.id, g.session_id, g.capability, g.plan_digest, due.reason
    ), ${settleNotices('changed', '$2::timestamptz')}, audited AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('grant.denied'), actor: '$3::text', grant: 'id', request: '$4::text', payload: "json_build_object('capability', capability, 'reason', reason, 'plan_digest', plan_digest)" }, 'changed ORDER BY session_id, id')}
    )
    SELECT id FROM changed`,
};

/** @throws WritError `not_found`; `forbidden`; `conflict` (it is over) */
export async function withdrawPreApproval(
  { store, clock }: { store: Store; clock: Clock },
  { id, by, isAdmin, requestId }: { id: string; by: Admin; isAdmin: boolean; requestId: string },
): Promise<void> {
  const given = await readPreApproval(store, id, clock.now());
  const own = by.identity !== null && isSurelySame(by.identity, given.giver);
  if (!own && !isAdmin) throw new WritError('forbidden', { detail: 'Whoever gave it withdraws it, or an admin.' });
  const values = [id, clock.now(), by.name, requestId];
  const done = await store.run(endStatement, values);
  await store.run(lapseStatement, values);
  if (done.length === 0) throw new WritError('conflict', { detail: 'It is over already.' });
}
