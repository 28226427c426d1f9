/**
 * Redeems a grant that a person approved: delivers its credential, once. Decides again on the current facts
 * (the manifest may have been narrowed, the session may be nearly over); the approval is one of those facts.
 */

import { isDeepStrictEqual } from 'node:util';
import { WritError } from '../core/errors.ts';
import { isQuestion } from '../core/questions.ts';
import type { JsonObject, Plan, Reason } from '../core/vocabulary.ts';
import { approvalConfig } from '../manifests/approval-terms.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { SessionFacts, SessionReads } from '../sessions/authenticate.ts';
import type { Prisma } from '../store/prisma/client.ts';
import { consentedBy, consentedWithOthers, requestRow, reviewRow } from './consent.ts';
import { checkCredentialJwk } from './deliver.ts';
import { evaluatePlan } from './evaluate.ts';
import { historyOf } from './history.ts';
import { commitIntent, type IssuedAnswer, mintAndDeliver } from './issue-grant.ts';
import { readState, StateUnreadable, wantsState } from './plan-state.ts';
import { needsPasskey } from './proven-review.ts';
import type { GrantDeps } from './request-grant.ts';
import { sendBack } from './send-back.ts';
import { claimApproved } from './statements.ts';
import { timeToDecide } from './time-to-decide.ts';

/**
 * What a redemption wants to know of the session's history: the counts of the capability that was asked for.
 */
export async function redemptionReads(
  deps: Pick<GrantDeps, 'store'>,
  sessionId: string,
  grantId: string,
): Promise<SessionReads> {
  const where = { id: grantId, sessionId };
  const grant = await deps.store.prisma.grant.findFirst({ where, select: { capability: true } });
  return grant ?? {};
}

/**
 * 1. Read the grant: it must be this session's, and approved.
 * 2. Narrow the consented plan to what is left of the session.
 * 3. Decide again, with the approval as a fact.
 * 4. Where people approved a state, read it again: changed, they are asked again.
 * 5. Claim the grant and commit the intent: a second request finds it claimed, and is told so: whether it is
 *    consumed is not known before the provider has answered.
 * 6. Mint and deliver; the TTL starts now.
 *
 * @param session read with `redemptionReads` of this very grant
 * @throws WritError `not_found` (also for another agent's grant), `not_approved`, `already_redeemed`,
 *   `conflict` (another request is redeeming it), `grant_failed`, `denied` …
 */
export async function redeemGrant(
  deps: GrantDeps,
  session: SessionFacts,
  grantId: string,
  credentialJwk: JsonObject | null,
  address: string | null,
  requestId: string | null,
): Promise<IssuedAnswer> {
  // 1.
  const now = deps.clock.now();
  const grant = await approvedGrant(deps, session, grantId);

  // Checked when it was sent; a key that can be sealed to no more must not cost a mint.
  const sealTo = credentialJwk ?? (grant.credentialJwk as JsonObject | null);
  if (sealTo !== null) await checkCredentialJwk(sealTo);

  // 2. and 3. Record refusals here too: an approval that no longer holds deserves attention.
  const { manifest, asked, history } = await standingOf(deps, session, grant, address, now);
  const { evaluation, approvedBy } = await recordingRefusals(deps, session, grant.id, requestId, () => {
    checkOwners(asked, manifest, grant);
    return evaluateConsented(deps, manifest, session, grant, now, history.hits);
  });

  // 4.
  await stateStands(deps, session, asked, grant, requestId);

  // 5.
  const { plan, digest } = evaluation;
  const audit = { plan_digest: digest, approved_by: approvedBy, ttl_seconds: plan.ttl_seconds };
  const claim = {
    sessionId: session.id,
    agent: session.agent,
    grantId: grant.id,
    consented: grant.planDigest,
    manifestVersion: manifest.version,
    credentialJwk,
    requestId,
    audit,
  };
  const approved: Parameters<typeof commitIntent>[3] = {
    by: approvedBy,
    consent: { plan: grant.plan as unknown as Plan, planDigest: grant.planDigest },
    stands: { grant_id: grant.id, grant_status: 'approved', redeem_by: String(grant.decideBy?.toISOString()) },
  };
  const intent = await commitIntent(deps, grant, evaluation, approved, now, (decisionJws, lease) =>
    claimApproved(deps.store, { ...claim, decisionJws, at: now }, lease, history.moves(['call'], 'session_too')),
  );
  if (intent === null) {
    const where = { id: grant.id };
    const { status } = await deps.store.prisma.grant.findUniqueOrThrow({ where, select: { status: true } });
    throw notApproved({ id: grant.id, status }) ?? new WritError('conflict', { retryAfterSeconds: 1 });
  }

  deps.observer?.issued({
    session,
    capability: grant.capability,
    params: grant.params as JsonObject,
    address,
    at: now,
  });

  // 6.
  return mintAndDeliver(deps, intent, sealTo, requestId);
}

