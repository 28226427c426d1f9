/**
 * Where a person stands to a request: whether they may see it, and what bars them from approving it. Reads
 * only; `review.ts` and the pages ask the same question here.
 */
import { event } from '../broker/audit/events.ts';
import { WritError } from '../broker/core/errors.ts';
import {
  type Identifier,
  type NamedPerson,
  readUser,
  userText,
  type VouchedPerson,
} from '../broker/core/identifier.ts';
import type { ProvenRows } from '../broker/core/proven-rows.ts';
import { decidedAsSql } from '../broker/core/questions.ts';
import type { ReviewBlockerCode } from '../broker/core/reasons.ts';
import type { ApprovalTerm, Clock, GrantStatus, JsonObject, Plan, SessionStatus } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { grantHolds, provenGrantColumns } from '../broker/grants/proven-grant.ts';
import { approvalCounts, needsPasskey } from '../broker/grants/proven-review.ts';
import { approvalProgress, type TermProgress } from '../broker/grants/quorum.ts';
import {
  type Identity,
  isAnotherPerson,
  isApprover,
  isProvenName,
  isSamePerson,
  type Likeness,
  likeness,
  likenessToOwner,
} from '../broker/people/identity.ts';
import { asOnCall, type OnCall } from '../broker/people/on-call.ts';
import { provenColumns, sessionHolds } from '../broker/sessions/proven-session.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import type { ApproversOf, GrantAbout } from './contract.ts';
import { fitsInMessage } from './message-size.ts';

export type { TermProgress } from '../broker/grants/quorum.ts';

/** The people of a session: those who are vouched for, and whom the agent names. */
export interface SessionPeople {
  on_behalf_of: VouchedPerson | null;
  declared_on_behalf_of: string | null;
  started_by: VouchedPerson | null;
  responsible: string | null;
  subject: { issuer?: unknown; subject?: unknown } | null;
}

/** An approval that is on record. */
export interface EarlierApproval {
  reviewer: Identity;
  consented_digest: string;
  at: Date;
}

/** A grant with what the rules of a review look at. */
export interface GrantUnderReview {
  id: string;
  session_id: string;
  agent: string;
  capability: string;
  manifest_version: number;
  /** Version of the agent's manifest in force now. */
  version_in_force: number;
  provider: string;
  plan: Plan;
  plan_digest: string;
  tier: number;
  status: GrantStatus;
  decide_by: Date | null;
  approval_count: number;
  /** The parameters as they were asked for, and what reviews left out of them (JSON Pointers). */
  params: JsonObject;
  left_out: string[];
  /** What reviews lowered: pointer → to what. */
  lowered: { [pointer: string]: string };
  /** The plan as it was asked for; null where nothing was left out. */
  asked_plan: Plan | null;
  /** Whose approvals it needs; null where its manifest says nothing of it. */
  approval: ApprovalTerm[] | null;
  /** Whoever wrote or agreed to a version of the manifest in the month before it was asked, or since. */
  editors: Editor[];
  /** The manifest in force says the same of owners and approvals as the one it was asked under. */
  terms_stand: boolean;
  session_status: SessionStatus;
  session_expires_at: Date;
  task_type: string;
  /** The session and its ancestors: a sub-agent's session is its parent's people's session too. */
  line: SessionPeople[];
  approvals: EarlierApproval[];
  /** The batch that decides it; null = it is decided alone. */
  batch_id: string | null;
  /** Of a batch: what has become of its members. */
  members: { id: string; status: GrantStatus }[];
}

interface Editor {
  /** As the record names them: `user:…`, or what is no person. */
  name: string;
  /** Of a proposal, whoever made it; null = nobody but the name. */
  identity: Identity | null;
  /** ISO 8601. */
  at: string;
}

type LoadedReview = ProvenRows['review'] & { proof: string };
type LoadedGrant = Omit<GrantUnderReview, 'plan' | 'asked_plan' | 'line' | 'approvals'> &
  ProvenRows['grants'] & {
    proof: string;
    line: (ProvenRows['session'] & { proof: string })[];
    approvals: LoadedReview[];
  };

const capability = decidedAsSql('g.capability');

