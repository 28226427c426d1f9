/** What the approval pages read. Reads only. */

import type { VouchedPerson } from '../../broker/core/identifier.ts';
import { isBatchSql } from '../../broker/core/questions.ts';
import { decisionReason } from '../../broker/core/reasons.ts';
import type { Json, JsonObject, Plan } from '../../broker/core/vocabulary.ts';
import type { Statement, Store } from '../../broker/store/open.ts';
import type { GrantRef } from '../contract.ts';
import { mayBeDecided } from '../review.ts';

/** A grant as its approver reads it. */
export interface ApprovalView {
  id: string;
  session_id: string;
  agent: string;
  capability: string;
  manifest_version: number;
  provider: string;
  plan: Plan;
  plan_digest: string;
  tier: number;
  /** Approvals given, whatever came of them. */
  approval_count: number;
  /** What had been approved, of a request that was sent back because that had changed; else null. */
  state_was: JsonObject | null;
  status: string;
  params: { [name: string]: Json };
  justification: string | null;
  /** Code of the first reason for which it was denied; null when it was not. */
  reason: string | null;
  requested_at: Date;
  decide_by: Date | null;
  decided_at: Date | null;
  task_type: string;
  inputs: { [name: string]: Json };
  on_behalf_of: VouchedPerson | null;
  declared_on_behalf_of: string | null;
  started_by: VouchedPerson | null;
  responsible: string | null;
  session_status: string;
  session_expires_at: Date;
  /** The batch that it is decided with; null = alone. */
  batch_id: string | null;
}

// A denial that no decision made is the session's end: `endSession` denies what was open, and the grant's own
// decision stays as it was.
const reason = `
  CASE WHEN g.status <> 'denied' THEN NULL WHEN g.decision ->> 'effect' = 'deny' THEN g.decision #>> '{reasons,0,code}' ELSE ${decisionReason('session_ended')} END AS reason`;

const viewStatement: Statement = {
  name: 'approval_view',
  text: `
    SELECT g.id, g.session_id, g.agent, g.capability, g.manifest_version, g.provider, g.plan, g.plan_digest, g.tier, g.approval_count, g.decision -> 'state_was' AS state_was, g.status, g.params,
      g.justification, ${reason}, g.requested_at, g.decide_by, g.decided_at, g.batch_id, s.task_type, s.inputs, s.on_behalf_of,
      s.declared_on_behalf_of, s.started_by, s.responsible, s.status AS session_status, s.expires_at AS session_expires_at
    FROM grants g JOIN session s ON s.id = g.session_id WHERE g.id = ANY($1::text[])
    ORDER BY g.decide_by`,
};

/** Those of the grants that exist, the most urgent first. */
export async function loadApprovals(store: Store, grantIds: string[]): Promise<ApprovalView[]> {
  return store.run<ApprovalView>(viewStatement, [grantIds]);
}

export function grantRef(grant: {
  id: string;
  agent: string;
  capability: string;
  manifest_version: number;
  task_type: string;
}): GrantRef {
  const { id, agent, capability, manifest_version, task_type } = grant;
  return { id, agent, capability, manifestVersion: manifest_version, taskType: task_type };
}

/** One earlier request of the same agent. */
export interface EarlierGrant {
  capability: string;
  status: string;
  reason: string | null;
  requested_at: Date;
  task_type: string;
  on_behalf_of: VouchedPerson | null;
  declared_on_behalf_of: string | null;
}

const earlierStatement: Statement = {
  name: 'approval_earlier',
  text: `
    SELECT g.capability, g.status, ${reason}, g.requested_at, s.task_type, s.on_behalf_of, s.declared_on_behalf_of
    FROM grants g JOIN session s ON s.id = g.session_id
    WHERE g.agent = $1 AND g.id <> $2 AND g.batch_id IS DISTINCT FROM $2 AND NOT ${isBatchSql('g.capability')} ORDER BY g.requested_at DESC, g.id DESC LIMIT 10`,
};

/** The agent's ten latest other requests, newest first. */
export async function loadEarlier(store: Store, agent: string, grantId: string): Promise<EarlierGrant[]> {
  return store.run<EarlierGrant>(earlierStatement, [agent, grantId]);
}

/** What became of a credential that a grant gave; null where it gave none. */
export interface LeaseEnd {
  status: string;
  revoke_reason: string | null;
  ended_at: Date | null;
}

