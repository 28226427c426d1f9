/** What the console reads. Reads only. */

import type { VouchedPerson } from '../core/identifier.ts';
import type { ApprovalTerm, Json, JsonObject } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import type { TimelineEvent } from './timeline.ts';

export interface SessionView {
  id: string;
  agent: string;
  manifest_version: number;
  parent_id: string | null;
  task_type: string;
  inputs: { [name: string]: Json };
  on_behalf_of: VouchedPerson | null;
  declared_on_behalf_of: string | null;
  started_by: VouchedPerson | null;
  responsible: string | null;
  status: string;
  end_reason: string | null;
  opened_at: Date;
  expires_at: Date;
  ended_at: Date | null;
  /** Credentials not yet proven dead. */
  live_leases: number;
}

const columns = `
  s.id, s.agent, s.manifest_version, s.parent_id, s.task_type, s.inputs, s.on_behalf_of, s.declared_on_behalf_of, s.started_by, s.responsible,
  s.status, s.end_reason, s.opened_at, s.expires_at, s.ended_at,
  (SELECT count(*)::int FROM lease l WHERE l.session_id = s.id AND l.status IN ('issuing', 'active', 'revoking')) AS live_leases`;

/** A session in a list, and how many live sessions its agent has. */
export interface ListedSession extends SessionView {
  of_agent: number;
}

/**
 * Which sessions a person may see is known only after this read, so no agent may fill it: reads the youngest
 * twenty of each.
 */
const liveStatement: Statement = {
  name: 'console_live',
  text: `
    WITH ranked AS (
      SELECT id, row_number() OVER (PARTITION BY agent ORDER BY opened_at DESC, id DESC) AS place, (count(*) OVER (PARTITION BY agent))::int AS of_agent
      FROM session WHERE ended_at IS NULL
    ), listed AS (SELECT id, of_agent FROM ranked WHERE place <= 20 ORDER BY place, id LIMIT 200)
    SELECT ${columns}, listed.of_agent FROM session s JOIN listed ON listed.id = s.id ORDER BY s.opened_at DESC, s.id DESC`,
};

// The number of ended sessions grows without limit: reads the youngest ten of each agent, by the index on
// agent and time.
const endedStatement: Statement = {
  name: 'console_ended',
  text: `
    WITH ranked AS (
      SELECT young.id, row_number() OVER (PARTITION BY agent.name ORDER BY young.opened_at DESC, young.id DESC) AS place
      FROM agent CROSS JOIN LATERAL (
        SELECT id, opened_at FROM session WHERE session.agent = agent.name AND session.status = 'ended' ORDER BY opened_at DESC, id DESC LIMIT 10
      ) young
    ), listed AS (SELECT id FROM ranked ORDER BY place, id LIMIT 200)
    SELECT ${columns} FROM session s JOIN listed ON listed.id = s.id ORDER BY s.opened_at DESC, s.id DESC`,
};

const sessionStatement: Statement = {
  name: 'console_session',
  text: `SELECT ${columns} FROM session s WHERE s.id = $1`,
};

/**
 * Sessions that live now and sessions that have ended, whoever they are for: the youngest of every agent, at
 * most 200 each, youngest first.
 */
export async function loadSessions(store: Store): Promise<{ live: ListedSession[]; ended: SessionView[] }> {
  const [live, ended] = await Promise.all([
    store.run<ListedSession>(liveStatement, []),
    store.run<SessionView>(endedStatement, []),
  ]);
  return { live, ended };
}

export async function loadSession(store: Store, id: string): Promise<SessionView | null> {
  const [session] = await store.run<SessionView>(sessionStatement, [id]);
  return session ?? null;
}

/** A grant of the session, as far as the page names it. */
export interface GrantSummary {
  id: string;
  agent: string;
  capability: string;
  manifest_version: number;
  task_type: string;
  status: string;
}

/** One grant for each that may have other approvers: who may see the session does not depend on the rest. */
const askedStatement: Statement = {
  name: 'console_asked',
  text: `
    SELECT DISTINCT ON (g.capability, g.manifest_version, g.decision -> 'approval') g.id, g.agent, g.capability, g.manifest_version, s.task_type, g.status,
      g.decision -> 'approval' AS approval
    FROM grants g JOIN session s ON s.id = g.session_id
    WHERE g.session_id = $1 ORDER BY g.capability, g.manifest_version, g.decision -> 'approval', g.id`,
};

export interface AskedGrant extends GrantSummary {
  /** Whose approvals it needs; null = the owners’. */
  approval: ApprovalTerm[] | null;
}

export async function loadAsked(store: Store, sessionId: string): Promise<AskedGrant[]> {
  return store.run<AskedGrant>(askedStatement, [sessionId]);
}

/** As many as there are events on the page. */
const grantsStatement: Statement = {
  name: 'console_grants',
  text: `
    SELECT g.id, g.agent, g.capability, g.manifest_version, s.task_type, g.status FROM grants g JOIN session s ON s.id = g.session_id
    WHERE g.session_id = $1 ORDER BY g.requested_at DESC, g.id DESC LIMIT 500`,
};

/** The session's latest 500 grants. */
export async function loadGrants(store: Store, sessionId: string): Promise<GrantSummary[]> {
  return store.run<GrantSummary>(grantsStatement, [sessionId]);
}

export interface LeaseView {
  id: string;
  grant_id: string;
  capability: string;
  provider: string;
  status: string;
  expires_at: Date;
  provider_expires_at: Date;
  ended_at: Date | null;
  attempts: number;
  evidence: JsonObject | null;
  /** Code of the last failure at the provider, and the provider's own words. */
  last_error: string | null;
  provider_text: string | null;
}

/** Leases on a page. */
export const mostLeases = 200;

const leasesStatement: Statement = {
  name: 'console_leases',
  text: `
    SELECT l.id, l.grant_id, g.capability, l.provider, l.status, l.expires_at, l.provider_expires_at, l.ended_at, l.attempts, l.evidence, l.last_error, l.provider_text
    FROM (SELECT * FROM lease WHERE session_id = $1
          ORDER BY status NOT IN ('issuing', 'active', 'revoking'), intent_at DESC, id DESC LIMIT ${mostLeases + 1}) l
    JOIN grants g ON g.id = l.grant_id ORDER BY l.intent_at, l.id`,
};

/** Those that may be alive and the latest of the others; one more than a page shows when there are more. */
export async function loadLeases(store: Store, sessionId: string): Promise<LeaseView[]> {
  return store.run<LeaseView>(leasesStatement, [sessionId]);
}

const eventsStatement: Statement = {
  name: 'console_events',
  text: `
    SELECT seq, at, type, actor, grant_id, lease_id, payload FROM audit_event WHERE chain = $1 ORDER BY seq DESC LIMIT 500`,
};

/** The session's latest 500 events, oldest first. */
export async function loadEvents(store: Store, sessionId: string): Promise<TimelineEvent[]> {
  return (await store.run<TimelineEvent>(eventsStatement, [sessionId])).reverse();
}
