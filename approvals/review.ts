/**
 * The only place where a review changes state. Channels call `review`; the reconciler calls
 * `expireUndecided`. Each change is one statement that also writes its review and its audit row, and whose
 * conditions are the very facts the checks above it read.
 */

import { isDeepStrictEqual } from 'node:util';
import { appendEvent, fewRefusals } from '../broker/audit/append.ts';
import { event, eventBy, eventPayload } from '../broker/audit/events.ts';
import { requireClock, type Timed } from '../broker/core/clock-guard.ts';
import { WritError } from '../broker/core/errors.ts';
import { newId } from '../broker/core/ids.ts';
import type { PasskeyEvidence } from '../broker/core/passkey-evidence.ts';
import type { LiftPermission } from '../broker/core/questions.ts';
import { aboutSession, isBatch, isQuestion } from '../broker/core/questions.ts';
import { type DecisionReason, decisionReason } from '../broker/core/reasons.ts';
import type { Clock, JsonObject, Plan } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { evidenceProven, needsPasskey } from '../broker/grants/proven-review.ts';
import { isMet } from '../broker/grants/quorum.ts';
import { decideGrant, decideMembers, lapseGrant, lapsesByItself } from '../broker/grants/transitions.ts';
import { type Identity, identityRecord, personRef } from '../broker/people/identity.ts';
import type { OnCall } from '../broker/people/on-call.ts';
import {
  type AssertionFor,
  type BegunAssertion,
  beginAssertion,
  finishAssertion,
  type SignedAssertion,
} from '../broker/people/passkeys/assertion.ts';
import type { PasskeyDeps } from '../broker/people/passkeys/relying-party.ts';
import { liftSession } from '../broker/sessions/lift-session.ts';
import { mayAct } from '../broker/sessions/live-session.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import { isOpenBatch, memberChanges, takeOut } from './batch.ts';
import { answerBar, type ChallengeAnswer, type ChallengeDeps, isChallenged, waitsUntil } from './challenge.ts';
import { checkConfirmation, isTooFast, makeConfirmation, type Reading, TooFast } from './confirmation.ts';
import type { AboutGrant, ApproversOf, NarrowPlan } from './contract.ts';
import {
  approversIn,
  type Bar,
  type GrantUnderReview,
  loadForReview,
  otherPlan,
  ownersStand,
  passkeyBar,
  progressOf,
  standingOf,
} from './eligibility.ts';
import { insertIncident, type Telling } from './incidents.ts';
import { settleNotices } from './notices.ts';
import { mayBeUsed, usePreApproval } from './pre-approval-transitions.ts';

/** With what passkeys stand on; without, nothing is approved that one must sign. */
export interface ReviewDeps
  extends Timed,
    Partial<Omit<PasskeyDeps, 'store' | 'clock'>>,
    Partial<Omit<ChallengeDeps, 'store' | 'clock' | 'once'>> {
  store: Store;
  clock: Clock;
  approversOf: ApproversOf;
  /** As in `StandingDeps`. */
  onCall?: OnCall;
  /** As in `StandingDeps`. */
  editorCoolingSeconds?: number;
  /** How long an approved grant may wait for its agent before it lapses. Default 300. */
  redemptionSeconds?: number;
  /**
   * Shortest lifetime a provider can give; narrowing below it would approve what cannot be minted. Default 1.
   */
  minTtlSeconds?: (provider: string) => number;
  /** Absent: a review shortens, and leaves nothing out. */
  narrowPlan?: NarrowPlan;
  /** Says whether an approval takes a challenge; absent = none does. */
  aboutGrant?: AboutGrant;
  /** As in `PagesDeps`. */
  warnsHasty?: boolean;
}

export { type Level, type Part, partsOf } from '../broker/grants/narrow-plan.ts';
export { needsPasskey } from '../broker/grants/proven-review.ts';
export { isChallenged, makeChallenge, type ShownChallenge, waitsUntil } from './challenge.ts';
export { leastSecondsFor, type Reading, TooFast } from './confirmation.ts';
export { mayWithdraw, withdraw } from './withdraw.ts';

