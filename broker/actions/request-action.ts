/**
 * A tool call, from what the agent's host sends to the decision on record. One flow; what it may cost is one
 * read (the one that admits the session) and one write.
 */
import { createHmac, createSecretKey, hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { Logger } from 'pino';
import { type EventPayload, eventPayload, type Uncovered } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { recordedReference, recordedStranger } from '../core/looks-secret.ts';
import { aboutCall } from '../core/questions.ts';
import type { Clock, JsonObject, Reason } from '../core/vocabulary.ts';
import type { CallDecision } from '../decide/decide-call.ts';
import type { CallEffect } from '../decide/effects.ts';
import type { AsksPeople } from '../grants/ask-people.ts';
import { aboutCallTo, spared } from '../grants/spare-people.ts';
import type { Mark } from '../leases/credential-marks.ts';
import type { Catalog } from '../manifests/catalog.ts';
import { type CallFacts, canariesAmong, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import {
  hasCells,
  rereadSession,
  type SessionFacts,
  type SessionReads,
  type StoredAction,
} from '../sessions/authenticate.ts';
import type { EndSessionDeps } from '../sessions/end-session.ts';
import { carryOut } from '../sessions/hold-back.ts';
import { untilSettled } from '../sessions/session-lock.ts';
import type { Store } from '../store/open.ts';
import {
  type AskDeps,
  type AskedBecause,
  countWaiting,
  questionAboutCall,
  restraintBy,
  type Verdict,
  verdictOn,
} from './ask-people.ts';
import type { Cell, CellRef, Cells, Digest } from './cells.ts';
import { type Call, type CallEvaluation, callFacts, cellsFor, evaluateCall } from './evaluate-call.ts';
import { revokeIfLeaked } from './leaked-credential.ts';
import { storedWrites } from './move-cells.ts';
import type { DecisionObserver } from './observer.ts';
import { awaitedOutcome, countedAs } from './outcome.ts';
import { originsOf } from './rules.ts';
import { shownArguments } from './shown-arguments.ts';
import { type ActionPeople, recordAction } from './statements.ts';
import { tellingOfRules } from './tell-people.ts';
import { alertOf } from './touch-canary.ts';

export interface ActionDeps extends EndSessionDeps, AskDeps {
  store: Store;
  clock: Clock;
  catalog: Catalog;
  /** Keyed: what is low in entropy cannot be guessed from the database. */
  digest: Digest;
  /** Told of what was decided, once it is on record. */
  observer?: DecisionObserver;
  log: Logger;
  /** The digest by which credentials are recognised. */
  mark: Mark;
}

/** @param bytes a key for this use only (`keys/key-encryption-key.ts`) */
export function keyedDigest(bytes: Uint8Array): Digest {
  // Node takes ten times as long with bytes, which it looks at anew each time.
  const key = createSecretKey(bytes);
  return (text) => createHmac('sha256', key).update(text).digest('base64url').slice(0, 22);
}

export interface ActionRequest extends Call {
  /** The host's own id of the call: the same id and call again is the same action. */
  callId: string | null;
  /** The action as which it was asked for before, where the host has no id of its own. */
  actionId: string | null;
  /** What prompted it, as the host names it. */
  promptedBy: string | null;
  /** It was made already, on the strength of a snapshot. */
  reported?: ReportedAs;
}

/** What the host says of a call that it made without asking, and what is wrong with that. */
export interface ReportedAs {
  /** Id of the snapshot; null = none that holds. */
  snapshot: string | null;
  madeAt: Date;
  /** Why the snapshot did not allow it; empty = it did. */
  uncovered: readonly Uncovered[];
}

export interface ActionAnswer {
  actionId: string;
  effect: CallEffect;
  reasons: Reason[];
  policyIds: string[];
  manifestVersion: number;
  /** What people are asked: about the call, or about the session that a rule froze or narrowed by it. */
  approval?: { id: string; status: string; decideBy: Date | null; url: string };
  /** What a rule took from the session by it, `tool:NAME` and `capability:NAME`. */
  withheld?: string[];
}

/**
 * What a call's decision wants to know of the session's history, by the manifest that this process last saw
 * in force. The decision looks again where another one is by then.
 */
export async function actionReads(deps: ActionDeps, agent: string, request: ActionRequest): Promise<SessionReads> {
  const published = (await deps.catalog.lastSeen(agent)) ?? (await deps.catalog.current(agent));
  return published === null ? {} : readsUnder(deps, published, null, request);
}

/** @param session null before it is read: cells that depend on its task are read again then */
function readsUnder(
  { digest }: ActionDeps,
  { compiled: { manifest } }: PublishedManifest,
  session: SessionFacts | null,
  request: ActionRequest,
): SessionReads {
  const task = session?.task ?? { task_type: '', inputs: {} };
  const facts = callFacts(manifest, task, request);
  return {
    owner: manifest.owner,
    cells: cellsFor(manifest, task, facts, digest),
    ...(request.callId !== null
      ? { callKey: callKeyOf(request.callId) }
      : request.actionId !== null
        ? { callKey: request.actionId }
        : {}),
  };
}

export const callKeyOf = (callId: string): string => `sha256:${hash('sha256', callId, 'hex')}`;

/**
 * Decides on a tool call and writes it down.
 * 1. Calls of one session tree are decided one after another; one that lost a race is decided again, on what
 *    is true now.
 * 2. The same id again is the same call; one that people agreed to meanwhile is decided anew.
 * 3. Evaluate: arguments → facts, history → hits → Cedar's decision.
 * 4. What people are asked or told because of it.
 * 5. The call, its audit row, what history is after it and what people are asked or told: one statement.
 * 6. A call that ends, freezes or narrows the session: what it may not hold any more is revoked.
 *
 * @param session read with `actionReads` of this very request
 * @throws WritError `conflict`, `idempotency_mismatch`, `unavailable`
 */
export async function requestAction(
  deps: ActionDeps,
  session: SessionFacts,
  request: ActionRequest,
  requestId: string | null,
): Promise<ActionAnswer> {
  const requestDigest = digestOf(request);
  const seen = { tool: recordedReference(request.tool), seen_in: 'arguments' } as const;
  const holdsCredential = await revokeIfLeaked(deps, session, request.args, seen, requestId);
  // 1.
  let version = session.currentManifestVersion;
  const answer = await untilSettled(session.rootId, async (stale) => {
    const published = await deps.catalog.inForce(session.agent, version);
    const reads = readsUnder(deps, published, session, request);
    // What was read before the session was known lacks cells that depend on its task, or on a newer manifest.
    const known =
      stale || !hasCells(session, reads) ? await rereadSession(deps.store, session, deps.clock.now(), reads) : session;
    version = known.currentManifestVersion;
    if (version !== published.version) return null;
    return decideOnce(deps, known, published, { ...request, holdsCredential }, requestDigest, requestId);
  });

  // 6.
  await carryOut(deps, session.rootId, answer.effect, requestId);
  return answer;
}

/** @returns null when the session has moved on since it was read */
async function decideOnce(
  deps: ActionDeps,
  session: SessionFacts,
  published: PublishedManifest,
  request: ActionRequest,
  requestDigest: string,
  requestId: string | null,
): Promise<ActionAnswer | null> {
  const { manifest } = published.compiled;
  const tool = recordedTool(manifest, request.tool);
  const now = deps.clock.now();
  // 2.
  const earlier = session.action;
  const { reported } = request;
  if (reported !== undefined && earlier !== null) return reportedBefore(deps, earlier, requestDigest);
  if (earlier !== null) checkSame(earlier, requestDigest);
  const verdict = earlier === null ? null : await verdictOf(deps, session, manifest, earlier, now);
  if (earlier !== null && verdict?.status !== 'agreed') return repeated(deps, earlier, verdict);
  const consent = verdict?.status === 'agreed' ? verdict : null;

  // 3.
  const call = callFacts(manifest, session.task, request);
  const [refs, cells] = [(session.cellsAskedFor.cells ?? []) as readonly CellRef[], cellsOf(session)];
  const evaluation = evaluateCall(
    published,
    session,
    request,
    call,
    cells,
    now,
    deps.digest,
    consent?.rules ?? null,
    reported !== undefined,
  );
  const { decision, hits, labels, writes } = await withinWaiting(deps, session, request, evaluation, now);
  const { effect, reasons, policy_ids } = decision;

  // 4.
  const id = newId('act', now);
  const shown = shownArguments(request.args, deps.digest);
  const canaries = canariesAmong(manifest, hits);
  const because = { id, requestDigest, manifestVersion: published.version, now };
  const asks = await asksPeople(deps, manifest, session, request, call, { decision, hits }, { shown, cells }, because);
  const by = `the tool ${tool}`;
  const tells = tellingOfRules(deps, session.agent, manifest, { effect, hits, by }, now);
  const people: ActionPeople | null =
    asks === null && earlier === null && tells === null
      ? null
      : {
          tells,
          asks,
          consentId: effect === 'allow' && earlier !== null ? earlier.question!.id : null,
          replaces: earlier?.id ?? null,
          askedPerHour: deps.askLimits?.requestsPerHour ?? 0,
        };

  // 5.
  const said: EventPayload<'action.allowed'> = {
    action_id: id,
    tool,
    arguments: shown,
    effect,
    reasons,
    policy_ids,
    hits: [...hits],
    labels: [...labels],
    cost_micro_usd: effect === 'allow' || reported !== undefined ? call.costMicroUsd : 0,
    manifest_version: published.version,
    ...(request.promptedBy === null ? {} : { prompted_by: recordedReference(request.promptedBy) }),
    ...(consent === null ? {} : { approved_by: consent.by }),
    ...(earlier === null ? {} : { asked_as: earlier.id }),
  };
  const written = await recordAction(
    deps.store,
    { sessionId: session.id, rootId: session.rootId, version: session.version, at: now },
    {
      id,
      agent: session.agent,
      tool,
      arguments: shown,
      sealed: await sealedValues(deps, manifest, request, id),
      callKey: request.callId !== null ? callKeyOf(request.callId) : (request.actionId ?? id),
      requestDigest,
      effect,
      decision: { ...decision, hits },
      manifestVersion: published.version,
      costMicroUsd: call.costMicroUsd,
      awaited: effect === 'allow' ? awaitedOutcome(manifest, call, deps.digest, countedAs(consent !== null)) : [],
      labels,
      requestId,
      people,
      reported: reported !== undefined,
      audit: reported === undefined ? eventPayload('action.allowed', said) : reportedPayload(said, reported),
      alert: canaries.length === 0 ? null : eventPayload('canary.touched', { canaries, tool: request.tool }),
    },
    storedWrites(writes, session, manifest),
  );
  if (!written) return null;
  const seen = { session, published, looked: { refs, cells }, call: request, consent: consent?.rules ?? null };
  deps.observer?.called({ ...seen, id, effect, reasons, at: now });
  if (canaries.length > 0) alertOf(deps.log, session, canaries);
  return {
    actionId: id,
    effect,
    reasons,
    policyIds: policy_ids,
    manifestVersion: published.version,
    ...(asks === null ? {} : { approval: approvalOf(deps, asks.question.id, 'pending', asks.question.decide_by) }),
    ...(asks?.took == null ? {} : { withheld: [...asks.took] }),
  };
}

/** A tool of the manifest; what is none may be a token that was sent in its place. */
const recordedTool = (manifest: Manifest, name: string): string =>
  toolOf(manifest, name) === undefined ? recordedStranger(name) : name;

/** Data, where the manifest asks for it; a credential is kept nowhere. */
async function sealedValues({ seal }: ActionDeps, manifest: Manifest, request: ActionRequest, id: string) {
  if (request.holdsCredential === true || toolOf(manifest, request.tool)?.record !== 'full') return null;
  return seal.seal(JSON.stringify(request.args), id);
}

/** A call that was made and is over, or another one. @throws WritError `idempotency_mismatch` */
function checkSame(action: StoredAction, requestDigest: string): void {
  if (action.request_digest !== requestDigest) throw new WritError('idempotency_mismatch');
  // What was allowed then would be allowed again, whatever has been since.
  if (action.outcome !== null)
    throw new WritError('idempotency_mismatch', { detail: 'The call is over; another one needs an id of its own.' });
}

/** A report again, or of a call that was asked for after all: on record as it is. */
function reportedBefore(deps: ActionDeps, action: StoredAction, requestDigest: string): ActionAnswer {
  if (action.request_digest !== requestDigest) throw new WritError('idempotency_mismatch');
  return repeated(deps, action, null);
}

export const reportedPayload = (
  said: EventPayload<'action.allowed'>,
  { snapshot, madeAt, uncovered }: ReportedAs,
): EventPayload<'action.reported'> =>
  eventPayload('action.reported', { ...said, snapshot, made_at: madeAt.toISOString(), uncovered: [...uncovered] });

/** What people said of a call that they were asked about; null when they were not. */
async function verdictOf(
  { catalog, store }: ActionDeps,
  session: SessionFacts,
  manifest: Manifest,
  { question, request_digest }: StoredAction,
  now: Date,
): Promise<Verdict | null> {
  if (question === null) return null;
  // Which action a question is about stands in no proof, what was asked does: a yes is to this very call.
  if (question.request_digest !== request_digest) return { status: 'denied', reasons: [{ code: 'not_permitted' }] };
  const asked = await catalog.version(session.agent, question.manifest_version);
  const owner = { asked: asked.compiled.manifest.owner, inForce: manifest.owner };
  return verdictOn(store, question, session, owner, now);
}

/** The same call again: as it was decided, and what people said meanwhile. */
function repeated(deps: ActionDeps, action: StoredAction, verdict: Verdict | null): ActionAnswer {
  const { effect, reasons, policy_ids } = action.decision as unknown as {
    effect: CallEffect;
    reasons: Reason[];
    policy_ids: string[];
  };
  const answer = {
    actionId: action.id,
    effect,
    reasons,
    policyIds: policy_ids,
    manifestVersion: action.manifest_version,
  };
  if (action.effect !== 'approve') return answer;
  if (verdict === null || action.question === null) return { ...answer, effect: 'deny' };
  const { id, decide_by } = action.question;
  const approval = approvalOf(deps, id, verdict.status === 'pending' ? 'pending' : 'denied', decide_by);
  return verdict.status === 'denied'
    ? { ...answer, effect: 'deny', reasons: verdict.reasons, approval }
    : { ...answer, approval };
}

const approvalOf = ({ publicUrl }: ActionDeps, id: string, status: string, decideBy: Date | null) => ({
  id,
  status,
  decideBy,
  url: `${publicUrl}/approvals/${id}`,
});

/** Calls of one session that may wait for a person at once: whoever is asked without end reads nothing. */
const maxWaiting = 20;

/**
 * An agent does not fill people's lists: of a session that has many calls waiting, another is denied; nor
 * does it ask again for what was denied, or without end.
 */
async function withinWaiting(
  { store, askLimits, digest }: ActionDeps,
  session: SessionFacts,
  { tool, args }: ActionRequest,
  evaluation: CallEvaluation,
  now: Date,
): Promise<CallEvaluation> {
  const { decision } = evaluation;
  if (decision.effect !== 'approve') return evaluation;
  const about = aboutCallTo(session, aboutCall(tool), shownArguments(args, digest));
  const full = (await countWaiting(store, session.id)) >= maxWaiting;
  const asked = full || askLimits === undefined ? null : await spared(store, askLimits, about, now);
  const why: Reason | null = full ? { code: 'too_many_waiting' } : asked;
  if (why === null) return evaluation;
  const reasons: Reason[] = [why, ...decision.reasons];
  return { ...evaluation, decision: { ...decision, effect: 'deny', reasons } };
}

/** What people are asked because of the call; null = nothing. */
async function asksPeople(
  deps: ActionDeps,
  manifest: Manifest,
  session: SessionFacts,
  request: ActionRequest,
  call: CallFacts,
  { decision, hits }: { decision: CallDecision; hits: readonly string[] },
  { shown, cells }: { shown: JsonObject; cells: Cells },
  because: AskedBecause,
): Promise<AsksPeople | null> {
  const channels = deps.noticeChannels;
  if (decision.effect === 'approve') {
    const origins = originsOf(manifest, session.task, call, cells, deps.digest);
    const about = { shown, origins };
    const question = await questionAboutCall(
      deps,
      manifest,
      session,
      request,
      call,
      { hits, decision },
      about,
      because,
    );
    return { question, channels, restraint: null, took: null };
  }
  return restraintBy(
    deps,
    manifest,
    session,
    decision.effect,
    { asked: `tool:${request.tool}`, args: request.args, hits, reasons: decision.reasons },
    because,
  );
}

export const cellsOf = (session: SessionFacts): Cells =>
  new Map(
    session.cells.map(({ scope, cell, state, version }) => [
      `${scope}/${cell}`,
      { state: state as Cell['state'], version },
    ]),
  );

export function digestOf({ tool, args, costMicroUsd }: ActionRequest): string {
  return `sha256:${hash('sha256', canonicalize({ tool, args, cost: costMicroUsd })!, 'hex')}`;
}