/**
 * Whether an approved grant could be redeemed now, decided as its redemption would be. Writes nothing.
 * @param session read with `redemptionReads` of this very grant
 * @returns until when its approval stands
 * @throws WritError as `redeemGrant`
 */
export async function redeemableUntil(
  deps: GrantDeps,
  session: SessionFacts,
  grantId: string,
  address: string | null,
): Promise<Date> {
  const now = deps.clock.now();
  const grant = await approvedGrant(deps, session, grantId);
  const { manifest, asked, history } = await standingOf(deps, session, grant, address, now);
  checkOwners(asked, manifest, grant);
  evaluateConsented(deps, manifest, session, grant, now, history.hits);
  return grant.decideBy ?? now;
}

/**
 * What people approved is as they saw it; else they are asked again. Which state it was is part of what they
 * consented to: `consentedBy` has looked at that.
 * @throws WritError `not_approved` (it has changed), `unavailable` (nobody can tell); both recorded
 */
async function stateStands(
  deps: GrantDeps,
  session: SessionFacts,
  askedUnder: PublishedManifest,
  grant: ApprovedGrant,
  requestId: string | null,
): Promise<void> {
  const { state } = grant.plan as unknown as Plan;
  if (state === undefined && !wantsState(askedUnder, grant.capability)) return;
  const whole = ((grant.decision as { asked_plan?: JsonObject }).asked_plan ?? grant.plan) as unknown as Plan;
  const unreadable = (retryAfterSeconds: number | null = null) =>
    new WritError('unavailable', {
      detail: 'What people approved depends on a state that cannot be read now.',
      retryAfterSeconds: retryAfterSeconds ?? 5,
      extensions: { grant_id: grant.id, reasons: [{ code: 'state_unreadable' }] },
    });
  const refuse = (error: WritError) =>
    recordingRefusals(deps, session, grant.id, requestId, () => {
      throw error;
    });
  if (state === undefined) return refuse(unreadable());
  let seen: JsonObject;
  try {
    seen = await readState(deps, whole);
  } catch (error) {
    if (!(error instanceof StateUnreadable)) throw error;
    deps.log.warn({ grant: grant.id, provider: whole.provider, code: error.code }, 'an approved state cannot be read');
    return refuse(unreadable(error.retryAfterSeconds));
  }
  if (isDeepStrictEqual(seen, state.seen)) return;
  const now = deps.clock.now();
  const { expires_seconds: expiresSeconds = null } = grant.decision as { expires_seconds?: number };
  const waits = { expiresSeconds, passkey: needsPasskey(grant) };
  const decideBy = timeToDecide(deps, askedUnder.compiled.manifest, waits, session, now);
  await sendBack(deps, { grant, whole, state, seen, decideBy, now, requestId });
  throw new WritError('not_approved', {
    detail: 'What it is about has changed since it was approved. People are asked again.',
    retryAfterSeconds: 2,
    extensions: { grant_id: grant.id, reasons: [{ code: 'state_changed' }] },
  });
}

type ReviewedGrant = Prisma.GrantGetPayload<{ include: { reviews: true } }>;
/** `batch`: the row on which people decided together with others; null = they decided on it alone. */
type ApprovedGrant = ReviewedGrant & { batch: ReviewedGrant | null };

/** Why nothing can be redeemed of a grant in this state; null = it is approved. */
function notApproved({ id, status, decision }: { id: string; status: string; decision?: unknown }): WritError | null {
  const about = { grant_id: id };
  switch (status) {
    case 'approved':
      return null;
    case 'issuing':
      return new WritError('conflict', {
        detail: 'Another request is redeeming it just now.',
        retryAfterSeconds: 2,
        extensions: { ...about, grant_status: status },
      });
    case 'issued':
    case 'ended':
      return new WritError('already_redeemed');
    case 'failed':
      return new WritError('grant_failed', { extensions: about });
    case 'denied':
      return new WritError('denied', { extensions: { ...about, reasons: reasonsOf(decision) } });
    default:
      return new WritError('not_approved', { retryAfterSeconds: 2 });
  }
}

/** @throws WritError `not_found`, `not_approved`, `already_redeemed`, `conflict`, `grant_failed`, `denied` */
async function approvedGrant(
  { store }: Pick<GrantDeps, 'store'>,
  session: SessionFacts,
  grantId: string,
): Promise<ApprovedGrant> {
  const include = { reviews: { where: { verdict: 'approve' } } };
  const read = (id: string) => store.prisma.grant.findFirst({ where: { id, sessionId: session.id }, include });
  const grant = await read(grantId);
  // Nothing is minted from a question about a call or a session.
  if (grant === null || isQuestion(grant.capability)) throw new WritError('not_found');
  const refusal = notApproved(grant);
  if (refusal !== null) throw refusal;
  const batch = grant.batchId === null ? null : await read(grant.batchId);
  if (grant.batchId !== null && batch === null) throw new WritError('not_approved');
  return { ...grant, batch };
}