export interface ReviewRequest {
  grantId: string;
  reviewer: Identity;
  verdict: 'approve' | 'deny';
  /** Digest of the plan that was on the reviewer's screen. */
  planDigest: string;
  /** Narrows the plan's lifetime; absent = as planned. Only with `approve`. */
  ttlSeconds?: number | undefined;
  /** Members of lists of the parameters to leave out, as JSON Pointers (`partsOf`). Only with `approve`. */
  leaveOut?: readonly string[] | undefined;
  /**
   * What to lower: JSON Pointer into the parameters → a step, or a longer text (`levelsOf`). Only with
   * `approve`.
   */
  lower?: { readonly [pointer: string]: string } | undefined;
  /** Of a session that is lifted: what it must do without, `tool:NAME` and `capability:NAME`. */
  withhold?: readonly string[] | undefined;
  /** How long it was on the screen, and how long a person needs to read it; absent = nobody knows. */
  reading?: Reading | undefined;
  /** Required with `deny`. At most 500 characters. */
  reason?: string | undefined;
  /** Name of the channel that carries it. */
  channel: string;
  requestId: string;
  /** What the reviewer's passkey signed, in which login: `beginSigning` begins it. */
  passkey?: { loginId: string; signed: SignedAssertion } | undefined;
  /** Which sentence of the page's challenge the reviewer picked. */
  challenge?: ChallengeAnswer | undefined;
  /** It was given ahead of time: it is used once by this. */
  preApproval?: { id: string; tells: Telling | null };
}

export interface ReviewResult {
  reviewId: string;
  grantId: string;
  /** `pending`: another person must approve too. */
  status: 'approved' | 'denied' | 'pending';
  /** Digest of the plan that was consented to; differs from the one seen when the reviewer narrowed it. */
  planDigest: string;
  ttlSeconds: number;
  /** When an approved grant lapses unless the agent has redeemed it; null when denied. */
  redeemBy: Date | null;
}

export const reasonMax = 500;

/** What a review that was given ahead of time is recorded under. */
export const preApprovalChannel = 'pre_approval';

/**
 * SQL condition: the session may act, or sleeps; or it is frozen, and the question is whether it is lifted.
 */
export const mayBeDecided = (
  g: string,
  s: string,
  at: string,
): string => `(${mayAct(s, at)} OR (${s}.status = 'asleep' AND ${s}.expires_at > ${at}) OR (
        ${g}.capability = '${aboutSession}' AND ${s}.status = 'suspended' AND ${s}.expires_at > ${at}))`;

// `live` holds the session row until the end of the statement: a session that is being ended at this moment
// either ends first, and nothing is approved, or ends after, and takes the approved grant with it.
const decideStatementOf = (ahead: boolean): Statement => ({
  name: ahead ? 'review_decide_ahead' : 'review_decide',
  text: `
    WITH ${
      ahead
        ? `given AS MATERIALIZED (
      SELECT p.id FROM pre_approval p WHERE p.id = $23::text AND ${mayBeUsed('p', '$3::timestamptz')} FOR UPDATE OF p
    ), `
        : ''
    }live AS (
      SELECT s.id FROM grants g JOIN session s ON s.id = g.session_id
      WHERE g.id = $2::text AND ${mayBeDecided('g', 's', '$3::timestamptz')}${ahead ? ' AND EXISTS (SELECT 1 FROM given)' : ''}
      FOR SHARE OF s
    ), decided AS (
${decideGrant('live', {
  grantId: '$2::text',
  status: '$5::text',
  plan: '$6::jsonb',
  seenDigest: '$4::text',
  planDigest: '$7::text',
  at: '$3::timestamptz',
  decideBy: '$8::timestamptz',
  decision: '$9::jsonb',
  seenApprovals: '$17::int',
  versionInForce: '$18::int',
})}
      RETURNING g.id, g.session_id, g.capability, g.plan
    ), members AS (
${decideMembers('decided', '$22::jsonb', '$3::timestamptz', '$8::timestamptz')}
      RETURNING g.id, g.session_id, g.status, m.payload
    ), lifted AS (
${liftSession('decided', { approved: "$5::text = 'approved'", at: '$3::timestamptz' })}
      RETURNING session.id, session.withheld
    ), lifted_event AS (
      ${appendEvent({ chain: 'id', at: '$3::timestamptz', type: event('session.lifted'), actor: '$14::text', request: '$15::text', payload: "json_build_object('review_id', $1::text, 'withheld', withheld)" }, 'lifted')}
    ), reviewed AS (
      INSERT INTO review (id, grant_id, reviewer, verdict, plan_digest, consented_digest, reason, channel, at, redeem_by, proof, evidence)
      SELECT $1::text, id, $10::jsonb, $11::text, $4::text, $7::text, $12::text, $13::text, $3::timestamptz, $20::timestamptz, $19::text, $21::jsonb FROM decided
    ), ${settleNotices("(SELECT id FROM decided WHERE $5::text <> 'pending' UNION ALL SELECT id FROM members)", '$3::timestamptz')}, audited AS (
      ${appendEvent({ chain: 'session_id', at: '$3::timestamptz', type: eventBy('$5::text', { approved: 'grant.approved', denied: 'grant.denied', pending: 'review.approved' }), actor: '$14::text', grant: 'id', request: '$15::text', payload: '$16::json' }, 'decided')}
    ), audited_members AS (
      ${appendEvent({ chain: 'session_id', at: '$3::timestamptz', type: eventBy('status', { approved: 'grant.approved', denied: 'grant.denied' }), actor: '$14::text', grant: 'id', request: '$15::text', payload: 'payload' }, 'members ORDER BY id')}
    )${
      ahead
        ? `, ${usePreApproval('given', 'decided', '$3::timestamptz')}, telling AS (
      SELECT session_id, $3::timestamptz AS at, $24::jsonb AS tells FROM decided
    ), told AS (${insertIncident('telling')}
    )`
        : ''
    }
    SELECT id FROM decided`,
});
const decideStatement = decideStatementOf(false);
const decideAheadStatement = decideStatementOf(true);

