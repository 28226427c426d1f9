/**
 * Where a person stands to a request: what bars them from deciding on it. Reads only; `review.ts` and the
 * pages ask the same question here.
 */
import { WritError } from '../broker/core/errors.ts';
import type { ProvenRows } from '../broker/core/proven-rows.ts';
import type { ReviewBlockerCode } from '../broker/core/reasons.ts';
import type { GrantStatus, Plan, SessionStatus } from '../broker/core/vocabulary.ts';
import { grantHolds, provenGrantColumns } from '../broker/grants/proven-grant.ts';
import { type Identity, isApprover, isParty } from '../broker/people/identity.ts';
import { provenColumns, sessionHolds } from '../broker/sessions/proven-session.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import type { ApproversOf } from './contract.ts';

/** What stands between a person and a review of a grant; null = nothing. */
export type ReviewBlocker = ReviewBlockerCode | null;

/** A grant with what the rules of a review look at. */
export interface GrantUnderReview {
  id: string;
  session_id: string;
  agent: string;
  capability: string;
  manifest_version: number;
  provider: string;
  plan: Plan;
  plan_digest: string;
  status: GrantStatus;
  decide_by: Date | null;
  session_status: SessionStatus;
  session_expires_at: Date;
  task_type: string;
  /** The session and its ancestors: a sub-agent's session is its parent's people's session too. */
  line: { on_behalf_of: string | null; started_by: string | null; subject: { issuer?: unknown; subject?: unknown } }[];
}

type LoadedGrant = Omit<GrantUnderReview, 'plan' | 'line'> &
  ProvenRows['grants'] & { proof: string; line: (ProvenRows['session'] & { proof: string })[] };

const loadStatement: Statement = {
  name: 'review_load',
  text: `
    WITH RECURSIVE line AS (
      SELECT g.id AS grant_id, ${provenColumns('s')}, s.proof
      FROM grants g JOIN session s ON s.id = g.session_id WHERE g.id = ANY($1::text[])
      UNION
      SELECT line.grant_id, ${provenColumns('p')}, p.proof
      FROM session p JOIN line ON p.id = line.parent_id
    )
    SELECT ${provenGrantColumns('g')}, g.plan_digest, g.status, g.decide_by,
      s.status AS session_status, s.expires_at AS session_expires_at, s.task_type,
      (SELECT jsonb_agg(to_jsonb(line))
       FROM line WHERE line.grant_id = g.id) AS line
    FROM grants g JOIN session s ON s.id = g.session_id WHERE g.id = ANY($1::text[])`,
};

/**
 * Those of the grants that exist, in no particular order. One that waits and does not hold does not exist.
 */
export async function loadAllForReview(store: Store, grantIds: string[]): Promise<GrantUnderReview[]> {
  // What cannot be an id (NUL, say, which PostgreSQL text does not take) is unknown, not a failure.
  const grants = await store.run<LoadedGrant>(loadStatement, [grantIds.filter((id) => /^\w{1,64}$/.test(id))]);
  return grants.filter((grant) => !isOpen(grant) || holds(store, grant)) as unknown as GrantUnderReview[];
}

const isOpen = ({ status }: LoadedGrant) => status === 'pending' || status === 'approved';

/** The request is as the agent made it, and the sessions above it as they were opened. */
function holds(store: Store, grant: LoadedGrant): boolean {
  const line = grant.line.map((session) => ({
    ...session,
    opened_at: new Date(session.opened_at),
    expires_at: new Date(session.expires_at),
  }));
  return grantHolds(store, grant) && line.every((session) => sessionHolds(store, session));
}

/** @throws WritError `not_found` */
export async function loadForReview(store: Store, grantId: string): Promise<GrantUnderReview> {
  const [grant] = await loadAllForReview(store, [grantId]);
  if (grant === undefined) throw new WritError('not_found');
  return grant;
}

/**
 * Self-review is looked at first and for everybody: nobody decides on what is done for them or was started by
 * them, whatever else they are. Channels use the same function to decide what a person may see.
 */
export async function reviewBlocker(
  person: Identity,
  grant: GrantUnderReview,
  approversOf: ApproversOf,
): Promise<ReviewBlocker> {
  const parties = grant.line.flatMap((session) => [session.on_behalf_of, session.started_by].filter((p) => p !== null));
  const started = grant.line.some(
    ({ subject }) => subject?.issuer === person.issuer && subject?.subject === person.subject,
  );
  if (started || isParty(person, parties)) return 'party';
  const approvers = await approversOf({
    id: grant.id,
    agent: grant.agent,
    capability: grant.capability,
    manifestVersion: grant.manifest_version,
    taskType: grant.task_type,
  });
  return isApprover(person, approvers) ? null : 'not_an_approver';
}
