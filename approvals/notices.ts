/**
 * What people are told about a grant, as rows of `approval_outbox`. A row a channel, so that one which fails
 * holds up no other; written in the statement that makes the notice true, so that there is never one without
 * the other. `outbox.ts` delivers them.
 */
import { clamp, visible } from '../broker/console/text.ts';
import type { Json, Plan } from '../broker/core/vocabulary.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import type { AgentText, ApproversOf, DescribePlan, Notice, NoticeKind } from './contract.ts';

/** Characters of any one text in a notice: a message is to be read, and the page has the rest. */
export const noticeTextMax = 500;
/** Lines of the permission; more would not fit where notices go. */
export const noticeLinesMax = 20;

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
  task_type: string;
  inputs: { [name: string]: Json };
}

// A claim expires: a process that crashes leaves a row that is due again. A grant that is no longer pending
// needs no notice: its row is given up here.
const claimStatement: Statement = {
  name: 'outbox_claim',
  text: `
    WITH due AS (
      SELECT id FROM approval_outbox WHERE channel = $1::text AND due_at <= $2::timestamptz AND grant_id IS NOT NULL
      ORDER BY due_at, id LIMIT $3::int FOR UPDATE SKIP LOCKED
    ), claimed AS (
      UPDATE approval_outbox o
      SET attempts = CASE WHEN g.status = 'pending' AND g.decide_by > $2::timestamptz THEN o.attempts + 1 ELSE o.attempts END,
          due_at = CASE WHEN g.status = 'pending' AND g.decide_by > $2::timestamptz THEN $4::timestamptz END
      FROM due, grants g WHERE o.id = due.id AND g.id = o.grant_id
      RETURNING o.id, o.grant_id, o.kind, o.attempts, o.due_at
    )
    SELECT c.id, c.grant_id, c.kind, c.attempts, c.due_at IS NOT NULL AS waits, g.agent, g.capability, g.manifest_version, g.plan, g.plan_digest,
      g.requested_at, g.decide_by, g.justification, s.task_type, s.inputs
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

// Does not require the claim: the notice was delivered, whichever process reports it.
const deliveredStatement: Statement = {
  name: 'outbox_delivered',
  text: `
    UPDATE approval_outbox SET delivered_at = $2::timestamptz, due_at = NULL, last_error = NULL
    WHERE id = $1::text AND delivered_at IS NULL`,
};

export async function markDelivered(store: Store, notice: Claim, now: Date): Promise<void> {
  await store.run(deliveredStatement, [notice.id, now]);
}

const failedStatement: Statement = {
  name: 'outbox_failed',
  text: `
    UPDATE approval_outbox SET due_at = $3::timestamptz, last_error = $4::text
    WHERE id = $1::text AND attempts = $2::int AND due_at IS NOT NULL`,
};

/**
 * Gives a claim back. A claim that another has taken over is that one's to answer for: then nothing is
 * written.
 */
export async function markFailed(store: Store, notice: Claim, code: string, retryAt: Date): Promise<void> {
  await store.run(failedStatement, [notice.id, notice.attempts, retryAt, code]);
}

/** What a notice is made of besides its row. */
export interface NoticeSources {
  /** Base of links, no trailing slash. */
  publicUrl: string;
  describePlan: DescribePlan;
  approversOf: ApproversOf;
}

/**
 * @throws whatever the sources throw: WritError `unavailable` when the plan's provider is not switched on
 *   here
 */
export async function noticeOf(sources: NoticeSources, row: ClaimedNotice): Promise<Notice> {
  const { summary, revocability } = sources.describePlan(row.plan);
  const approvers = await sources.approversOf({
    id: row.grant_id,
    agent: row.agent,
    capability: row.capability,
    manifestVersion: row.manifest_version,
    taskType: row.task_type,
  });
  const justification = row.justification?.trim() ?? '';
  return {
    id: row.id,
    kind: row.kind,
    grantId: row.grant_id,
    url: `${sources.publicUrl}/approvals/${row.grant_id}`,
    agent: line(row.agent),
    capability: line(row.capability),
    taskType: line(row.task_type),
    approvers,
    summary: lines(summary),
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
