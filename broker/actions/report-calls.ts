/**
 * Calls that the agent's host made without asking, on the strength of a snapshot, and reports afterwards.
 * Each is put on record and decided on as if it were asked for now: it can be denied no more, but what a rule
 * does to the session by it is done. Whatever is reported is on record, also what no snapshot allowed.
 */
import type { Uncovered } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { recordedReference } from '../core/looks-secret.ts';
import type { Reason } from '../core/vocabulary.ts';
import type { CallEffect } from '../decide/effects.ts';
import { argumentsOutside } from '../manifests/call-arguments.ts';
import { toolOf } from '../manifests/compile-calls.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { finishAction, finishReads, type Report } from './finish-action.ts';
import { revokeIfLeaked } from './leaked-credential.ts';
import {
  type ActionDeps,
  type ActionRequest,
  callKeyOf,
  digestOf,
  type ReportedAs,
  reportedPayload,
  requestAction,
} from './request-action.ts';
import { shownArguments } from './shown-arguments.ts';
import { readSnapshot, type SignedSnapshot, type SnapshotSigning, signSnapshot } from './sign-snapshot.ts';
import { snapshotTools } from './snapshot.ts';
import { recordLateReport } from './statements.ts';

export interface SnapshotDeps extends ActionDeps, SnapshotSigning {}

/** What the host says of one call. */
export interface ReportedCall extends Omit<ActionRequest, 'callId' | 'actionId' | 'reported'> {
  callId: string;
  madeAt: Date;
  /** How it came out, as far as that is known. */
  report: Report | null;
}

export interface ReportAnswer {
  callId: string;
  actionId: string | null;
  effect: CallEffect | null;
  /** Why it is not on record. */
  error: string | null;
}

/** How far the host's clock may be from ours, as far as it counts, in seconds. */
const skewSeconds = 5;

/** The snapshot that a session is given now; null = none. */
export async function snapshotFor(deps: SnapshotDeps, session: SessionFacts) {
  const { compiled, version } = await deps.catalog.inForce(session.agent, session.currentManifestVersion);
  const tools = snapshotTools(compiled.manifest, session.task, session.facts.withheld);
  return signSnapshot(deps, session, version, tools);
}

/**
 * @param snapshot as it was given
 * @throws WritError `conflict`, `unavailable`: then those before it are on record, and all may be sent again
 */
export async function reportCalls(
  deps: SnapshotDeps,
  session: SessionFacts,
  snapshot: string,
  calls: readonly ReportedCall[],
  requestId: string | null,
): Promise<ReportAnswer[]> {
  const held = await readSnapshot(deps, session, snapshot);
  const answers: ReportAnswer[] = [];
  for (const call of calls) {
    const { callId } = call;
    try {
      answers.push({ callId, ...(await reportOne(deps, session, held, call, requestId)), error: null });
    } catch (error) {
      if (!(error instanceof WritError) || error.code !== 'idempotency_mismatch') throw error;
      answers.push({ callId, actionId: null, effect: null, error: error.code });
    }
  }
  return answers;
}

async function reportOne(
  deps: SnapshotDeps,
  admitted: SessionFacts,
  held: SignedSnapshot | null,
  call: ReportedCall,
  requestId: string | null,
) {
  const { report, madeAt, ...asked } = call;
  const seen = await rereadSession(deps.store, admitted, deps.clock.now(), { allowEnded: true });
  const uncovered = await uncoveredBecause(deps, seen, held, call);
  const reported: ReportedAs = { snapshot: held?.jti ?? null, madeAt, uncovered };
  const request: ActionRequest = { ...asked, actionId: null, reported };
  const done = await decided(deps, seen, request, call, reported, requestId);
  if (uncovered.length > 0 || done.effect !== 'allow')
    deps.log.error(
      {
        alert: 'call_not_allowed',
        agent: seen.agent,
        session: seen.id,
        tool: recordedReference(call.tool),
        uncovered,
        effect: done.effect,
      },
      'a call was made that would not have been allowed',
    );
  if (report !== null && done.effect === 'allow') await finish(deps, admitted, done.actionId, report, requestId);
  return done;
}

