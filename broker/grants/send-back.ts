/**
 * An approved grant whose state has changed goes back to people: one statement, from the very approval that
 * was looked at. Who approved it approved another plan; nothing of that counts for this one. One that was
 * approved with others is decided alone from then on.
 */
import { insertNotices, reopenNotices, settleNotices } from '../../approvals/notices.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { newId } from '../core/ids.ts';
import { decisionReason } from '../core/reasons.ts';
import type { JsonObject, Plan } from '../core/vocabulary.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { mayAct } from '../sessions/live-session.ts';
import type { Statement, Store } from '../store/open.ts';
import { lapseGrant } from './transitions.ts';

/** How often a grant goes back before it is denied: what changes all the time is approved by nobody. */
export const mostRounds = 3;

const sendBackStatement: Statement = {
  name: 'grant_send_back',
  text: `
    WITH live AS (
      SELECT s.id FROM session s WHERE s.id = $2::text AND ${mayAct('s', '$4::timestamptz')} FOR SHARE OF s
    ), sent AS (
      UPDATE grants g SET status = 'pending', plan = $5::jsonb, plan_digest = $6::text, decide_by = $7::timestamptz, decided_at = NULL, batch_id = NULL,
        decision = (g.decision - 'left_out' - 'lowered' - 'asked_plan')
          || jsonb_build_object('reasons', jsonb_build_array(jsonb_build_object('code', ${decisionReason('state_changed')})), 'state_was', $8::jsonb)
      FROM live WHERE g.session_id = live.id AND g.id = $1::text AND g.status = 'approved' AND g.plan_digest = $3::text AND g.decide_by > $4::timestamptz
      RETURNING g.id, g.session_id, g.agent
    ), ${reopenNotices('sent', '$4::timestamptz')}, first_notices AS (${insertNotices('sent', '$11', '$12', '$4')}
      -- Of one that was approved with others nobody was told by itself.
      ON CONFLICT (grant_id, channel, kind) DO NOTHING
    ), audited AS (
      ${appendEvent({ chain: 'session_id', at: '$4::timestamptz', type: event('grant.sent_back'), actor: 'agent', grant: 'id', request: '$9::text', payload: '$10::json' }, 'sent')}
    )
    SELECT id FROM sent`,
};

const denyStatement: Statement = {
  name: 'grant_changed_too_often',
  text: `
    WITH due AS (
      SELECT id, ${decisionReason('state_changed')} AS reason FROM grants
      WHERE id = $1::text AND status = 'approved' AND plan_digest = $2::text AND ended_at IS NULL FOR UPDATE
    ), changed AS (
${lapseGrant('due', '$3::timestamptz')}
      RETURNING g.id, g.session_id, g.capability, g.plan_digest, due.reason
    ), ${settleNotices('changed', '$3::timestamptz')}, audited AS (
      ${appendEvent({ chain: 'session_id', at: '$3::timestamptz', type: event('grant.denied'), actor: "'system'", grant: 'id', request: '$4::text', payload: "json_build_object('capability', capability, 'reason', reason, 'plan_digest', plan_digest)" }, 'changed')}
    )
    SELECT id FROM changed`,
};

export interface Changed {
  grant: { id: string; sessionId: string; capability: string; planDigest: string; plan: unknown };
  /** The plan as it was asked for, of which reviews may have left something out. */
  whole: Plan;
  /** What was approved, and what there is now. */
  state: NonNullable<Plan['state']>;
  seen: JsonObject;
  /** Until when people may decide anew. */
  decideBy: Date;
  now: Date;
  requestId: string | null;
}

/** What has moved on meanwhile is as it is: whoever asks again reads it. */
export async function sendBack(
  { store, noticeChannels }: { store: Store; noticeChannels: readonly string[] },
  { grant, whole, state, seen, decideBy, now, requestId }: Changed,
): Promise<void> {
  const round = state.round + 1;
  if (round > mostRounds) {
    await store.run(denyStatement, [grant.id, grant.planDigest, now, requestId]);
    return;
  }
  // The lifetime that stands is no longer than the one that was asked for.
  const { ttl_seconds } = grant.plan as Plan;
  const plan: Plan = { ...whole, ttl_seconds, state: { round, seen } };
  const digest = planDigest(plan);
  const audit = eventPayload('grant.sent_back', {
    capability: grant.capability,
    was_digest: grant.planDigest,
    plan_digest: digest,
    was: state.seen,
    now: seen,
    round,
  });
  await store.run(sendBackStatement, [
    grant.id,
    grant.sessionId,
    grant.planDigest,
    now,
    JSON.stringify(plan),
    digest,
    decideBy,
    JSON.stringify(state.seen),
    requestId,
    JSON.stringify(audit),
    noticeChannels.map(() => newId('ntc', now)),
    [...noticeChannels],
  ]);
}
