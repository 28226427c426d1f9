/**
 * A request for a capability, from the session's history to the credential, the wait, or the refusal. One
 * flow; no step can be skipped by a provider or a channel.
 */

import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { type AskDeps, restraintBy } from '../actions/ask-people.ts';
import type { Digest } from '../actions/cells.ts';
import type { DecisionObserver, GrantSeen } from '../actions/observer.ts';
import { tellingOfRules } from '../actions/tell-people.ts';
import { canariesOfGrant, touchedByGrant } from '../actions/touch-canary.ts';
import { type EventPayload, eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { JsonObject, Reason } from '../core/vocabulary.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { bindParams } from '../manifests/bind.ts';
import type { Catalog } from '../manifests/catalog.ts';
import { member } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { rereadSession, type SessionFacts, type SessionReads } from '../sessions/authenticate.ts';
import type { EndSessionDeps } from '../sessions/end-session.ts';
import { carryOut } from '../sessions/hold-back.ts';
import { untilSettled } from '../sessions/session-lock.ts';
import { type Evaluation, evaluate } from './evaluate.ts';
import { historyOf, historyReads } from './history.ts';
import {
  type CommittedIntent,
  commitIntent,
  type IssueDeps,
  type IssuedAnswer,
  mintAndDeliver,
} from './issue-grant.ts';
import { type BrokenGlass, pastTheRules } from './past-the-rules.ts';
import { readState, StateUnreadable, wantsState } from './plan-state.ts';
import { needsPasskey } from './proven-review.ts';
import { approvalProgress } from './quorum.ts';
import { knownName, recordableFaults } from './recordable.ts';
import { aboutGrant, spared, waitingAlike } from './spare-people.ts';
import { type BreakGlassUse, type GrantRecord, recordGrant, recordIntent } from './statements.ts';
import { timeToDecide } from './time-to-decide.ts';
import { type GrantView, viewApprovals, viewGrant } from './view.ts';

export interface GrantDeps extends IssueDeps, EndSessionDeps, AskDeps {
  catalog: Catalog;
  /** Keyed digest that names cells of history. */
  digest: Digest;
  /** Grants one agent may ask for in a minute; 0 = no limit. */
  grantsPerMinute: number;
  /** Grants one session may ask for; its manifest may say fewer. */
  maxGrantsPerSession: number;
  /**
   * Puts on the record that a request came to no grant: so many a minute and session, of more their
   * number.
   */
  noteRefusal(
    session: { id: string; agent: string },
    refusal: EventPayload<'grant.refused'>,
    requestId: string | null,
  ): Promise<void>;
  /** Approves a request that waits, by what people approved ahead of time; absent = nobody did. */
  preApproved?(grantId: string, requestId: string | null): Promise<void>;
  /** Told of what was decided, once it is on record. */
  observer?: DecisionObserver;
}

/** The body of `POST /v1/grants`, checked for shape. */
export interface GrantRequest {
  capability: string;
  params: JsonObject | undefined;
  ttlSeconds: number | undefined;
  justification: string | null;
  credentialJwk: JsonObject | null;
  /** Asked for as an approval only: what policy alone would allow is refused, and nothing is minted. */
  onlyToApprove?: true;
  /** Where it comes from; absent or null = nobody knows. */
  address?: string | null;
  /**
   * Ids of grants that are put to people together with this one: nobody is told of it by itself
   * (`put-together.ts`). Absent = it is asked for alone.
   */
  together?: readonly string[];
}

export type GrantAnswer =
  | IssuedAnswer
  | { outcome: 'pending'; grant: GrantView }
  /** The same Idempotency-Key and body as before: the grant as it stands, without its credential. */
  | { outcome: 'repeated'; grantId: string };

/**
 * How often a request that lost a race (to another process, or another session of the tree) is decided again
 * before it fails.
 */
const maxRaces = 20;

/** What a decision wants to know of the session's history. */
export function grantReads(
  deps: { grantsPerMinute: number },
  capability: string,
  idempotencyKey: string | null,
): SessionReads {
  return {
    capability,
    countLastMinute: deps.grantsPerMinute,
    ...(idempotencyKey === null ? {} : { idempotencyKey }),
  };
}

const onlyByTier = ({ reasons = [] }: GrantView) => reasons.every(({ code }) => code === 'needs_approval');

interface Asking {
  request: GrantRequest;
  requestDigest: string;
  idempotencyKey: string | null;
  requestId: string | null;
}

/**
 * 1. The session's requests are decided one after another; one that lost a race is decided again, on what is
 *    true now.
 * 2. What policy allowed is minted and delivered, while the next request is decided.
 *
 * @param session read with `grantReads` and `historyReads` of this very request
 * @throws WritError `denied`, `bad_request`, `idempotency_mismatch`, `rate_limited`, `session_ended`,
 *   `provider_refused`, `provider_unavailable` …
 */
export async function requestGrant(
  deps: GrantDeps,
  session: SessionFacts,
  request: GrantRequest,
  idempotencyKey: string | null,
  requestId: string | null,
): Promise<GrantAnswer> {
  const asking = { request, requestDigest: digestOf(request), idempotencyKey, requestId };
  const counts = grantReads(deps, request.capability, idempotencyKey);
  const cells = await historyReads(deps, session.agent, request.capability, request.params, request.address ?? null);
  const reads = { ...counts, ...cells };

  // 1.
  const decided = await untilSettled(
    session.id,
    async (stale) => {
      const facts = stale ? await rereadSession(deps.store, session, deps.clock.now(), reads) : session;
      return decideOnce(deps, facts, asking);
    },
    maxRaces,
  );
  if ('outcome' in decided) {
    // Where a rule has people asked, because of what went before, nobody knew that ahead of time.
    if (decided.outcome !== 'pending' || deps.preApproved === undefined || !onlyByTier(decided.grant)) return decided;
    await deps.preApproved(decided.grant.id, requestId);
    return { outcome: 'repeated', grantId: decided.grant.id };
  }

  // 2.
  return mintAndDeliver(deps, decided, request.credentialJwk, requestId);
}

/**
 * 1. The same key again is the same grant.
 * 2. Evaluate: parameters → plan → facts → Cedar's decision.
 *    Where two people have broken the glass for it, past the rules. Else people are not asked twice for the
 *    same, nor for what they have just denied.
 * 3. Denied: written down, with reasons and the nearest request that would pass.
 * 4. A person must decide: written down, parked.
 * 5. Allowed: the decision is signed and the intent committed.
 *
 * @returns null when the session has moved on since it was read
 */
async function decideOnce(
  deps: GrantDeps,
  session: SessionFacts,
  asking: Asking,
): Promise<GrantAnswer | CommittedIntent | null> {
  const { store } = deps;
  const { request, requestId } = asking;
  const now = deps.clock.now();

  // 1.
  if (session.previousGrantId !== null) return repeated(deps, session.previousGrantId, asking.requestDigest);
  if (deps.grantsPerMinute > 0 && session.counts.lastMinute >= deps.grantsPerMinute) {
    throw rateLimited();
  }

  // Denials count against no envelope, but each leaves a row. The root's version makes this number exact.
  if (session.counts.denied >= deps.maxGrantsPerSession) {
    throw new WritError('denied', { extensions: { reasons: [{ code: 'envelope_spent' }] } });
  }

  // 2.
  const manifest = await deps.catalog.inForce(session.agent, session.currentManifestVersion);
  const canaries = canariesOfGrant(manifest.compiled.manifest, request.capability, request.params ?? {});
  if (canaries.length > 0) {
    await touchedByGrant(
      deps,
      manifest.compiled.manifest,
      session,
      { canaries, capability: request.capability },
      requestId,
    );
    throw onRecord(new WritError('denied', { extensions: { reasons: [{ code: 'rule' }] } }));
  }
  const bounded = underCeiling(deps, session);
  const history = await historyOfRequest(deps, manifest, session, request, now);
  if (history === 'moved_on') return null;
  const evaluated = await evaluateOrRecord(deps, manifest, bounded, request, now, history.hits, requestId);
  const broken = await pastTheRules(deps, manifest, bounded, request, now, history.hits, evaluated);
  const asked = broken?.evaluation ?? (await sparingPeople(deps, session, request, evaluated, now));
  if (typeof asked === 'string') return { outcome: 'repeated', grantId: asked };
  const evaluation = await onItsState(deps, manifest, session, request.capability, asked, requestId);
  const record = {
    ...draft(newId('gnt', now), session, evaluation, asking, now),
    perMinute: deps.grantsPerMinute,
    ceiling: deps.maxGrantsPerSession,
    askedPerHour: deps.askLimits?.requestsPerHour ?? 0,
    together: request.together ?? [],
  };

  const tell = () =>
    deps.observer?.granted({
      // What the manifest says of it: whoever broke the glass is no manifest.
      ...seenGrant(session, manifest, request, broken === null ? evaluation : evaluated),
      looked: history.looked,
      id: record.id,
      at: now,
    });

  // 3.
  if (evaluation.decision.effect === 'deny') {
    const { reasons } = evaluation.decision;
    const nearest = evaluation.nearest();
    const denied = { ...record, status: 'denied', auditType: 'grant.denied' } as const;
    const effect = evaluation.decision.session_effect;
    const asks =
      effect === undefined
        ? null
        : await restraintBy(
            deps,
            manifest.compiled.manifest,
            session,
            effect,
            { asked: `capability:${request.capability}`, args: evaluation.params, hits: history.hits, reasons },
            { id: record.id, requestDigest: asking.requestDigest, manifestVersion: manifest.version, now },
          );
    const by = `the capability ${request.capability}`;
    const ended = { effect, hits: history.hits, by };
    const tells = tellingOfRules(deps, session.agent, manifest.compiled.manifest, ended, now);
    const written = await recordGrant(store, denied, history.moves(['attempt', 'denied']), [], asks, tells);
    if (!written.ok) return decideAgain(written);
    tell();
    await carryOut(deps, session.rootId, effect, requestId);
    const extensions = { grant_id: record.id, reasons, ...(nearest === undefined ? {} : { nearest }) };
    throw onRecord(new WritError('denied', { extensions }));
  }

  // 4.
  if (evaluation.decision.effect === 'approve') {
    const { tier, expires_seconds: expiresSeconds = null } = evaluation.decision;
    const passkey = needsPasskey({ tier, capability: request.capability });
    const decideBy = timeToDecide(deps, manifest.compiled.manifest, { expiresSeconds, passkey }, session, now);
    const pending = { ...record, status: 'pending', auditType: 'grant.pending', decideBy } as const;
    const channels = request.together === undefined ? deps.noticeChannels : [];
    const written = await recordGrant(store, pending, history.moves(['attempt']), channels);
    if (!written.ok) return decideAgain(written);
    tell();
    return { outcome: 'pending', grant: viewPending(deps, session, record, evaluation, decideBy) };
  }

  // 5. Any effect but allow is unknown here and must not mint.
  if (evaluation.decision.effect !== 'allow') {
    throw new WritError('internal', { cause: new Error(`unknown effect ${String(evaluation.decision.effect)}`) });
  }
  if (request.onlyToApprove === true) {
    throw new WritError('not_requestable', { detail: 'No person need approve it: ask for it with `POST /v1/grants`.' });
  }
  const nobody = { by: broken?.glass.by ?? [], consent: null, stands: null, breakGlass: broken?.glass.id };
  const use = broken === null ? null : useOf(broken, request.capability, evaluated);
  const intent = await commitIntent(deps, record, evaluation, nobody, now, (decisionJws, lease) =>
    recordIntent(
      store,
      { ...record, status: 'issuing', auditType: 'grant.allowed', decisionJws },
      lease,
      history.moves(['attempt', 'call']),
      use,
    ),
  );
  if (intent !== null) tell();
  return intent;
}

const useOf = ({ glass, evaluation }: BrokenGlass, capability: string, { decision }: Evaluation): BreakGlassUse => ({
  id: glass.id,
  audit: eventPayload('break_glass.used', {
    break_glass: glass.id,
    capability,
    plan_digest: evaluation.digest,
    ttl_seconds: evaluation.plan.ttl_seconds,
    instead_of: decision.reasons,
    approved_by: glass.by,
  }),
});

/**
 * @returns the id of a request that waits for the same plan already, or the evaluation: denied where nobody
 *   is asked
 */
async function sparingPeople(
  { store, askLimits }: GrantDeps,
  session: SessionFacts,
  { capability, credentialJwk, together }: GrantRequest,
  evaluation: Evaluation,
  now: Date,
): Promise<Evaluation | string> {
  if (askLimits === undefined || evaluation.decision.effect !== 'approve') return evaluation;
  const { plan } = evaluation;
  const waiting = await waitingAlike(store, session.id, { capability, plan, credentialJwk }, now);
  if (waiting !== null) return waiting;
  const reason = await spared(store, askLimits, aboutGrant(session, capability, plan), now, together);
  if (reason === null) return evaluation;
  const { approval: _, expires_seconds: __, ...decision } = evaluation.decision;
  return { ...evaluation, decision: { ...decision, effect: 'deny', reasons: [reason] } };
}

/**
 * The evaluation of the plan as it is made on what the target has now; denied where nobody can tell.
 * @throws WritError `unavailable` where it can be told later: recorded, and nothing is decided
 */
async function onItsState(
  deps: GrantDeps,
  manifest: PublishedManifest,
  session: SessionFacts,
  capability: string,
  evaluation: Evaluation,
  requestId: string | null,
): Promise<Evaluation> {
  if (evaluation.decision.effect !== 'approve' || !wantsState(manifest, capability)) return evaluation;
  try {
    const plan = { ...evaluation.plan, state: { round: 0, seen: await readState(deps, evaluation.plan) } };
    return { ...evaluation, plan, digest: planDigest(plan), description: evaluation.provider.describe(plan) };
  } catch (error) {
    if (!(error instanceof StateUnreadable)) throw error;
    deps.log.warn(
      { provider: evaluation.plan.provider, code: error.code },
      'the state of what is asked for cannot be read',
    );
    if (error.passes) {
      const reasons: Reason[] = [{ code: 'state_unreadable' }];
      await deps.noteRefusal(session, { capability, code: 'unavailable', errors: [] }, requestId);
      throw onRecord(
        new WritError('unavailable', {
          detail: 'What people are to approve depends on a state that cannot be read now.',
          retryAfterSeconds: error.retryAfterSeconds ?? 5,
          extensions: { reasons },
          cause: error,
        }),
      );
    }
    const { approval: _, expires_seconds: __, ...decision } = evaluation.decision;
    return { ...evaluation, decision: { ...decision, effect: 'deny', reasons: [{ code: 'state_unreadable' }] } };
  }
}

function seenGrant(
  session: SessionFacts,
  published: PublishedManifest,
  { capability, params, ttlSeconds, address = null }: GrantRequest,
  { decision, digest }: Evaluation,
): Omit<GrantSeen, 'looked' | 'id' | 'at'> {
  const effect = decision.session_effect ?? decision.effect;
  return {
    session,
    published,
    capability,
    params,
    ttlSeconds,
    address,
    effect,
    reasons: decision.reasons,
    planDigest: digest,
  };
}

/** A request that cannot be bound is refused by the evaluation, with its faults. */
export function historyOfRequest(
  deps: GrantDeps,
  { compiled: { manifest } }: PublishedManifest,
  session: SessionFacts,
  { capability, params, address = null }: Pick<GrantRequest, 'capability' | 'params' | 'address'>,
  now: Date,
) {
  const known = member(manifest.capabilities, capability);
  const bound = known === undefined ? null : bindParams(known, session.task, params);
  const asked = { capability, params: bound?.ok === true ? bound.params : {}, address };
  return historyOf(deps, manifest, session, asked, now);
}

/**
 * The session as policy sees it: where its envelope names no number, the deployment's ceiling is the number.
 */
export function underCeiling({ maxGrantsPerSession: ceiling }: GrantDeps, session: SessionFacts): SessionFacts {
  if (session.maxGrants !== null || session.counts.session < ceiling) return session;
  return { ...session, facts: { ...session.facts, grants_left: 0 } };
}

/** @throws WritError `rate_limited`: the statement counted more than the read before it */
function decideAgain({ because }: { because: string }): null {
  if (because === 'rate_limited') throw rateLimited();
  return null;
}

const rateLimited = () => new WritError('rate_limited', { retryAfterSeconds: 10 });

/**
 * Refuses a request that cannot be evaluated (no such capability, malformed parameters), and records the
 * refusal.
 */
async function evaluateOrRecord(
  deps: GrantDeps,
  manifest: PublishedManifest,
  session: SessionFacts,
  request: GrantRequest,
  now: Date,
  hits: readonly string[],
  requestId: string | null,
): Promise<Evaluation> {
  try {
    return evaluate(deps.providers, manifest, session, request, now, hits);
  } catch (error) {
    const { code, errors } = error instanceof WritError ? error : { code: 'internal' as const, errors: undefined };
    const { capabilities } = manifest.compiled.manifest;
    const capability = member(capabilities, request.capability);
    const known = { ...capability?.params, ...capability?.choose };
    const faults = recordableFaults(errors ?? [], request.params, known);
    const refusal = { capability: knownName(capabilities, request.capability), code, errors: faults };
    await deps.noteRefusal(session, refusal, requestId);
    if (error instanceof WritError) error.recorded = true;
    throw error;
  }
}

/** Its row was written. */
function onRecord(error: WritError): WritError {
  error.recorded = true;
  return error;
}

async function repeated(deps: GrantDeps, grantId: string, requestDigest: string): Promise<GrantAnswer> {
  const previous = await deps.store.prisma.grant.findUniqueOrThrow({
    where: { id: grantId },
    select: { requestDigest: true },
  });
  if (previous.requestDigest !== requestDigest) throw new WritError('idempotency_mismatch');
  return { outcome: 'repeated', grantId };
}

function draft(
  id: string,
  session: SessionFacts,
  evaluation: Evaluation,
  { request, requestDigest, idempotencyKey, requestId }: Asking,
  at: Date,
): Omit<GrantRecord, 'status' | 'auditType' | 'perMinute' | 'ceiling' | 'askedPerHour' | 'together'> {
  const { decision } = evaluation;
  return {
    id,
    sessionId: session.id,
    rootId: session.rootId,
    sessionVersion: session.version,
    agent: session.agent,
    capability: request.capability,
    idempotencyKey: idempotencyKey ?? id,
    requestDigest,
    params: evaluation.params,
    justification: request.justification,
    credentialJwk: request.credentialJwk,
    manifestVersion: decision.manifest_version,
    plan: evaluation.plan,
    planDigest: evaluation.digest,
    tier: decision.tier,
    decision: decision as unknown as JsonObject,
    decisionJws: null,
    at,
    decideBy: null,
    requestId,
    audit: eventPayload('grant.allowed', {
      capability: request.capability,
      params: evaluation.params,
      plan: evaluation.plan,
      plan_digest: evaluation.digest,
      effect: decision.effect,
      tier: decision.tier,
      reasons: decision.reasons,
      policy_ids: decision.policy_ids,
      manifest_version: decision.manifest_version,
      ...(request.justification === null ? {} : { justification: request.justification }),
    }),
  };
}

function viewPending(
  deps: GrantDeps,
  session: SessionFacts,
  record: { id: string; capability: string; tier: number },
  { plan, digest, decision, description }: Evaluation,
  decideBy: Date,
): GrantView {
  const line = [{ started_by: session.startedBy, responsible: session.responsible }];
  const approvals = viewApprovals(approvalProgress(decision.approval ?? null, line, []));
  const grant = { ...record, status: 'pending', plan, planDigest: digest, decideBy, reasons: decision.reasons };
  return viewGrant({ ...grant, approvals }, description, deps.publicUrl, null);
}

function digestOf(request: GrantRequest): string {
  const canonical = canonicalize({
    capability: request.capability,
    params: request.params ?? null,
    ttl_seconds: request.ttlSeconds ?? null,
    justification: request.justification,
    credential_jwk: request.credentialJwk,
  });
  return `sha256:${hash('sha256', canonical!, 'hex')}`;
}
