/**
 * Denies what hangs on the approvals of somebody who is signed off: what nobody has redeemed, and what waits
 * for one more person. A review cannot be taken back, so the request lapses, and the agent asks again.
 */
import { settleNotices } from '../../approvals/notices.ts';
import { endPreApprovals } from '../../approvals/pre-approval-transitions.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { decisionReason, preApprovalEnd } from '../core/reasons.ts';
import { lapseGrant, lapsesByItself } from '../grants/transitions.ts';
import type { NamedAccount } from '../people/account-names.ts';
import type { Statement, Store } from '../store/open.ts';

const lapseStep = 200;

// One that is being minted may come back as approved (`grantUnminted`): it counts as open, so that somebody
// looks again.
const lapseStatement: Statement = {
  name: 'signal_lapse_approvals',
  text: `
    WITH account AS (
      SELECT a.issuer, a.subject FROM jsonb_to_recordset($2::jsonb) AS a (issuer text, subject text)
    ), open AS (
      -- Of a batch that was approved its members lapse, as far as they were not redeemed.
      SELECT g.id FROM grants g LEFT JOIN grants batch ON batch.id = g.batch_id
      WHERE g.ended_at IS NULL AND g.status IN ('pending', 'approved', 'issuing') AND ${lapsesByItself('g')} AND EXISTS (
        SELECT 1 FROM review r JOIN account a ON r.reviewer ->> 'issuer' = a.issuer AND r.reviewer ->> 'subject' = a.subject
        WHERE r.grant_id = coalesce(batch.id, g.id) AND r.verdict = 'approve' AND (g.status = 'issuing' OR r.consented_digest = coalesce(batch.plan_digest, g.plan_digest)))
    ), due AS (
      SELECT g.id, ${decisionReason('approver_signed_off')} AS reason FROM grants g
      WHERE g.id IN (SELECT id FROM open) AND g.ended_at IS NULL AND g.status IN ('pending', 'approved')
      ORDER BY g.id LIMIT $3::int FOR UPDATE
    ), changed AS (
${lapseGrant('due', '$1::timestamptz')}
      RETURNING g.id, g.session_id, g.capability, g.plan_digest, due.reason
    ), ${settleNotices('changed', '$1::timestamptz')}, audited AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('grant.denied'), actor: "'system'", grant: 'id', payload: "json_build_object('capability', capability, 'reason', reason, 'plan_digest', plan_digest)" }, 'changed ORDER BY session_id, id')}
    )
    SELECT (SELECT count(*)::int FROM open) AS open, (SELECT count(*)::int FROM changed) AS lapsed`,
};

// What they gave ahead of time ends first: nothing is approved by it after that.
const aheadStatement: Statement = {
  name: 'signal_end_pre_approvals',
  text: `
    WITH due AS (
      SELECT p.id, ${preApprovalEnd('giver_signed_off')} AS reason FROM pre_approval p
      JOIN jsonb_to_recordset($2::jsonb) AS a (issuer text, subject text) ON p.giver ->> 'issuer' = a.issuer AND p.giver ->> 'subject' = a.subject
      WHERE p.ended_at IS NULL ORDER BY p.id FOR UPDATE OF p
    ), ${endPreApprovals('due', '$1::timestamptz')}
    SELECT id FROM over`,
};

/**
 * @returns how many requests lapsed, and whether none is left that may come to be approved by these people
 */
export async function lapseApprovals(
  store: Store,
  accounts: readonly NamedAccount[],
  now: Date,
): Promise<{ lapsed: number; done: boolean }> {
  await store.run(aheadStatement, [now, JSON.stringify(accounts)]);
  let lapsed = 0;
  for (;;) {
    const [row] = await store.run<{ open: number; lapsed: number }>(lapseStatement, [
      now,
      JSON.stringify(accounts),
      lapseStep,
    ]);
    lapsed += row?.lapsed ?? 0;
    if (row === undefined || row.open === 0) return { lapsed, done: true };
    // Open, and none of it could be denied: it is being minted at this moment.
    if (row.lapsed === 0) return { lapsed, done: false };
  }
}
