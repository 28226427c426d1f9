/**
 * Takes an approval back that nobody has collected yet: the request is denied then, whoever else approved it.
 * One statement, whose conditions are the facts that were checked.
 */
import { appendEvent } from '../broker/audit/append.ts';
import { event } from '../broker/audit/events.ts';
import { WritError } from '../broker/core/errors.ts';
import { isBatch, isBatchSql } from '../broker/core/questions.ts';
import { decisionReason } from '../broker/core/reasons.ts';
import type { Clock } from '../broker/core/vocabulary.ts';
import { lapseGrant } from '../broker/grants/transitions.ts';
import { type Identity, isSurelySame, personRef } from '../broker/people/identity.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import { isOpenBatch } from './batch.ts';
import { type GrantUnderReview, loadForReview } from './eligibility.ts';
import { settleNotices } from './notices.ts';

const withdrawStatement: Statement = {
  name: 'review_withdraw',
  text: `
    WITH due AS (
      SELECT id, ${decisionReason('withdrawn')} AS reason FROM grants
      WHERE id = $1::text AND status IN ('pending', 'approved') AND ended_at IS NULL AND decide_by > $2::timestamptz
        AND (NOT ${isBatchSql('grants.capability')} OR EXISTS (
          SELECT 1 FROM grants m WHERE m.batch_id = grants.id AND m.status IN ('pending', 'approved'))) FOR UPDATE
    ), changed AS (
${lapseGrant('due', '$2::timestamptz')}
      RETURNING g.id, g.session_id, g.capability, g.plan_digest, due.reason
    ), ${settleNotices('changed', '$2::timestamptz')}, audited AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('grant.denied'), actor: '$3::text', grant: 'id', request: '$4::text', payload: "json_build_object('capability', capability, 'reason', reason, 'plan_digest', plan_digest)" }, 'changed')}
    )
    SELECT id FROM changed`,
};

/** Whether this person gave an approval that stands and can be taken back. */
export const mayWithdraw = (person: Identity, grant: GrantUnderReview): boolean =>
  (grant.status === 'pending' || grant.status === 'approved') &&
  (!isBatch(grant.capability) || isOpenBatch(grant)) &&
  grant.approvals.some(({ reviewer }) => isSurelySame(reviewer, person));

/**
 * @throws WritError `not_found`; `forbidden` (they gave no approval); `conflict` (collected, or over)
 */
export async function withdraw(
  { store, clock }: { store: Store; clock: Clock },
  { grantId, reviewer, requestId }: { grantId: string; reviewer: Identity; requestId: string },
): Promise<void> {
  const grant = await loadForReview(store, grantId);
  const over = () =>
    new WritError('conflict', { detail: 'There is nothing to take back any more: it was collected, or it is over.' });
  if (!grant.approvals.some((approval) => isSurelySame(approval.reviewer, reviewer)))
    throw new WritError('forbidden', { detail: 'Only whoever approved it takes the approval back.' });
  if (!mayWithdraw(reviewer, grant)) throw over();
  const done = await store.run(withdrawStatement, [grant.id, clock.now(), personRef(reviewer), requestId]);
  if (done.length === 0) throw over();
}
