/**
 * What people are told about a grant, as rows of `approval_outbox`. A row a channel, so that one which fails
 * holds up no other; written in the statement that makes the notice true, so that there is never one without
 * the other. `outbox.ts` delivers them.
 */
import { bare, clamp, visible } from '../broker/console/text.ts';
import { duration } from '../broker/core/duration.ts';
import { newId } from '../broker/core/ids.ts';
import { type BatchPermission, isBatch, isQuestion, membersLeft, nameOfAsked } from '../broker/core/questions.ts';
import type { ApprovalTerm, GrantStatus, Json, Plan } from '../broker/core/vocabulary.ts';
import { type Identity, personRef } from '../broker/people/identity.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import type {
  AboutGrant,
  AgentText,
  ApproversOf,
  DescribePlan,
  EarlierNotice,
  Notice,
  NoticeKind,
  Outcome,
} from './contract.ts';
import { mayApproveIn } from './eligibility.ts';
import { fitsInMessage, noticeLinesMax, noticeTextMax } from './message-size.ts';

/**
 * The part of a statement that writes the notices of a grant that has come to wait. Arguments are the
 * statement's own names and placeholders, no values.
 * @param grants relation with the `id` of the grant; no row = nothing was written, and no notice is
 * @param ids placeholder of `text[]`: a notice's id for each channel
 * @param channels placeholder of `text[]`: names of the channels
 * @param at placeholder of the time
 */
export const insertNotices = (grants: string, ids: string, channels: string, at: string) => `
      INSERT INTO approval_outbox (id, grant_id, channel, kind, created_at, due_at)
      SELECT n.id, ${grants}.id, n.channel, 'pending', ${at}::timestamptz, ${at}::timestamptz
      FROM ${grants}, unnest(${ids}::text[], ${channels}::text[]) AS n (id, channel)`;

/**
 * CTEs of a statement that settles grants: whoever was told that one waits is told how it ended, and whoever
 * was not, is not told any more. A grant that is settled again (approved, and then nobody collected it) is
 * told again, after what is under way.
 * @param settled relation with the `id` of each settled grant
 * @param at SQL of the time
 */
export const settleNotices = (settled: string, at: string) => `untold_notices AS (
      UPDATE approval_outbox SET due_at = NULL
      WHERE grant_id IN (SELECT s.id FROM ${settled} AS s) AND kind IN ('pending', 'escalated', 'reminder') AND attempts = 0 AND due_at IS NOT NULL
    ), settled_notices AS (
      INSERT INTO approval_outbox AS o (id, grant_id, channel, kind, created_at, due_at)
      SELECT n.id || '_settled', n.grant_id, n.channel, 'settled', ${at}, ${at}
      FROM approval_outbox n WHERE n.kind = 'pending' AND n.grant_id IN (SELECT s.id FROM ${settled} AS s)
      ON CONFLICT (grant_id, channel, kind) DO UPDATE
      SET due_at = greatest(o.due_at, excluded.due_at), delivered_at = NULL, attempts = o.attempts + 1
    )`;

/**
 * What tells the agent's own program (`callbacks.ts`): its row of `pending` says where, and is told to
 * nobody.
 */
export const callbackChannel = 'callback';

/**
 * CTEs of a statement that puts grants to people again: whoever was told that one waits is told anew, and not
 * any more how it had ended. The notice has another id then (`noticeOf`).
 * @param again relation with the `id` of each grant that waits again
 * @param at SQL of the time
 */
export const reopenNotices = (again: string, at: string) => `reopened_notices AS (
      UPDATE approval_outbox SET due_at = CASE WHEN kind = 'pending' THEN ${at} END, delivered_at = CASE WHEN kind <> 'pending' THEN delivered_at END
      WHERE grant_id IN (SELECT a.id FROM ${again} AS a) AND (kind = 'pending' AND channel <> '${callbackChannel}' OR due_at IS NOT NULL)
    )`;

/** A row that this process has claimed. */
export interface Claim {
  id: string;
  /** Which claim this is, counted from 1. */
  attempts: number;
}

/** A notice with what it is about. */
export interface ClaimedNotice extends Claim {
  grant_id: string;
  kind: NoticeKind;
  agent: string;
  capability: string;
  manifest_version: number;
  plan: Plan;
  plan_digest: string;
  requested_at: Date;
  decide_by: Date;
  justification: string | null;
  tier: number;
  task_type: string;
  inputs: { [name: string]: Json };
  status: GrantStatus;
  decided_at: Date | null;
  ended_at: Date | null;
  decision: { reasons?: { code: string }[]; approval?: ApprovalTerm[] };
  /** Oldest first. */
  reviews: { reviewer: Identity; verdict: 'approve' | 'deny'; reason: string | null; channel: string }[];
  earlier: EarlierNotice[];
}