/** What a manifest version says of who approves, as JSON: owners, and how many of whom. */
export const approversIn = (manifest: string) => `
        (${manifest}.compiled #>> '{manifest,owner}',
         coalesce(${manifest}.compiled #>> ARRAY['manifest', 'capabilities', ${capability}, 'owner'], ${manifest}.compiled #>> '{manifest,owner}'),
         ${manifest}.compiled #>> '{manifest,approval}', ${manifest}.compiled #>> ARRAY['manifest', 'capabilities', ${capability}, 'approval'])`;

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
    SELECT ${provenGrantColumns('g')}, coalesce(a.version, g.manifest_version) AS version_in_force, g.plan_digest, g.status, g.decide_by, g.approval_count,
      coalesce(g.decision -> 'left_out', '[]') AS left_out, coalesce(g.decision -> 'lowered', '{}') AS lowered,
      -- What a manifest says is read out of a long text: only where there is another one.
      (a.version = g.manifest_version OR NOT EXISTS (
        SELECT 1 FROM manifest asked, manifest current
        WHERE asked.agent = g.agent AND asked.version = g.manifest_version AND current.agent = g.agent AND current.version = a.version
          AND ${approversIn('asked')} IS DISTINCT FROM ${approversIn('current')})) AS terms_stand,
      (SELECT coalesce(jsonb_agg(e), '[]') FROM (
        SELECT author AS name, NULL::jsonb AS identity, published_at AS at FROM manifest m
        WHERE m.agent = g.agent AND m.published_at > g.requested_at - interval '31 days'
        UNION ALL
        SELECT p.author, p.proposer -> 'identity', p.decided_at FROM manifest_proposal p
        WHERE p.agent = g.agent AND p.status = 'published' AND p.decided_at > g.requested_at - interval '31 days'
        UNION ALL
        SELECT p.decided_by, NULL::jsonb, p.decided_at FROM manifest_proposal p
        WHERE p.agent = g.agent AND p.status = 'published' AND p.decided_at > g.requested_at - interval '31 days'
        UNION ALL
        -- Whoever writes the rows can leave somebody out of them; history cannot.
        SELECT e.actor, NULL::jsonb, e.at FROM audit_event e
        WHERE e.chain = 'agent:' || g.agent AND e.type IN (${event('manifest.published')}, ${event('manifest.agreed')}) AND e.at > g.requested_at - interval '31 days') e) AS editors,
      s.status AS session_status, s.expires_at AS session_expires_at, s.task_type, g.batch_id,
      (SELECT coalesce(jsonb_agg(jsonb_build_object('id', m.id, 'status', m.status)), '[]') FROM grants m WHERE m.batch_id = g.id) AS members,
      (SELECT jsonb_agg(to_jsonb(line)) FROM line WHERE line.grant_id = g.id) AS line,
      (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.at, r.id), '[]') FROM review r WHERE r.grant_id = g.id AND r.verdict = 'approve') AS approvals
    FROM grants g JOIN session s ON s.id = g.session_id LEFT JOIN agent a ON a.name = g.agent WHERE g.id = ANY($1::text[])`,
};

/**
 * Those of the grants that exist, in no particular order. One that waits and does not hold does not exist.
 */
export async function loadAllForReview(store: Store, grantIds: string[]): Promise<GrantUnderReview[]> {
  // What cannot be an id (NUL, say, which PostgreSQL text does not take) is unknown, not a failure.
  const grants = await store.run<LoadedGrant>(loadStatement, [grantIds.filter((id) => /^\w{1,64}$/.test(id))]);
  return grants
    .filter((grant) => !isOpen(grant) || holds(store, grant))
    .map((grant) => ({
      ...grant,
      approvals: grant.approvals.map(dated).filter((review) => approvalCounts(store, needsPasskey(grant), review)),
    })) as unknown as GrantUnderReview[];
}

const isOpen = ({ status }: LoadedGrant) => status === 'pending' || status === 'approved';

/** JSON has its times as text. */
const dated = (review: LoadedReview): LoadedReview => ({
  ...review,
  at: new Date(review.at),
  redeem_by: review.redeem_by === null ? null : new Date(review.redeem_by),
});

/** The request is as the agent made it, and the sessions above it as they were opened. */
function holds(store: Store, grant: LoadedGrant): boolean {
  const line = grant.line.map((session) => ({
    ...session,
    opened_at: new Date(session.opened_at),
    expires_at: new Date(session.expires_at),
  }));
  return grantHolds(store, grant) && isConsented(store, grant) && line.every((session) => sessionHolds(store, session));
}

/** A narrower plan than was asked for is one that somebody consented to. */
function isConsented(store: Store, grant: LoadedGrant): boolean {
  const { asked_plan, plan, approvals } = grant;
  if (asked_plan == null) return true;
  const digest = planDigest(plan as unknown as Plan);
  return approvals
    .map(dated)
    .some((review) => review.consented_digest === digest && approvalCounts(store, needsPasskey(grant), review));
}

/** @throws WritError `not_found` */
export async function loadForReview(store: Store, grantId: string): Promise<GrantUnderReview> {
  const [grant] = await loadAllForReview(store, [grantId]);
  if (grant === undefined) throw new WritError('not_found');
  return grant;
}

/** What keeps a person from approving a grant, and the sentence that tells them. */
export interface Bar {
  code: ReviewBlockerCode;
  text: string;
}

/** Where a person stands to a grant. Whoever may see it may deny it. */
export interface Standing {
  maySee: boolean;
  /** Null = the person may approve. */
  bar: Bar | null;
  /** The bar hangs on a name that nobody but the agent gives. */
  byDeclaration: boolean;
  /** As whom their approval counts: with the rotas on which they are on call now. */
  person: Identity;
}

/** Somebody who must not approve, and on whose word. */
interface Party {
  name: NamedPerson;
  role: string;
  vouched: boolean;
}

/** What a standing hangs on besides the grant. */
export interface StandingDeps {
  approversOf: ApproversOf;
  clock: Clock;
  /** Who is on call; absent = nobody ever is. */
  onCall?: OnCall;
  /** For so long whoever edited the agent's manifest approves nothing of it; 0 = no time. Default a day. */
  editorCoolingSeconds?: number;
}

/**
 * Self-approval is looked at first and for everybody: nobody approves what is done for them or was started by
 * them, whatever else they are. A name that only the agent gives bars too, but opens nothing; and whoever is
 * barred may still see and deny what they could see without it.
 */
export async function standingOf(signedIn: Identity, grant: GrantUnderReview, deps: StandingDeps): Promise<Standing> {
  const person = await asOnCall(deps.onCall, signedIn, grant.approval?.flatMap(({ from }) => from) ?? []);
  const owner = isApprover(person, await deps.approversOf(refOf(grant, grant.manifest_version)));
  const asked = grant.approval === null ? owner : grant.approval.some(({ from }) => isApprover(person, from));
  const parties = grant.line.flatMap(partiesOf);
  const vouched = parties.filter((party) => party.vouched);
  const responsible = grant.line.flatMap((session) => (session.responsible === null ? [] : [session.responsible]));
  const itself = grant.line.some((session) => isSubject(person, session));
  const involved =
    itself || vouched.some(({ name }) => isProvenName(person, name as Identifier)) || isApprover(person, responsible);
  return {
    maySee: owner || asked || involved,
    person,
    ...barOf(person, grant, parties, responsible, asked, editorsOf(grant, deps)),
  };
}

/** The token that opened the session was this person's own. */
function isSubject(person: Identity, { subject }: SessionPeople): boolean {
  return subject?.issuer === person.issuer && subject?.subject === person.subject;
}

/** The token was of an account that may be this person's. */
function wasSubject(person: Identity, { subject }: SessionPeople): boolean {
  return (person.former ?? []).some(
    ({ kind, value, issuer }) => kind === 'subject' && issuer === subject?.issuer && value === subject?.subject,
  );
}

/**
 * Whether it may be approved in a channel besides the web: where its manifest says so, neither a passkey nor
 * a challenge is asked for, and the channel's message shows the permission whole.
 * @param summary the permission in the provider's words, one fact a line
 */
export function mayApproveIn(channel: string, about: GrantAbout, tier: number, summary: readonly string[]): boolean {
  return tier < 3 && about.challenged !== true && (about.approvedIn ?? []).includes(channel) && fitsInMessage(summary);
}

/** Whatever was shown to them, it is not what would be given. */
export const otherPlan: Bar = {
  code: 'other_plan',
  text: 'The permission on your screen is not the one that stands. Read it again.',
};

/** What is said of an approval that a passkey must sign and none did. */
export const passkeyBar = (text = 'Your passkey must sign for this, and that is done on its page alone.'): Bar => ({
  code: 'no_passkey',
  text,
});

function barOf(
  person: Identity,
  grant: GrantUnderReview,
  parties: Party[],
  responsible: string[],
  approver: boolean,
  editors: Editor[],
): { bar: Bar | null; byDeclaration: boolean } {
  // Of what the agent wrote nobody knows the kind for sure: some subjects and user names look like an e-mail.
  const is = ({ name, vouched }: Party): Likeness =>
    !vouched && likeness(person, { kind: null, value: name.value }) === 'same' ? 'same' : likeness(person, name);
  const bar = (code: ReviewBlockerCode, text: string, byDeclaration = false) => ({
    bar: { code, text },
    byDeclaration,
  });
  const self = 'somebody else must approve. You may deny it.';
  const started = grant.line.some((session) => isSubject(person, session) || wasSubject(person, session));
  if (started || parties.some((party) => party.vouched && is(party) === 'same'))
    return bar('party', `The session acts for you or was started by you; ${self}`);
  if (responsible.some((owner) => likenessToOwner(person, owner) === 'same'))
    return bar('party', `You answer for the runs of this agent, which counts as having started this one; ${self}`);
  if (parties.some((party) => is(party) === 'same'))
    return bar('party', `The agent says that the session acts for you; ${self}`, true);
  if (!approver) return bar('not_an_approver', notAsked(grant));
  const unknown = parties.find((party) => is(party) === 'unknown');
  if (unknown !== undefined) return bar('not_comparable', incomparable(unknown), !unknown.vouched);
  const unknownOwner = responsible.find((owner) => likenessToOwner(person, owner) === 'unknown');
  if (unknownOwner !== undefined) return bar('not_comparable', incomparableOwner(unknownOwner));
  const edited = editors.map((editor) => likenessToEditor(person, editor));
  if (edited.includes('same'))
    return bar('edited_manifest', `You changed what this agent may do a short while ago; ${self}`);
  if (edited.includes('unknown')) return bar('not_comparable', incomparableEditor);
  const unseen = person.subjectUnknownAt;
  if (unseen !== undefined && grant.line.some(({ subject }) => subject?.issuer === unseen))
    return bar('not_comparable', `${signInOnce} You may deny it.`);
  const doubtful = standingApprovals(grant, grant.plan_digest).find(
    ({ reviewer }) => !isSamePerson(person, reviewer) && !isAnotherPerson(person, reviewer),
  );
  if (grant.status === 'pending' && doubtful !== undefined)
    return bar(
      'not_comparable',
      `${userText({ kind: 'subject', value: doubtful.reviewer.subject })} approved it, signed in elsewhere than you: nobody can tell that you are somebody else. Open the page and sign in there. You may deny it.`,
    );
  if (
    grant.status === 'pending' &&
    standingApprovals(grant, grant.plan_digest).some(({ reviewer }) => isSamePerson(person, reviewer))
  )
    return bar('approved_already', 'You approved this; one more person must. You may still deny it.');
  return { bar: null, byDeclaration: false };
}

function editorsOf({ editors }: GrantUnderReview, { clock, editorCoolingSeconds = 86_400 }: StandingDeps): Editor[] {
  const since = clock.now().getTime() - editorCoolingSeconds * 1000;
  return editorCoolingSeconds === 0 ? [] : editors.filter(({ at }) => new Date(at).getTime() > since);
}

/** Of a folder, a pipeline or the bootstrap token nobody knows who they are: those bar nobody. */
function likenessToEditor(person: Identity, { name, identity }: Editor): Likeness {
  if (identity !== null && isSamePerson(person, identity)) return 'same';
  if (!name.startsWith('user:')) return 'other';
  // What `personRef` writes: a verified e-mail, or else a subject, which may look like one.
  const value = name.slice('user:'.length);
  if (likeness(person, { kind: null, value }) === 'same') return 'same';
  return value.includes('@') ? likeness(person, { kind: 'email', value }) : 'other';
}

const incomparableEditor =
  'Somebody changed what this agent may do a short while ago, and your sign-in gives no verified e-mail address of you: nobody can tell that you are somebody else. You may deny it. For an admin: the identity provider must release a verified e-mail (WRIT_OIDC_SCOPE with email, WRIT_OIDC_EMAIL_VERIFIED_CLAIM).';

const notAsked = ({ approval }: GrantUnderReview): string =>
  approval === null
    ? 'Only the owner of the agent or of the capability decides on this.'
    : `Only ${[...new Set(approval.flatMap(({ from }) => from))].join(', ')} may approve this. Its owners may deny it.`;

function partiesOf(session: SessionPeople): Party[] {
  const declared = session.declared_on_behalf_of === null ? null : readUser(session.declared_on_behalf_of);
  return [
    ...(session.started_by === null ? [] : [{ name: session.started_by, role: 'was started by', vouched: true }]),
    ...(session.on_behalf_of === null ? [] : [{ name: session.on_behalf_of, role: 'acts for', vouched: true }]),
    ...(session.declared_on_behalf_of === null
      ? []
      : [
          {
            // Rows of before may hold what is no name today: it can be compared with nothing, and bars.
            name: declared ?? { kind: 'unknown', value: session.declared_on_behalf_of },
            role: 'acts, as the agent says, for',
            vouched: false,
          },
        ]),
  ];
}

const signInOnce =
  'The session was started by an account of your identity provider, and nobody can tell that it is not yours: sign in on the web once.';

/** What an admin must configure, so that people can be told from the party. */
function incomparable({ name, role }: Party): string {
  const told = `The session ${role} ${userText(name)}, and your sign-in gives no ${
    name.kind === 'email' ? 'verified e-mail address' : `name of the kind ${name.kind}`
  } of you: nobody can tell that you are somebody else. You may deny it.`;
  if (name.kind === 'email')
    return `${told} For an admin: the identity provider must release a verified e-mail (WRIT_OIDC_SCOPE with email, WRIT_OIDC_EMAIL_VERIFIED_CLAIM).`;
  if (name.kind === 'subject')
    return `${told} For an admin: the session’s subject is of ${name.issuer ?? 'another issuer'}; people must sign in there, or started_by_claim must name another claim.`;
  return `${told} For an admin: the identity provider must release a claim with it, named in WRIT_OIDC_ALIAS_CLAIMS (${name.kind}=<claim>).`;
}

function incomparableOwner(owner: string): string {
  return `${owner} counts as having started this session, and your sign-in does not say whether you are ${
    owner.startsWith('team:') ? 'in that team' : 'that person'
  }: nobody can tell that you are somebody else. You may deny it. For an admin: ${
    owner.startsWith('team:')
      ? 'the identity provider must release the groups (WRIT_OIDC_GROUPS_CLAIM).'
      : 'the identity provider must release a name of that kind (WRIT_OIDC_ALIAS_CLAIMS, or a verified e-mail).'
  }`;
}

/** The approvals that count for a plan: those that consented to this very digest, one of each person. */
export function standingApprovals(grant: Pick<GrantUnderReview, 'approvals'>, digest: string): EarlierApproval[] {
  return grant.approvals
    .filter((approval) => approval.consented_digest === digest)
    .filter(
      // Accounts of two places cannot be told apart, so they count once.
      (approval, index, all) =>
        index === 0 || all.slice(0, index).every((one) => isAnotherPerson(one.reviewer, approval.reviewer)),
    );
}

/** How far the plan of this digest is approved. @param more an approval that is about to be given */
export function progressOf(
  grant: Pick<GrantUnderReview, 'approvals' | 'approval' | 'line'>,
  digest: string,
  more?: EarlierApproval,
): TermProgress<EarlierApproval>[] {
  const given = [...standingApprovals(grant, digest), ...(more === undefined ? [] : [more])];
  return approvalProgress(grant.approval, grant.line, given);
}

/**
 * Whether the manifest in force still names those as owners under whom the grant was asked, and asks as many
 * of the same groups. A request is decided by the people it was put to; once they have changed it lapses, and
 * the agent asks again.
 */
export async function ownersStand(grant: GrantUnderReview, approversOf: ApproversOf): Promise<boolean> {
  if (grant.manifest_version === grant.version_in_force) return true;
  if (!grant.terms_stand) return false;
  const [asked, inForce] = await Promise.all([
    approversOf(refOf(grant, grant.manifest_version)),
    approversOf(refOf(grant, grant.version_in_force)),
  ]);
  return [...asked].sort().join('\n') === [...inForce].sort().join('\n');
}

const refOf = (grant: GrantUnderReview, manifestVersion: number) => ({
  id: grant.id,
  agent: grant.agent,
  capability: grant.capability,
  manifestVersion,
  taskType: grant.task_type,
});