const leaseStatement: Statement = {
  name: 'approval_lease',
  text: `SELECT status, revoke_reason, ended_at FROM lease WHERE grant_id = $1 AND status <> 'failed' ORDER BY intent_at DESC LIMIT 1`,
};

export async function loadLease(store: Store, grantId: string): Promise<LeaseEnd | null> {
  const [lease] = await store.run<LeaseEnd>(leaseStatement, [grantId]);
  return lease ?? null;
}

/** What this agent was last given of a capability, before a request. */
export interface LastGiven {
  plan: Plan;
  requested_at: Date;
}

const lastGivenStatement: Statement = {
  name: 'approval_last_given',
  text: `
    SELECT g.plan, g.requested_at FROM grants g
    WHERE g.agent = $1 AND g.capability = $2 AND g.requested_at < $3::timestamptz AND g.status IN ('issued', 'ended')
      AND EXISTS (SELECT 1 FROM lease l WHERE l.grant_id = g.id AND l.status <> 'failed')
    ORDER BY g.requested_at DESC LIMIT 1`,
};

export async function loadLastGiven(
  store: Store,
  { agent, capability, requested_at }: ApprovalView,
): Promise<LastGiven | null> {
  const [last] = await store.run<LastGiven>(lastGivenStatement, [agent, capability, requested_at]);
  return last ?? null;
}

/** One decision of a person. */
export interface OwnReview {
  grant_id: string;
  agent: string;
  capability: string;
  task_type: string;
  inputs: { [name: string]: Json };
  verdict: string;
  at: Date;
  status: string;
  reason: string | null;
}

const ownStatement: Statement = {
  name: 'approvals_of_person',
  text: `
    SELECT r.grant_id, g.agent, g.capability, s.task_type, s.inputs, r.verdict, r.at, g.status, ${reason}
    FROM review r JOIN grants g ON g.id = r.grant_id JOIN session s ON s.id = g.session_id
    WHERE r.reviewer ->> 'issuer' = $1 AND r.reviewer ->> 'subject' = $2 ORDER BY r.at DESC LIMIT 100`,
};

/** The last hundred decisions of an account, newest first. */
export async function loadOwn(
  store: Store,
  { issuer, subject }: { issuer: string; subject: string },
): Promise<OwnReview[]> {
  return store.run<OwnReview>(ownStatement, [issuer, subject]);
}

/** One of the grants that wait, and how many of the same agent and capability do. */
interface WaitingRow {
  id: string;
  agent: string;
  capability: string;
  alike: number;
}

/**
 * Whose requests are whose to decide is known only after this read, so no agent may fill it: at most twenty
 * of one capability, the capabilities of an agent in turn, and the agents in turn.
 */
const waitingStatement: Statement = {
  name: 'approvals_waiting',
  text: `
    WITH waiting AS (
      SELECT g.id, g.agent, g.capability, g.decide_by,
        row_number() OVER (PARTITION BY g.agent, g.capability ORDER BY g.decide_by, g.id) AS place,
        (count(*) OVER (PARTITION BY g.agent, g.capability))::int AS alike
      FROM grants g JOIN session s ON s.id = g.session_id
      WHERE g.ended_at IS NULL AND g.status = 'pending' AND g.batch_id IS NULL AND g.decide_by > $1 AND ${mayBeDecided('g', 's', '$1::timestamptz')}
    ), turns AS (
      SELECT *, row_number() OVER (PARTITION BY agent ORDER BY place, decide_by, id) AS turn FROM waiting WHERE place <= 20
    )
    SELECT id, agent, capability, alike FROM turns ORDER BY turn, decide_by, id LIMIT 200`,
};

/** All pending reviews: ids, and how many more are pending for an agent's capability than are listed. */
export interface Waiting {
  ids: string[];
  unlisted(agent: string, capability: string): number;
}

/** At most 200 in all. Each capability's most urgent come first. */
export async function loadWaiting(store: Store, now: Date): Promise<Waiting> {
  const rows = await store.run<WaitingRow>(waitingStatement, [now]);
  const key = (agent: string, capability: string) => `${agent} ${capability}`;
  const alike = Map.groupBy(rows, (row) => key(row.agent, row.capability));
  return {
    ids: rows.map((row) => row.id),
    unlisted: (agent, capability) => {
      const listed = alike.get(key(agent, capability)) ?? [];
      return (listed[0]?.alike ?? 0) - listed.length;
    },
  };
}
