/**
 * What people are told that nobody is asked about: a decoy was touched, a credential leaked, a rule ended a
 * session, somebody breaks the glass. Rows of `approval_outbox` without a grant, written in the statement
 * that ends the session, revokes the lease or opens the glass; `outbox.ts` delivers them as it does notices.
 */
import type { Statement, Store } from '../broker/store/open.ts';
import type { Incident } from './contract.ts';
import type { ClaimedDigest } from './digest.ts';
import { type Claim, line } from './notices.ts';

/** What happened, in names: never a value of an argument, nor a credential. */
export type Happening =
  | { what: 'canary_touched'; canaries: readonly string[]; by: string }
  | { what: 'credential_leaked'; leases: readonly string[]; by: string; seen_in: 'arguments' | 'output' }
  | { what: 'pre_approval_used'; pre_approval: string; capability: string; grant: string }
  | { what: 'ended_by_rule'; rules: readonly { id: string; message: string }[]; by: string }
  | { what: 'owner_gone'; event: string; ends_at: string }
  | BreakGlassHappening;

/** What became of a break-glass, in people's words. */
export interface BreakGlassHappening {
  what: 'break_glass_asked' | 'break_glass_opened' | 'break_glass_ended' | 'break_glass_review_overdue';
  /** The people who did it. */
  by: readonly string[];
  capabilities: readonly string[];
  incident: string;
  reason: string;
  /** ISO 8601: until when another may agree, it is open, or it must be reviewed. */
  until: string | null;
  /** Of one that is over: how it ended, by whom, and what they said. */
  ended?: { how: string; by: string; words: string | null };
}

/** As the row keeps it. */
export interface IncidentRecord {
  agent: string;
  /** `team:…` or `user:…` that answers for the agent. */
  owner: string;
  happening: Happening;
  /** The break-glass it is about, and who is told beside the owner. */
  break_glass?: string;
  alerts?: readonly string[];
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
  kind: 'incident';
  session_id: string | null;
  incident: IncidentRecord;
  created_at: Date;
}

/** Who did not hear of it by then reads it on record. */
const toldFor = "interval '1 day'";

const claimStatement: Statement = {
  name: 'outbox_claim_told',
  text: `
    WITH due AS (
      SELECT id FROM approval_outbox WHERE channel = $1::text AND due_at <= $2::timestamptz AND kind IN ('incident', 'digest')
      ORDER BY due_at, id LIMIT $3::int FOR UPDATE SKIP LOCKED
    ), claimed AS (
      UPDATE approval_outbox o
      SET attempts = o.attempts + CASE WHEN o.created_at > $2::timestamptz - ${toldFor} THEN 1 ELSE 0 END,
          due_at = CASE WHEN o.created_at > $2::timestamptz - ${toldFor} THEN $4::timestamptz END
      FROM due WHERE o.id = due.id
      RETURNING o.id, o.kind, o.session_id, o.incident, o.digest, o.created_at, o.attempts, o.due_at
    )
    SELECT id, kind, session_id, incident, digest, created_at, attempts, due_at IS NOT NULL AS waits FROM claimed ORDER BY id`,
};

/** As `claimNotices`: incidents and digests. */
export async function claimTold(
  store: Store,
  channel: string,
  now: Date,
  until: Date,
  limit: number,
): Promise<{ found: number; told: (ClaimedIncident | (ClaimedDigest & { kind: 'digest' }))[] }> {
  const values = [channel, now, limit, until];
  const rows = await store.run<(ClaimedIncident | (ClaimedDigest & { kind: 'digest' })) & { waits: boolean }>(
    claimStatement,
    values,
  );
  return { found: rows.length, told: rows.filter(({ waits }) => waits) };
}

/** Names in it may be the agent's, who calls tools as it likes: a line each, and nothing invisible. */
export function incidentOf({ publicUrl }: { publicUrl: string }, row: ClaimedIncident): Incident {
  const { agent, owner, happening, break_glass, alerts = [] } = row.incident;
  return {
    id: row.id,
    kind: 'incident',
    attempt: row.attempts,
    sessionId: row.session_id,
    url: `${publicUrl}/${pageOf(row, happening, break_glass)}`,
    agent: line(agent),
    what: line(inWords(happening)),
    consequence: consequences[happening.what],
    recipients: [...new Set([owner, ...alerts])],
    at: row.created_at,
  };
}

function pageOf(
  { session_id, incident: { agent } }: ClaimedIncident,
  happening: Happening,
  breakGlass: string | undefined,
): string {
  if (breakGlass !== undefined) return `break-glass/${breakGlass}`;
  if (happening.what === 'owner_gone') return `agents/${agent}`;
  return happening.what === 'pre_approval_used' ? `pre-approvals/${happening.pre_approval}` : `sessions/${session_id}`;
}

const consequences: { [what in Happening['what']]: string } = {
  canary_touched: 'Its session has ended, and everything it held is revoked.',
  credential_leaked: 'The credential is being revoked.',
  ended_by_rule: 'Its session has ended, and everything it held is revoked.',
  break_glass_asked: 'Nothing is given yet: another person must agree, with a passkey of their own.',
  break_glass_opened:
    'What its rules refuse is given meanwhile. Anybody who sees the page may close it. Afterwards somebody else must review it.',
  break_glass_ended: 'What was given by it is being revoked. Somebody who was neither of the two must review it now.',
  break_glass_review_overdue: 'This comes again every day until somebody who was neither of the two has reviewed it.',
  owner_gone:
    'Then its sessions end and it opens no more. Take it over: publish a manifest that names another owner, or a team.',
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
    case 'owner_gone':
      return `The identity provider signalled that the account of its owner is gone (${happening.event}). If nobody takes it over, its sessions end at ${happening.ends_at}.`;
    case 'ended_by_rule':
      return `A rule ended its session when it asked for ${happening.by}: ${happening.rules.map(({ id, message }) => `${message} (${id})`).join(' ')}`;
    default:
      return breakGlassWords(happening);
  }
}

/** Names are ours and the manifest's; reason and incident are what a person wrote. */
function breakGlassWords({ what, by, capabilities, incident, reason, until, ended }: BreakGlassHappening): string {
  const about = `${capabilities.join(', ')}, for the incident ${incident}: “${reason}”`;
  const people = by.join(' and ');
  switch (what) {
    case 'break_glass_asked':
      return `${people} asks to break the glass, and another may agree until ${until}: ${about}`;
    case 'break_glass_opened':
      return `${people} broke the glass until ${until}: ${about}`;
    case 'break_glass_ended':
      return `The break-glass of ${people} is over${whyOver(ended)}: ${about}`;
    case 'break_glass_review_overdue':
      return `The break-glass of ${people} should have been reviewed by ${until}: ${about}`;
  }
}

function whyOver(ended: BreakGlassHappening['ended']): string {
  switch (ended?.how) {
    case 'expired':
      return ', because its time was';
    case 'closed':
      return `, because ${ended.by} closed it (“${ended.words ?? ''}”)`;
    case 'signed_off':
      return ', because the identity provider signed one of the two off';
    default:
      return '';
  }
}