/** Decided on with its history while the session lives, and without it when it does not. */
async function decided(
  deps: SnapshotDeps,
  session: SessionFacts,
  request: ActionRequest,
  { callId }: ReportedCall,
  reported: ReportedAs,
  requestId: string | null,
): Promise<{ actionId: string; effect: CallEffect }> {
  if (session.status === 'active') {
    const key = callKeyOf(callId);
    try {
      const known = await rereadSession(deps.store, session, deps.clock.now(), { callKey: key });
      const { actionId, effect } = await requestAction(deps, known, request, requestId);
      return { actionId, effect };
    } catch (error) {
      if (!(error instanceof WritError) || !/^session_/.test(error.code)) throw error;
      // It ended meanwhile.
      const now = await rereadSession(deps.store, session, deps.clock.now(), { allowEnded: true });
      if (now.status === 'active') throw error;
      return late(deps, now, request, callId, reported, requestId);
    }
  }
  return late(deps, session, request, callId, reported, requestId);
}

async function late(
  deps: SnapshotDeps,
  session: SessionFacts,
  request: ActionRequest,
  callId: string,
  reported: ReportedAs,
  requestId: string | null,
): Promise<{ actionId: string; effect: CallEffect }> {
  const tool = recordedReference(request.tool);
  const where = { tool, seen_in: 'arguments' } as const;
  await revokeIfLeaked(deps, session, request.args, where, requestId);
  const now = deps.clock.now();
  const id = newId('act', now);
  const reasons: Reason[] = [{ code: session.status === 'suspended' ? 'session_suspended' : 'session_ended' }];
  const decision = { effect: 'deny' as const, reasons, policy_ids: [] };
  const shown = shownArguments(request.args, deps.digest);
  const manifestVersion = session.currentManifestVersion;
  const written = await recordLateReport(
    deps.store,
    { sessionId: session.id, at: now },
    {
      id,
      tool,
      arguments: shown,
      callKey: callKeyOf(callId),
      requestDigest: digestOf(request),
      decision: { ...decision, hits: [], manifest_version: manifestVersion },
      manifestVersion,
      requestId,
      audit: reportedPayload(
        {
          ...decision,
          action_id: id,
          tool,
          arguments: shown,
          hits: [],
          labels: [],
          cost_micro_usd: 0,
          manifest_version: manifestVersion,
        },
        reported,
      ),
    },
  );
  if (written) return { actionId: id, effect: 'deny' };
  const known = await rereadSession(deps.store, session, now, { callKey: callKeyOf(callId), allowEnded: true });
  if (known.action?.request_digest !== digestOf(request)) throw new WritError('idempotency_mismatch');
  return { actionId: known.action.id, effect: known.action.effect as CallEffect };
}

/** Why the snapshot did not allow the call. */
async function uncoveredBecause(
  { catalog, clock }: SnapshotDeps,
  session: SessionFacts,
  held: SignedSnapshot | null,
  { tool, args, madeAt }: ReportedCall,
): Promise<Uncovered[]> {
  const made = madeAt.getTime() / 1000;
  const over = endOf(session, clock.now());
  const after: Uncovered[] = over !== null && madeAt > over ? ['after_the_end'] : [];
  if (held === null) return ['no_snapshot', ...after];
  const outside: Uncovered[] = [];
  const now = clock.now().getTime() / 1000;
  if (made < held.iat - skewSeconds || made > Math.min(held.exp, now) + skewSeconds) outside.push('outside_its_life');
  if (!held.tools.some(({ name }) => name === tool)) outside.push('tool_not_in_it');
  else {
    // What it said of arguments is what that version of the manifest says.
    const { manifest } = (await catalog.version(session.agent, held.manifest_version)).compiled;
    const listed = toolOf(manifest, tool);
    if (listed === undefined || argumentsOutside(listed, args, session.task.inputs).length > 0)
      outside.push('argument_outside');
  }
  return [...outside, ...after];
}

/** When the session came to its end; null = it lives, or is suspended. */
function endOf({ status, endedAt, expiresAt, heartbeatDeadline }: SessionFacts, now: Date): Date | null {
  if (status !== 'ended') return null;
  return [endedAt ?? now, expiresAt, heartbeatDeadline].reduce((first, at) => (at < first ? at : first));
}

/** An outcome that is on record already, or comes when the session has ended, changes nothing. */
async function finish(
  deps: SnapshotDeps,
  admitted: SessionFacts,
  actionId: string,
  report: Report,
  requestId: string | null,
): Promise<void> {
  try {
    const reads = await finishReads(deps, admitted.agent, actionId, report);
    const session = await rereadSession(deps.store, admitted, deps.clock.now(), reads);
    await finishAction(deps, session, actionId, report, requestId);
  } catch (error) {
    if (!(error instanceof WritError) || !/^(?:session_|conflict$)/.test(error.code)) throw error;
  }
}