/**
 * The end of a statement: of the grant whose pending notice is in `notices`, others are told after a silence,
 * and whoever was told is reminded halfway between that and the end. `next`: placeholders of `nextOf`.
 */
const tellAgain = (notices: string, at: string, next: { ids: string; silence: string; reminds: string }) => `
    INSERT INTO approval_outbox AS o (id, grant_id, channel, kind, created_at, due_at)
    SELECT again.id, g.id, ${notices}.channel, again.kind, ${at}, again.due
    FROM ${notices} JOIN grants g ON g.id = ${notices}.grant_id
    CROSS JOIN LATERAL (SELECT CASE WHEN ${next.silence} IS NOT NULL THEN
      LEAST(${at} + ${next.silence} * interval '1 second', ${at} + (g.decide_by - ${at}) / 2) END AS due) silence
    CROSS JOIN LATERAL (SELECT coalesce(silence.due, ${at}) + (g.decide_by - coalesce(silence.due, ${at})) / 2 AS due) half
    CROSS JOIN LATERAL (VALUES
      ((${next.ids})[1], 'escalated', silence.due),
      -- Whoever was told less than a minute ago needs none.
      ((${next.ids})[2], 'reminder', CASE WHEN ${next.reminds} AND half.due >= ${at} + interval '1 minute' THEN half.due END)
    ) again (id, kind, due)
    WHERE ${notices}.kind = 'pending' AND g.status = 'pending' AND g.decide_by > again.due
    -- One that was put off without having been told: its grant went back to people, or nobody could be told.
    ON CONFLICT (grant_id, channel, kind) DO UPDATE SET due_at = excluded.due_at WHERE o.due_at IS NULL AND o.attempts = 0`;

/** Who is told again, and when. */
export interface TellAgain {
  /** After so many seconds of silence the next ones; null = never. */
  silenceSeconds: number | null;
  /** Whether whoever was told is reminded. */
  reminds: boolean;
}

const nextOf = ({ silenceSeconds, reminds }: TellAgain, now: Date) => [
  [newId('ntc', now), newId('ntc', now)],
  silenceSeconds,
  reminds,
];

/**
 * CTE of a statement by which grants wait longer: their reminders wait as well.
 * @param waiting relation with the `id` and the `decide_by` of each @param at SQL of the time
 */
export const postponeReminders = (waiting: string, at: string): string => `postponed_reminders AS (
      UPDATE approval_outbox SET due_at = ${at} + (w.decide_by - ${at}) / 2 FROM ${waiting} AS w
      WHERE grant_id = w.id AND kind = 'reminder' AND attempts = 0 AND due_at IS NOT NULL
    )`;

/** An outcome that could not be told for so long is news to nobody. */
const toldWithin = "interval '1 day'";