/** How often an approval that another one came before is counted anew. */
const maxRaces = 5;

/**
 * Decides on one grant, once. Where two people must approve, the first approval leaves it pending.
 * @throws WritError `not_found`; `forbidden` (who may not approve, or may not even see it; audited);
 *   `conflict` (decided, lapsed, session over, owners changed, or the plan is not the one the reviewer saw);
 *   `bad_request` (no reason, or a lifetime that is not narrower); `unavailable` (to approve, by a wrong
 *   clock)
 */
export async function review(deps: ReviewDeps, request: ReviewRequest): Promise<ReviewResult> {
  if (request.verdict === 'approve') requireClock(deps);
  // What was signed is used up by the first look at it, and stands for whatever is counted anew after that.
  let signed: PasskeyEvidence | null = null;
  const sign = async (grant: GrantUnderReview, digest: string) => {
    signed ??= await signature(deps, grant, request, digest);
    return signed;
  };
  let hasty: Hasty | null = null;
  const confirm = async (grant: GrantUnderReview, plan: Plan, digest: string) => {
    hasty ??= await hastyOf(deps, grant, request, plan, digest, true);
    return hasty;
  };
  let answered = false;
  const answer = async (grant: GrantUnderReview) => {
    answered ||= await hasRead(deps, grant, request);
    return answered;
  };
  for (let race = 0; race < maxRaces; race += 1) {
    const result = await reviewOnce(deps, request, sign, answer, confirm);
    if (result !== null) return result;
  }
  throw new WritError('conflict', { detail: 'Others review it at this moment. Read it again.' });
}