/** The manifest in force and the one it was asked under, and what is remembered. */
async function standingOf(
  deps: GrantDeps,
  session: SessionFacts,
  grant: ApprovedGrant,
  address: string | null,
  now: Date,
) {
  const manifest = await deps.catalog.inForce(session.agent, session.currentManifestVersion);
  const asked = await deps.catalog.version(session.agent, grant.manifestVersion);
  const history = await historyOf(
    deps,
    manifest.compiled.manifest,
    session,
    { capability: grant.capability, params: grant.params as JsonObject, address },
    now,
    { countedAt: () => countedAt(deps, session, grant) },
  );
  if (history === 'moved_on') throw new WritError('conflict', { retryAfterSeconds: 1 });
  return { manifest, asked, history };
}

/**
 * When it was redeemed last, of an approval that was kept because the mint had no effect: it counts as one
 * call, however often it is tried. The record says so, which nobody rewrites.
 */
async function countedAt(
  { store }: GrantDeps,
  { id: chain }: SessionFacts,
  grant: ApprovedGrant,
): Promise<Date | null> {
  const last = await store.prisma.auditEvent.findFirst({
    where: { chain, grantId: grant.id, type: { in: ['grant.redeemed', 'grant.approval_kept'] } },
    orderBy: { seq: 'desc' },
    select: { type: true },
  });
  if (last?.type !== 'grant.approval_kept') return null;
  const { at } = await store.prisma.auditEvent.findFirstOrThrow({
    where: { chain, grantId: grant.id, type: 'grant.redeemed' },
    orderBy: { seq: 'desc' },
    select: { at: true },
  });
  return at;
}

/** The plan a person consented to, narrowed to the session, and the decision on it now. */
function evaluateConsented(
  deps: GrantDeps,
  manifest: PublishedManifest,
  session: SessionFacts,
  grant: ApprovedGrant,
  now: Date,
  hits: readonly string[],
) {
  const consented = grant.plan as unknown as Plan;
  // Use the plan's provider: the capability may have moved to another or been removed, which the decision
  // reports.
  const provider = deps.providers.get(consented.provider);
  if (provider === undefined) {
    throw new WritError('unavailable', { detail: `The provider ${consented.provider} is not switched on.` });
  }
  const left = Math.floor((session.expiresAt.getTime() - now.getTime()) / 1000);
  const ttl = Math.min(consented.ttl_seconds, left);
  if (ttl < provider.limits.minTtlSeconds) {
    throw new WritError('session_ended', { detail: 'The session is about to end.' });
  }
  const plan: Plan = { ...consented, ttl_seconds: ttl };

  const asked = { capability: grant.capability, params: grant.params as JsonObject, plan };
  const evaluation = evaluatePlan(provider, manifest, session, asked, now, true, hits);
  if (evaluation.decision.effect !== 'allow') {
    throw new WritError('denied', { extensions: { grant_id: grant.id, reasons: evaluation.decision.reasons } });
  }
  const { tier } = evaluation.decision;
  const { store } = deps;
  const approvedBy =
    grant.batch === null
      ? consentedBy(store, requestRow(grant), grant.reviews.map(reviewRow), session, now, tier)
      : consentedWithOthers(
          store,
          requestRow(grant),
          requestRow(grant.batch),
          grant.batch.reviews.map(reviewRow),
          session,
          now,
          tier,
        );
  return { evaluation, approvedBy };
}

/**
 * An approval holds for the owners and groups who were asked: once a newer manifest names others, or more, it
 * has lapsed.
 * @throws WritError `denied`
 */
function checkOwners(asked: PublishedManifest, inForce: PublishedManifest, grant: ApprovedGrant): void {
  const saidIn = ({ compiled: { manifest } }: PublishedManifest) => approvalConfig(manifest, grant.capability);
  if (asked.version === inForce.version || saidIn(asked) === saidIn(inForce)) return;
  throw new WritError('denied', { extensions: { grant_id: grant.id, reasons: [{ code: 'owner_changed' }] } });
}

async function recordingRefusals<T>(
  deps: GrantDeps,
  session: SessionFacts,
  grantId: string,
  requestId: string | null,
  work: () => T,
): Promise<T> {
  try {
    return work();
  } catch (error) {
    const known = error instanceof WritError ? error : null;
    const reasons = (known?.extensions.reasons ?? []) as Reason[];
    const refusal = { grant_id: grantId, code: known?.code ?? ('internal' as const), reasons };
    await deps.noteRefusal(session, refusal, requestId);
    if (known !== null) known.recorded = true;
    throw error;
  }
}

const reasonsOf = (decision: unknown) => (decision as { reasons?: unknown } | undefined)?.reasons ?? [];
