/**
 * What people are told that nobody is asked about: a decoy was touched, a credential leaked, a rule ended a
 * session. Rows of `approval_outbox` without a grant, written in the statement that ends the session or
 * revokes the lease; `outbox.ts` delivers them as it does notices.
 */
import type { Statement, Store } from '../broker/store/open.ts';
import type { Incident } from './contract.ts';
import { type Claim, line } from './notices.ts';

/** What happened, in names: never a value of an argument, nor a credential. */
export type Happening =
  | { what: 'canary_touched'; canaries: readonly string[]; by: string }
  | { what: 'credential_leaked'; leases: readonly string[]; by: string; seen_in: 'arguments' | 'output' }
  | { what: 'pre_approval_used'; pre_approval: string; capability: string; grant: string }
  | { what: 'ended_by_rule'; rules: readonly { id: string; message: string }[]; by: string };

/** As the row keeps it. */
export interface IncidentRecord {
  agent: string;
  /** `team:…` or `user:…` that answers for the agent. */
  owner: string;
  happening: Happening;
}

/** What is to be told, and through which channels: with an id for each, and `null` without any of them. */
export interface Telling {
  ids: string[];
  channels: string[];
  incident: IncidentRecord;
}

/**
 * The part of a statement that writes the notices of an incident.
 * @param from relation with `session_id`, `at` and `tells` (JSON of a `Telling`, or null); no row = nothing
 *   happened
 */
export const insertIncident = (from: string): string => `
      INSERT INTO approval_outbox (id, session_id, incident, channel, kind, created_at, due_at)
      SELECT n.id, t.session_id, t.tells -> 'incident', n.channel, 'incident', t.at, t.at
      FROM ${from} AS t CROSS JOIN LATERAL ROWS FROM (
        jsonb_array_elements_text(t.tells -> 'ids'), jsonb_array_elements_text(t.tells -> 'channels')) AS n (id, channel)`;

interface ClaimedIncident extends Claim {
  session_id: string;
  incident: IncidentRecord;
  created_at: Date;
}

/** Who did not hear of it by then reads it on record. */
const toldFor = "interval '1 day'";

const claimStatement: Statement = {
  name: 'outbox_claim_incidents',
  text: `
    WITH due AS (
      SELECT id FROM approval_outbox WHERE channel = $1::text AND due_at <= $2::timestamptz AND kind = 'incident'
      ORDER BY due_at, id LIMIT $3::int FOR UPDATE SKIP LOCKED
    ), claimed AS (
      UPDATE approval_outbox o
      SET attempts = o.attempts + CASE WHEN o.created_at > $2::timestamptz - ${toldFor} THEN 1 ELSE 0 END,
          due_at = CASE WHEN o.created_at > $2::timestamptz - ${toldFor} THEN $4::timestamptz END
      FROM due WHERE o.id = due.id
      RETURNING o.id, o.session_id, o.incident, o.created_at, o.attempts, o.due_at
    )
    SELECT id, session_id, incident, created_at, attempts, due_at IS NOT NULL AS waits FROM claimed ORDER BY id`,
};

/** As `claimNotices`. */
export async function claimIncidents(
  store: Store,
  channel: string,
  now: Date,
  until: Date,
  limit: number,
): Promise<{ found: number; incidents: ClaimedIncident[] }> {
  const rows = await store.run<ClaimedIncident & { waits: boolean }>(claimStatement, [channel, now, limit, until]);
  return { found: rows.length, incidents: rows.filter(({ waits }) => waits) };
}

/** Names in it may be the agent's, who calls tools as it likes: a line each, and nothing invisible. */
export function incidentOf({ publicUrl }: { publicUrl: string }, row: ClaimedIncident): Incident {
  const { agent, owner, happening } = row.incident;
  return {
    id: row.id,
    kind: 'incident',
    attempt: row.attempts,
    sessionId: row.session_id,
    url:
      happening.what === 'pre_approval_used'
        ? `${publicUrl}/pre-approvals/${happening.pre_approval}`
        : `${publicUrl}/sessions/${row.session_id}`,
    agent: line(agent),
    what: line(inWords(happening)),
    consequence: consequences[happening.what],
    recipients: [owner],
    at: row.created_at,
  };
}

const consequences: { [what in Happening['what']]: string } = {
  canary_touched: 'Its session has ended, and everything it held is revoked.',
  credential_leaked: 'The credential is being revoked.',
  ended_by_rule: 'Its session has ended, and everything it held is revoked.',
  pre_approval_used: 'It was approved in your name. You, or an admin, can withdraw what you gave.',
};

function inWords(happening: Happening): string {
  switch (happening.what) {
    case 'canary_touched':
      return `It touched a decoy (${happening.canaries.join(', ')}) by ${happening.by}.`;
    case 'credential_leaked':
      return `A credential that Writ issued (${happening.leases.join(', ')}) stood in the ${happening.seen_in} of ${happening.by}.`;
    case 'pre_approval_used':
      return `It asked for ${happening.capability}, and what you approved ahead of time (${happening.pre_approval}) was used for it (${happening.grant}).`;
    case 'ended_by_rule':
      return `A rule ended its session when it asked for ${happening.by}: ${happening.rules.map(({ id, message }) => `${message} (${id})`).join(' ')}`;
  }
}
