/**
 * A tool call, from what the agent's host sends to the decision on record. One flow; what it may cost is one
 * read (the one that admits the session) and one write.
 */
import { createHmac, hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Clock, Json, JsonObject, Reason } from '../core/vocabulary.ts';
import type { Catalog } from '../manifests/catalog.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import {
  hasCells,
  rereadSession,
  type SessionFacts,
  type SessionReads,
  type StoredAction,
} from '../sessions/authenticate.ts';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import { untilSettled } from '../sessions/session-lock.ts';
import type { Store } from '../store/open.ts';
import type { Cell, CellRef, Cells, Digest } from './cells.ts';
import { type Call, callFacts, cellsFor, evaluateCall } from './evaluate-call.ts';
import { storedWrites } from './move-cells.ts';
import type { DecisionObserver } from './observer.ts';
import { awaitedOutcome } from './outcome.ts';
import { recordAction } from './statements.ts';

export interface ActionDeps extends EndSessionDeps {
  store: Store;
  clock: Clock;
  catalog: Catalog;
  /** Keyed: what is low in entropy cannot be guessed from the database. */
  digest: Digest;
  /** Told of what was decided, once it is on record. */
  observer?: DecisionObserver;
}

/** @param key for this use only (`keys/key-encryption-key.ts`) */
export const keyedDigest =
  (key: Uint8Array): Digest =>
  (text) =>
    createHmac('sha256', key).update(text).digest('base64url').slice(0, 22);

export interface ActionRequest extends Call {
  /** The host's own id of the call: the same id and call again is the same action. */
  callId: string | null;
  /** What prompted it, as the host names it. */
  promptedBy: string | null;
}

export interface ActionAnswer {
  actionId: string;
  effect: 'allow' | 'deny' | 'terminate';
  reasons: Reason[];
  policyIds: string[];
  manifestVersion: number;
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
    ...(request.callId === null ? {} : { callKey: callKeyOf(request.callId) }),
  };
}

const callKeyOf = (callId: string): string => `sha256:${hash('sha256', callId, 'hex')}`;

/**
 * Decides on a tool call and writes it down.
 * 1. Calls of one session tree are decided one after another; one that lost a race is decided again, on what
 *    is true now.
 * 2. The same id again is the same call.
 * 3. Evaluate: arguments → facts, history → hits → Cedar's decision.
 * 4. The call, its audit row and what history is after it: one statement.
 * 5. A call that ends the session ends it, and what it holds is revoked.
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
    return decideOnce(deps, known, published, request, requestDigest, requestId);
  });

  // 5.
  if (answer.effect === 'terminate') {
    const now = deps.clock.now();
    await endSession(deps, {
      sessionId: session.rootId,
      reason: 'ended_by_rule',
      actor: 'system',
      requestId,
      now,
    });
  }
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
  const now = deps.clock.now();
  // 2.
  if (session.action !== null) return repeated(session.action, requestDigest);

  // 3.
  const call = callFacts(manifest, session.task, request);
  const [refs, cells] = [(session.cellsAskedFor.cells ?? []) as readonly CellRef[], cellsOf(session)];
  const { decision, hits, writes } = evaluateCall(published, session, request, call, cells, now, deps.digest);

  // 4.
  const id = newId('act', now);
  const { effect, reasons, policy_ids } = decision;
  const shown = shownArguments(request.args, deps.digest);
  const labels = effect === 'allow' ? [...call.labels] : [];
  const written = await recordAction(
    deps.store,
    { sessionId: session.id, rootId: session.rootId, version: session.version, at: now },
    {
      id,
      agent: session.agent,
      tool: request.tool,
      arguments: shown,
      callKey: request.callId === null ? id : callKeyOf(request.callId),
      requestDigest,
      effect,
      decision: { ...decision, hits },
      manifestVersion: published.version,
      costMicroUsd: call.costMicroUsd,
      awaited: effect === 'allow' ? awaitedOutcome(manifest, call, deps.digest) : [],
      labels,
      requestId,
      audit: eventPayload('action.allowed', {
        action_id: id,
        tool: request.tool,
        arguments: shown,
        effect,
        reasons,
        policy_ids,
        hits,
        labels,
        cost_micro_usd: effect === 'allow' ? call.costMicroUsd : 0,
        manifest_version: published.version,
        ...(request.promptedBy === null ? {} : { prompted_by: request.promptedBy }),
      }),
    },
    storedWrites(writes, session, manifest),
  );
  if (!written) return null;
  deps.observer?.called({ session, published, looked: { refs, cells }, call: request, id, effect, reasons, at: now });
  return { actionId: id, effect, reasons, policyIds: policy_ids, manifestVersion: published.version };
}

export const cellsOf = (session: SessionFacts): Cells =>
  new Map(
    session.cells.map(({ scope, cell, state, version }) => [
      `${scope}/${cell}`,
      { state: state as Cell['state'], version },
    ]),
  );

function repeated(action: StoredAction, requestDigest: string): ActionAnswer {
  if (action.request_digest !== requestDigest) throw new WritError('idempotency_mismatch');
  // Made and over: what was allowed then would be allowed again, whatever has been since.
  if (action.outcome !== null)
    throw new WritError('idempotency_mismatch', { detail: 'The call is over; another one needs an id of its own.' });
  const { effect, reasons, policy_ids } = action.decision as unknown as {
    effect: ActionAnswer['effect'];
    reasons: Reason[];
    policy_ids: string[];
  };
  return {
    actionId: action.id,
    effect,
    reasons,
    policyIds: policy_ids,
    manifestVersion: action.manifest_version,
  };
}

function digestOf({ tool, args, costMicroUsd }: ActionRequest): string {
  return `sha256:${hash('sha256', canonicalize({ tool, args, cost: costMicroUsd })!, 'hex')}`;
}

/** Characters of a text that its preview shows. */
const previewed = 2;
/** Arguments that are shown one by one; a call with more is shown by its digest alone. */
const maxShown = 64;

/**
 * Arguments as they are kept: of each its type, a keyed digest, and for texts the length and the first two
 * characters. Never the value.
 */
export function shownArguments(args: JsonObject, digest: Digest): JsonObject {
  const entries = Object.entries(args);
  const digestOfValue = (value: Json) => digest(canonicalize(value) ?? 'null');
  if (entries.length > maxShown) return { '*': { type: 'object', digest: digestOfValue(args) } };
  return Object.fromEntries(
    entries.map(([name, value]) => {
      const type = value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value;
      const size =
        typeof value === 'string' ? { length: value.length, begins: [...value].slice(0, previewed).join('') } : {};
      return [name, { type, digest: digestOfValue(value), ...size }];
    }),
  );
}