/** @returns null when another approval was written since this one was counted */
async function reviewOnce(
  deps: ReviewDeps,
  request: ReviewRequest,
  sign: (grant: GrantUnderReview, digest: string) => Promise<PasskeyEvidence>,
  answer: (grant: GrantUnderReview) => Promise<boolean>,
  confirm: (grant: GrantUnderReview, plan: Plan, digest: string) => Promise<Hasty | null>,
): Promise<ReviewResult | null> {
  const grant = await loadForReview(deps.store, request.grantId);
  const at = deps.clock.now();
  const approving = request.verdict === 'approve';

  const { maySee, bar, person } = await standingOf(request.reviewer, grant, deps);
  if (bar !== null && (approving || !maySee)) {
    await auditRefusal(deps.store, grant, request, bar, at);
    throw new WritError('forbidden', { detail: bar.text });
  }

  if (grant.status !== 'pending') throw new WritError('conflict', { detail: await whoDecided(deps.store, grant.id) });
  if (grant.batch_id !== null) {
    throw new WritError('conflict', { detail: 'It is decided together with others of its task, on their page.' });
  }
  if (isBatch(grant.capability) && !isOpenBatch(grant)) {
    throw new WritError('conflict', { detail: 'Nothing of it waits any more; there is nothing left to decide.' });
  }
  if (grant.decide_by === null || grant.decide_by <= at) {
    throw new WritError('conflict', { detail: 'The time to decide is over; undecided means denied.' });
  }
  const frozen = grant.capability === aboutSession && grant.session_status === 'suspended';
  const asleep = grant.session_status === 'asleep';
  if ((grant.session_status !== 'active' && !asleep && !frozen) || grant.session_expires_at <= at) {
    throw new WritError('conflict', { detail: 'The session has ended; there is nothing left to decide.' });
  }
  if (!(await ownersStand(grant, deps.approversOf))) {
    // The worker lets it lapse; a review does not wait for that.
    throw new WritError('conflict', {
      detail: 'The manifest in force names other owners; the request lapses, and the agent has to ask again.',
    });
  }
  if (grant.plan_digest !== request.planDigest) {
    await auditRefusal(deps.store, grant, request, otherPlan, at);
    throw new WritError('conflict', { detail: otherPlan.text });
  }

  const reason = checkReason(request);
  const plan = approving ? narrow(deps, grant, request) : grant.plan;
  const consented = plan === grant.plan ? grant.plan_digest : planDigest(plan);
  const hasty = approving ? await confirm(grant, plan, consented) : null;
  // About the plan on the screen, of which what is consented to is a part.
  const challenged = approving && (await isChallenged(deps, grant)) && (await answer(grant));
  const evidence = approving && needsPasskey(grant) ? await sign(grant, consented) : null;
  if (evidence !== null && evidence.challenge.digest !== consented)
    throw new WritError('conflict', { detail: 'What your passkey signed is not what stands now. Read it again.' });
  // An approval of the wider plan is none of the narrower one: whoever gave it is asked again.
  const progress = progressOf(grant, consented, { reviewer: person, consented_digest: consented, at });
  const status = !approving ? 'denied' : isMet(progress) ? 'approved' : 'pending';
  // Of a session that sleeps, for as long as it may: once its agent wakes it, for the usual time.
  const lapses = asleep ? grant.session_expires_at.getTime() : at.getTime() + (deps.redemptionSeconds ?? 300) * 1000;
  const redeemBy =
    status === 'approved' && grant.capability !== aboutSession
      ? new Date(Math.min(lapses, grant.session_expires_at.getTime()))
      : null;
  const reviewId = newId('rev', at);
  const denied = denial('denied_by_approver', reason);
  const leftOut = approving ? leftOutBy(grant, request) : [];
  const lowered = approving ? loweredBy(grant, request) : {};
  const whole = leftOut.length === 0 && Object.keys(lowered).length === 0;
  const decision = !approving
    ? denied
    : request.preApproval !== undefined && status === 'approved'
      ? { reasons: [{ code: 'pre_approved' }] }
      : whole
        ? {}
        : { left_out: leftOut, lowered, asked_plan: grant.asked_plan ?? grant.plan };
  const payload = eventPayload(status === 'denied' ? 'grant.denied' : 'grant.approved', {
    review_id: reviewId,
    capability: grant.capability,
    reviewer: identityRecord(person),
    channel: request.channel,
    reason,
    seen_digest: grant.plan_digest,
    plan_digest: consented,
    ttl_seconds: plan.ttl_seconds,
    planned_ttl_seconds: grant.plan.ttl_seconds,
    ...(leftOut.length === 0 ? {} : { left_out: leftOut }),
    ...(isBatch(grant.capability) && plan !== grant.plan ? { taken_out: [...(request.withhold ?? [])] } : {}),
    ...(Object.keys(lowered).length === 0 ? {} : { lowered }),
    ...(evidence === null ? {} : { passkey: { ...evidence } as unknown as JsonObject }),
    ...(challenged ? { challenge: 'passed' } : {}),
    ...hasty,
  });

  const reviewer = identityRecord(person);
  const audit = { review_id: reviewId, reviewer, channel: request.channel, reason };
  const members = isBatch(grant.capability) ? memberChanges(grant, plan, status, denied, audit) : [];
  const proof = deps.store.proofs.make('review', {
    id: reviewId,
    grant_id: grant.id,
    reviewer,
    verdict: request.verdict,
    plan_digest: grant.plan_digest,
    consented_digest: consented,
    reason,
    channel: request.channel,
    at,
    redeem_by: redeemBy,
    ...evidenceProven(evidence),
  });

  const { preApproval } = request;
  const ahead = preApproval === undefined ? [] : [preApproval.id, JSON.stringify(preApproval.tells)];
  const [decided] = await deps.store.run<{ id: string }>(ahead.length === 0 ? decideStatement : decideAheadStatement, [
    reviewId,
    grant.id,
    at,
    grant.plan_digest,
    status,
    JSON.stringify(plan),
    consented,
    status === 'pending' ? grant.decide_by : redeemBy,
    JSON.stringify(decision),
    JSON.stringify(reviewer),
    request.verdict,
    reason,
    request.channel,
    personRef(request.reviewer),
    request.requestId,
    JSON.stringify(payload),
    approving ? grant.approval_count : null,
    grant.version_in_force,
    proof,
    redeemBy,
    evidence === null ? null : JSON.stringify(evidence),
    JSON.stringify(members),
    ...ahead,
  ]);
  if (decided === undefined) {
    // Between our reading and our writing somebody else reviewed, the session ended or the time ran out.
    const now = await loadForReview(deps.store, request.grantId);
    const counted = now.status === 'pending' && now.approval_count !== grant.approval_count;
    if (approving && counted) return null;
    throw new WritError('conflict', { detail: `Somebody else was faster. ${await whoDecided(deps.store, grant.id)}` });
  }
  return { reviewId, grantId: grant.id, status, planDigest: consented, ttlSeconds: plan.ttl_seconds, redeemBy };
}