// A claim expires: a process that crashes leaves a row that is due again. A grant that is no longer pending
// needs no notice that it is, and nobody is told how it ended who was not told that it waits: such rows are
// given up here. An outcome waits until what it rewrites is delivered or given up.
const claimStatement: Statement = {
  name: 'outbox_claim',
  text: `
    WITH due AS (
      SELECT id FROM approval_outbox o WHERE channel = $1::text AND due_at <= $2::timestamptz AND grant_id IS NOT NULL
        AND (kind <> 'settled' OR NOT EXISTS (
          SELECT 1 FROM approval_outbox b WHERE b.grant_id = o.grant_id AND b.channel = o.channel
            AND b.kind IN ('pending', 'escalated', 'reminder') AND b.due_at IS NOT NULL AND b.attempts > 0))
      ORDER BY due_at, id LIMIT $3::int FOR UPDATE SKIP LOCKED
    ), judged AS (
      SELECT o.id, CASE WHEN o.kind = 'settled'
        THEN o.created_at > $2::timestamptz - ${toldWithin} AND EXISTS (
          SELECT 1 FROM approval_outbox b WHERE b.grant_id = o.grant_id AND b.channel = o.channel
            AND b.kind IN ('pending', 'escalated', 'reminder') AND b.attempts > 0)
        ELSE g.status = 'pending' AND g.decide_by > $2::timestamptz AND (o.kind <> 'reminder' OR EXISTS (
          SELECT 1 FROM approval_outbox b WHERE b.grant_id = o.grant_id AND b.channel = o.channel
            AND b.kind = 'pending' AND b.delivered_at IS NOT NULL)) END AS wanted
      FROM approval_outbox o JOIN due ON due.id = o.id JOIN grants g ON g.id = o.grant_id
    ), claimed AS (
      UPDATE approval_outbox o
      SET attempts = CASE WHEN judged.wanted THEN o.attempts + 1 ELSE o.attempts END,
          due_at = CASE WHEN judged.wanted THEN $4::timestamptz END
      FROM judged WHERE o.id = judged.id
      RETURNING o.id, o.grant_id, o.channel, o.kind, o.attempts, o.due_at
    )
    SELECT c.id, c.grant_id, c.kind, c.attempts, c.due_at IS NOT NULL AS waits, g.agent, g.capability, g.manifest_version, g.plan, g.plan_digest,
      g.requested_at, coalesce(g.decide_by, g.requested_at) AS decide_by, g.justification, g.tier, s.task_type, s.inputs,
      g.status, g.decided_at, g.ended_at, g.decision,
      (SELECT coalesce(jsonb_agg(jsonb_build_object('reviewer', r.reviewer, 'verdict', r.verdict, 'reason', r.reason, 'channel', r.channel) ORDER BY r.at, r.id), '[]')
       FROM review r WHERE r.grant_id = g.id) AS reviews,
      (SELECT coalesce(jsonb_agg(jsonb_build_object('id', b.id, 'kind', b.kind, 'reference', b.reference) ORDER BY b.created_at, b.id), '[]')
       FROM approval_outbox b WHERE b.grant_id = c.grant_id AND b.channel = c.channel AND b.id <> c.id AND b.attempts > 0) AS earlier
    FROM claimed c JOIN grants g ON g.id = c.grant_id JOIN session s ON s.id = g.session_id
    ORDER BY c.id`,
};

/**
 * Claims what is due on one channel. Safe on any number of workers: each row is claimed by one of them.
 * @param until when the claim ends, and another may try
 * @returns what to deliver, and how many rows were due (at most `limit`): call again while it is full
 */
export async function claimNotices(
  store: Store,
  channel: string,
  now: Date,
  until: Date,
  limit: number,
): Promise<{ found: number; notices: ClaimedNotice[] }> {
  const values = [channel, now, limit, until];
  const rows = await store.run<ClaimedNotice & { waits: boolean }>(claimStatement, values);
  return { found: rows.length, notices: rows.filter((row) => row.waits) };
}

// Of what waits the claim is not required: the notice was delivered, whichever process reports it. Of an
// outcome it is: since then there may be another. Whoever then says nothing for a while is told again.
const deliveredStatement: Statement = {
  name: 'outbox_delivered',
  text: `
    WITH delivered AS (
      UPDATE approval_outbox SET delivered_at = $2::timestamptz, due_at = NULL, last_error = NULL, reference = $4::text
      WHERE id = $1::text AND delivered_at IS NULL AND (kind <> 'settled' OR attempts = $3::int)
      RETURNING grant_id, channel, kind
    )
    ${tellAgain('delivered', '$2::timestamptz', { ids: '$5::text[]', silence: '$6::int', reminds: '$7::boolean' })}`,
};

export async function markDelivered(
  store: Store,
  notice: Claim,
  now: Date,
  reference: string | null,
  next: TellAgain,
): Promise<void> {
  const values = [notice.id, now, notice.attempts, reference, ...nextOf(next, now)];
  await store.run(deliveredStatement, values);
}

const failedStatement: Statement = {
  name: 'outbox_failed',
  text: `
    WITH failed AS (
      UPDATE approval_outbox SET due_at = $3::timestamptz, last_error = $4::text
      WHERE id = $1::text AND attempts = $2::int AND due_at IS NOT NULL
      RETURNING grant_id, channel, kind
    )
    ${tellAgain('failed', '$5::timestamptz', { ids: '$6::text[]', silence: '$7::int', reminds: '$8::boolean' })}`,
};

/**
 * Gives a claim back. A claim that another has taken over is that one's to answer for: then nothing is
 * written.
 */
export async function markFailed(
  store: Store,
  notice: Claim,
  code: string,
  { now, retryAt, next }: { now: Date; retryAt: Date; next: TellAgain },
): Promise<void> {
  const values = [notice.id, notice.attempts, retryAt, code, now, ...nextOf(next, now)];
  await store.run(failedStatement, values);
}

/** What a notice is made of besides its row. */
export interface NoticeSources {
  /** Base of links, no trailing slash. */
  publicUrl: string;
  describePlan: DescribePlan;
  approversOf: ApproversOf;
  aboutGrant: AboutGrant;
}

/**
 * @throws whatever the sources throw: WritError `unavailable` when the plan's provider is not switched on
 *   here
 */
