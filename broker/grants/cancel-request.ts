/**
 * The agent takes its own request back, as long as nobody has decided it (AuthZEN's Access Request and
 * Approval Profile, "Cancellation"). One statement, from the waiting row of that very session. A question
 * about the session itself is not the agent's to take back.
 */
import { settleNotices } from '../../approvals/notices.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { aboutSession } from '../core/questions.ts';
import { decisionReason } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import { mayAct } from '../sessions/live-session.ts';
import type { Statement, Store } from '../store/open.ts';
import { lapseGrant } from './transitions.ts';

const cancelStatement: Statement = {
  name: 'access_request_cancel',
  text: `
    WITH live AS (
      SELECT s.id FROM session s WHERE s.id = $2::text AND ${mayAct('s', '$3::timestamptz')} FOR SHARE OF s
    ), due AS (
      SELECT g.id, ${decisionReason('cancelled')} AS reason FROM grants g JOIN live ON live.id = g.session_id
      WHERE g.id = $1::text AND g.status = 'pending' AND g.decide_by > $3::timestamptz AND g.capability <> '${aboutSession}' FOR UPDATE OF g
    ), changed AS (
${lapseGrant('due', '$3::timestamptz')}
      RETURNING g.id, g.session_id, g.agent, g.capability, g.plan_digest, due.reason
    ), ${settleNotices('changed', '$3::timestamptz')}, audited AS (
      ${appendEvent({ chain: 'session_id', at: '$3::timestamptz', type: event('grant.denied'), actor: 'agent', grant: 'id', request: '$4::text', payload: "json_build_object('capability', capability, 'reason', reason, 'plan_digest', plan_digest)" }, 'changed')}
    )
    SELECT id FROM changed`,
};

/** @returns whether it waited, and does not any more */
export async function cancelRequest(
  { store, clock }: { store: Store; clock: Clock },
  sessionId: string,
  grantId: string,
  requestId: string | null,
): Promise<boolean> {
  return (await store.run(cancelStatement, [grantId, sessionId, clock.now(), requestId])).length > 0;
}