const signingFor = (grantId: string, reviewer: Identity, loginId: string, digest: string): AssertionFor => ({
  identity: reviewer,
  loginId,
  purpose: 'review',
  about: grantId,
  digest,
});

/** What passkeys stand on; null where this broker has none. */
function passkeysOf({ store, clock, publicUrl, passkeyKey, once }: ReviewDeps): PasskeyDeps | null {
  if (publicUrl === undefined || passkeyKey === undefined || once === undefined) return null;
  return { store, clock, publicUrl, passkeyKey, once };
}

/**
 * What the reviewer's passkey is to sign: the plan as the request would leave it.
 * @throws WritError as `review`; `conflict` also when the person has no passkey
 */
export async function beginSigning(
  deps: ReviewDeps,
  request: Omit<ReviewRequest, 'passkey' | 'preApproval'>,
  loginId: string,
): Promise<BegunAssertion> {
  const grant = await loadForReview(deps.store, request.grantId);
  const { bar } = await standingOf(request.reviewer, grant, deps);
  if (bar !== null) {
    await auditRefusal(deps.store, grant, request, bar, deps.clock.now());
    throw new WritError('forbidden', { detail: bar.text });
  }
  if (grant.status !== 'pending') throw new WritError('conflict', { detail: await whoDecided(deps.store, grant.id) });
  const passkeys = passkeysOf(deps);
  if (passkeys === null || grant.plan_digest !== request.planDigest)
    throw new WritError('conflict', { detail: 'The permission on your screen is not the one that stands.' });
  const plan = narrow(deps, grant, request);
  const digest = planDigest(plan);
  // Nothing is signed that would not count.
  await hastyOf(deps, grant, request, plan, digest, false);
  return beginAssertion(passkeys, signingFor(grant.id, request.reviewer, loginId, digest));
}

/** @throws WritError `forbidden`, on record: none, or one that does not hold */
async function signature(
  deps: ReviewDeps,
  grant: GrantUnderReview,
  request: ReviewRequest,
  digest: string,
): Promise<PasskeyEvidence> {
  const refuse = async (bar: Bar) => {
    await auditRefusal(deps.store, grant, request, bar, deps.clock.now());
    return new WritError('forbidden', { detail: bar.text, extensions: { refused_because: bar.code } });
  };
  const passkeys = passkeysOf(deps);
  if (request.passkey === undefined || passkeys === null) throw await refuse(passkeyBar());
  const { loginId, signed } = request.passkey;
  try {
    const asked = signingFor(grant.id, request.reviewer, loginId, digest);
    return await finishAssertion(passkeys, asked, signed, request.requestId);
  } catch (error) {
    throw error instanceof WritError && error.code === 'forbidden' ? await refuse(passkeyBar(error.detail)) : error;
  }
}

/**
 * True: of its challenge the right sentence was picked, and it is used up.
 * @throws WritError `forbidden`, on record: another was, or none; `conflict`: too soon after a wrong answer
 */