export async function noticeOf(sources: NoticeSources, row: ClaimedNotice, channel: string): Promise<Notice> {
  const { summary, revocability } = sources.describePlan(row.plan);
  const grant = {
    id: row.grant_id,
    agent: row.agent,
    capability: row.capability,
    manifestVersion: row.manifest_version,
    taskType: row.task_type,
  };
  const [owners, about] = await Promise.all([sources.approversOf(grant), sources.aboutGrant(grant)]);
  const asked = row.decision.approval?.flatMap(({ from }) => from);
  const approvers = asked === undefined ? owners : [...new Set(asked)];
  const justification = row.justification?.trim() ?? '';
  const outcome = row.kind === 'settled' ? outcomeOf(row) : null;
  const round = row.plan.state?.round ?? 0;
  return {
    id: `${row.id}${outcome === null ? '' : `_${outcome.result}`}${round > 0 ? `_${round}` : ''}`,
    kind: row.kind,
    attempt: row.attempts,
    outcome,
    earlier: row.earlier,
    grantId: row.grant_id,
    url: `${sources.publicUrl}/approvals/${row.grant_id}`,
    agent: line(row.agent),
    capability: line(nameOfAsked(row.capability)),
    taskType: line(row.task_type),
    approvers,
    approvedHere: mayApproveIn(channel, about, row.tier, summary),
    summary: lines(isBatch(row.capability) && !fitsInMessage(summary) ? namesOf(row.plan) : summary),
    revocability: line(revocability.text),
    ttlSeconds: row.plan.ttl_seconds,
    planDigest: row.plan_digest,
    requestedAt: row.requested_at,
    decideBy: row.decide_by,
    justification: justification === '' ? null : agentText(justification),
    inputs: Object.entries(row.inputs).map(([name, value]) => ({
      name: line(name),
      value: agentText(typeof value === 'string' ? value : JSON.stringify(value)),
    })),
  };
}

/** Of a batch that a message does not hold: what is asked for, each in a line. The page has the rest. */
const namesOf = ({ permission }: Plan): string[] =>
  membersLeft(permission as unknown as BatchPermission).map(
    ({ capability }, index) => `${index + 1}. ${capability}: what it gives is on the page`,
  );

/** What has become of the request by now. */
function outcomeOf(row: ClaimedNotice): Outcome {
  const at = row.ended_at ?? row.decided_at ?? row.requested_at;
  const denial = row.reviews.find(({ verdict }) => verdict === 'deny');
  const approvers = row.reviews.filter(({ verdict }) => verdict === 'approve');
  const who = approvers.map(({ reviewer, channel }) => `${bare(personRef(reviewer))} (${channel})`).join(' and ');
  const told = (result: Outcome['result'], words: string, reason: string | null = null): Outcome => ({
    result,
    words: line(words),
    reason: reason === null ? null : clamp(visible(reason, '\n'), noticeTextMax).text,
    at,
  });
  if (row.status !== 'denied')
    return told(
      'approved',
      `Approved by ${who}${isQuestion(row.capability) ? '' : `, for ${duration(row.plan.ttl_seconds)}`}.`,
    );
  if (denial !== undefined)
    return told('denied', `Denied by ${bare(personRef(denial.reviewer))} (${denial.channel}).`, denial.reason);
  const before = who === '' ? '' : `Approved by ${who}, and then: `;
  switch (row.decision.reasons?.at(-1)?.code) {
    case 'timeout':
      return told('expired', 'Expired: nobody decided in time, and silence is a denial.');
    case 'not_redeemed':
      return told('lapsed', `${before}lapsed, because the agent did not collect it in time.`);
    case 'withdrawn':
      return told('lapsed', `${before}taken back by whoever had approved it.`);
    case 'cancelled':
      return told('lapsed', `${before}over, because the agent took its request back.`);
    case 'session_ended':
      return told('session_ended', `${before}over, because the agent’s session ended.`);
    default:
      return told('lapsed', `${before}lapsed: what it stood on is not so any more.`);
  }
}

function agentText(text: string): AgentText {
  return { writtenBy: 'agent', ...clamp(visible(text, '\n'), noticeTextMax) };
}

/** A text on one line, as a message has room for it. */
export const line = (text: string): string => {
  const { text: kept, left } = clamp(visible(text), noticeTextMax);
  return left === 0 ? kept : `${kept}…`;
};

function lines(all: readonly string[]): string[] {
  const kept = all.slice(0, noticeLinesMax).map(line);
  return kept.length === all.length ? kept : [...kept, `and ${all.length - kept.length} more: see the page`];
}