async function hasRead(deps: ReviewDeps, grant: GrantUnderReview, request: ReviewRequest): Promise<true> {
  const wait = await waitsUntil(deps, grant, request.reviewer);
  if (wait !== null)
    throw new WritError('conflict', {
      detail: `You picked a wrong sentence. You may approve this from ${wait.toISOString()} on, and deny it now.`,
    });
  const bar = await answerBar(deps, { grant, reader: request.reviewer }, request.challenge);
  if (bar === null) return true;
  await auditRefusal(deps.store, grant, request, bar, deps.clock.now());
  throw new WritError('forbidden', { detail: bar.text, extensions: { refused_because: bar.code } });
}

/** As the record has an approval that was given faster than a person can read. */
type Hasty = { hasty_seconds: number; hasty_confirmed?: true };

/**
 * Of an approval that was given faster than a person can read and may count: noted alone, or the warning
 * about exactly this was answered. Null: it was not that fast.
 * @param use whether the answer is used up
 * @throws TooFast: none came; WritError `forbidden`, on record: another one did
 */
async function hastyOf(
  deps: ReviewDeps,
  grant: GrantUnderReview,
  request: Omit<ReviewRequest, 'passkey' | 'preApproval'>,
  plan: Plan,
  digest: string,
  use: boolean,
): Promise<Hasty | null> {
  const { reading } = request;
  if (reading === undefined || (reading.confirmation === undefined && !isTooFast(reading))) return null;
  const { challengeKey, once, clock } = deps;
  const { loginId, confirmation, tookSeconds } = reading;
  const noted = (seconds: number) => ({ hasty_seconds: Math.max(0, Math.round(seconds)) });
  if (deps.warnsHasty !== true) return noted(tookSeconds);
  // Without what a warning is made of nobody can answer it.
  if (challengeKey === undefined || once === undefined) throw new WritError('unavailable');
  const seenDigest = grant.plan_digest;
  const what = { grantId: grant.id, seenDigest, planDigest: digest, reader: request.reviewer, loginId };
  const making = { clock, challengeKey, once };
  if (confirmation === undefined)
    throw new TooFast(tookSeconds, plan, await makeConfirmation(making, what, tookSeconds));
  const checked = await checkConfirmation(making, what, confirmation, use);
  if ('tookSeconds' in checked) return { ...noted(checked.tookSeconds), hasty_confirmed: true };
  await auditRefusal(deps.store, grant, request, checked.bar, clock.now());
  throw new WritError('forbidden', { detail: checked.bar.text, extensions: { refused_because: checked.bar.code } });
}

/** How a decided grant came out. */
export interface Outcome {
  verdict: string;
  reviewer: Identity;
  reason: string | null;
  at: Date;
  /** It was given in so many seconds, faster than a person can read. */
  hasty_seconds: number | null;
  /** They were warned of that, and confirmed it. */
  hasty_confirmed: boolean | null;
}

const outcomeStatement: Statement = {
  name: 'review_outcome',
  text: `
    SELECT r.verdict, r.reviewer, r.reason, r.at, e.hasty_seconds, e.hasty_confirmed
    FROM review r JOIN grants g ON g.id = r.grant_id LEFT JOIN LATERAL (
      SELECT (e.payload ->> 'hasty_seconds')::int AS hasty_seconds, (e.payload ->> 'hasty_confirmed')::boolean AS hasty_confirmed FROM audit_event e
      WHERE e.chain = g.session_id AND e.grant_id = g.id AND e.payload ->> 'review_id' = r.id LIMIT 1) e ON true
    WHERE r.grant_id = $1 ORDER BY r.at DESC, r.id DESC LIMIT 1`,
};

/** The latest review; null when nobody gave one. */
export async function loadOutcome(store: Store, grantId: string): Promise<Outcome | null> {
  const [outcome] = await store.run<Outcome>(outcomeStatement, [grantId]);
  return outcome ?? null;
}

async function whoDecided(store: Store, grantId: string): Promise<string> {
  const outcome = await loadOutcome(store, grantId);
  if (outcome === null) return 'This request has been decided already: it is over.';
  const verb = outcome.verdict === 'approve' ? 'approved' : 'denied';
  return `This request has been decided already: ${personRef(outcome.reviewer)} ${verb} it at ${outcome.at.toISOString()}.`;
}

function checkReason(request: ReviewRequest): string | null {
  const reason = request.reason?.trim() ?? '';
  const fault = (message: string) =>
    new WritError('bad_request', { detail: message, errors: [{ path: 'reason', message }] });
  if (reason === '' && request.verdict === 'deny')
    throw fault('Say why you deny it: the agent and the log will show it.');
  if (reason.length > reasonMax) throw fault(`A reason has at most ${reasonMax} characters.`);
  // PostgreSQL text cannot hold NUL, and no other control character belongs in a reason.
  if (/[^\P{Cc}\n\r\t]/u.test(reason)) throw fault('A reason is plain text without control characters.');
  return reason === '' ? null : reason;
}

/**
 * The same permission for a shorter time, less of it by the provider's own word, or a session that goes on
 * with less: the only changes a reviewer can make, so that a review never widens.
 */
function narrow(deps: ReviewDeps, grant: GrantUnderReview, request: ReviewRequest): Plan {
  const { ttlSeconds, withhold } = request;
  if (grant.capability === aboutSession) return withholding(grant.plan, withhold ?? []);
  if (isBatch(grant.capability)) return fewer(grant, request);
  const [leftOut, lowered] = [leftOutBy(grant, request), loweredBy(grant, request)];
  const asBefore = leftOut.length === grant.left_out.length && isDeepStrictEqual(lowered, grant.lowered);
  const plan = asBefore ? grant.plan : less(deps, grant, leftOut, lowered);
  if (ttlSeconds === undefined || ttlSeconds === plan.ttl_seconds) return plan;
  const least = Math.max(1, deps.minTtlSeconds?.(grant.provider) ?? 1);
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < least || ttlSeconds > grant.plan.ttl_seconds) {
    const message = `Whole seconds from ${least} to ${grant.plan.ttl_seconds}: a review may shorten, never extend.`;
    throw new WritError('bad_request', { detail: message, errors: [{ path: 'ttl_seconds', message }] });
  }
  return { ...plan, ttl_seconds: ttlSeconds };
}

/** Each is given as it was asked for, or not at all. */
function fewer(
  { plan }: GrantUnderReview,
  { ttlSeconds, leaveOut = [], lower = {}, withhold = [] }: ReviewRequest,
): Plan {
  const asIs =
    (ttlSeconds ?? plan.ttl_seconds) === plan.ttl_seconds && leaveOut.length + Object.keys(lower).length === 0;
  if (asIs) return takeOut(plan, withhold);
  const message = 'Of several at once, single ones can be taken out; none can be made less.';
  throw new WritError('bad_request', { detail: message, errors: [{ path: 'ttl_seconds', message }] });
}

/** All that is left out: what earlier reviews left out stays so. */
const leftOutBy = ({ left_out }: GrantUnderReview, { leaveOut = [] }: ReviewRequest): string[] =>
  [...new Set([...left_out, ...leaveOut])].sort();

/** The same of what is lowered; what is lowered again goes on from there, or the provider refuses it. */
const loweredBy = ({ lowered }: GrantUnderReview, { lower = {} }: ReviewRequest) => ({ ...lowered, ...lower });

function less(
  { narrowPlan }: ReviewDeps,
  grant: GrantUnderReview,
  leftOut: string[],
  lowered: { [pointer: string]: string },
): Plan {
  if (narrowPlan !== undefined && !isQuestion(grant.capability)) return narrowPlan(grant, leftOut, lowered);
  const message = 'Nothing can be left out of this.';
  throw new WritError('bad_request', { detail: message, errors: [{ path: 'keep', message }] });
}

function withholding(plan: Plan, names: readonly string[]): Plan {
  const { could, took, withhold } = plan.permission as unknown as LiftPermission;
  const stranger = names.find((name) => !could.includes(name) && !took.includes(name));
  if (stranger !== undefined) {
    const message = 'Only what the session could do can be withheld from it.';
    throw new WritError('bad_request', { detail: message, errors: [{ path: 'withhold', message }] });
  }
  const all = [...new Set([...withhold, ...names])].sort();
  return all.length === withhold.length ? plan : { ...plan, permission: { ...plan.permission, withhold: all } };
}

/** What the agent reads as the grant's decision after a denial. */
function denial(code: DecisionReason, advice: string | null): JsonObject {
  return { effect: 'deny', reasons: [advice === null ? { code } : { code, advice }] };
}

const refusalStatement: Statement = {
  name: 'review_refused',
  text: `
    ${appendEvent(
      {
        chain: '$1::text',
        at: '$2::timestamptz',
        type: event('review.refused'),
        actor: '$3::text',
        grant: '$4::text',
        request: '$5::text',
        payload: '$6::json',
      },
      // A wrong answer keeps its person waiting by its row.
      `(SELECT 1) AS one WHERE $7::text = 'wrong_answer' OR ${fewRefusals({ chain: '$1::text', at: '$2::timestamptz', type: event('review.refused'), actor: '$3::text' })}`,
    )}`,
};

/** Puts on record that a channel refused a review because nobody knows who gave it. */
export async function noteStranger(
  { store, clock }: Pick<ReviewDeps, 'store' | 'clock'>,
  { grantId, ...request }: Pick<ReviewRequest, 'grantId' | 'verdict' | 'reviewer' | 'channel' | 'requestId'>,
): Promise<void> {
  const grant = await loadForReview(store, grantId).catch((error) => {
    if (error instanceof WritError && error.code === 'not_found') return null;
    throw error;
  });
  if (grant !== null) await auditRefusal(store, grant, request, stranger, clock.now());
}

const stranger: Bar = { code: 'not_an_approver', text: 'Nobody knows who this is.' };

async function auditRefusal(
  store: Store,
  grant: GrantUnderReview,
  request: Pick<ReviewRequest, 'verdict' | 'reviewer' | 'channel' | 'requestId'>,
  bar: Bar,
  at: Date,
) {
  const payload = eventPayload('review.refused', {
    refused_because: bar.code,
    verdict: request.verdict,
    capability: grant.capability,
    reviewer: identityRecord(request.reviewer),
    channel: request.channel,
  });
  const who = personRef(request.reviewer);
  await store.run(refusalStatement, [
    grant.session_id,
    at,
    who,
    grant.id,
    request.requestId,
    JSON.stringify(payload),
    bar.code,
  ]);
}

// Ordered by session, so that two statements which extend several audit chains take them in the same order.
const expireStatement: Statement = {
  name: 'review_expire',
  text: `
    WITH handed_on AS (
      -- Asked under owners or terms that are not in force any more.
      SELECT g.id FROM grants g
      JOIN agent a ON a.name = g.agent AND a.version <> g.manifest_version
      JOIN manifest asked ON asked.agent = g.agent AND asked.version = g.manifest_version
      JOIN manifest current ON current.agent = g.agent AND current.version = a.version
      WHERE g.decide_by IS NOT NULL AND g.ended_at IS NULL AND g.status IN ('pending', 'approved') AND ${lapsesByItself('g')}
        AND ${approversIn('asked')} IS DISTINCT FROM ${approversIn('current')}
      LIMIT $2::int
    ), due AS (
      SELECT id, CASE WHEN decide_by > $1::timestamptz THEN ${decisionReason('owner_changed')}
                 WHEN status = 'pending' THEN ${decisionReason('timeout')} ELSE ${decisionReason('not_redeemed')} END AS reason
      FROM grants WHERE ended_at IS NULL AND status IN ('pending', 'approved') AND ${lapsesByItself('grants')}
        AND (decide_by <= $1::timestamptz OR id IN (SELECT id FROM handed_on))
      ORDER BY decide_by LIMIT $2::int FOR UPDATE SKIP LOCKED
    ), changed AS (
${lapseGrant('due', '$1::timestamptz')}
      RETURNING g.id, g.session_id, g.capability, g.plan_digest, due.reason
    ), ${settleNotices('changed', '$1::timestamptz')}, audited AS (
      ${appendEvent({ chain: 'session_id', at: '$1::timestamptz', type: event('grant.denied'), actor: "'system'", grant: 'id', payload: "json_build_object('capability', capability, 'reason', reason, 'plan_digest', plan_digest)" }, 'changed ORDER BY session_id, id')}
    )
    SELECT id AS "grantId", session_id AS "sessionId", reason FROM changed`,
};

/**
 * Denies grants that were not decided in time (`timeout`), or approved but not redeemed in time
 * (`not_redeemed`), or put to owners whom a newer manifest has replaced (`owner_changed`). Safe on any number
 * of workers.
 * @returns what was denied now: at most `limit`, and what ended with it; call again while it is as many
 */
export async function expireUndecided(
  store: Store,
  now: Date,
  limit: number,
): Promise<{ grantId: string; sessionId: string; reason: 'timeout' | 'not_redeemed' | 'owner_changed' }[]> {
  return store.run(expireStatement, [now, limit]);
}
