/** How a tool call came out, what it cost and what it touched, as the agent's host reports it. */
import { hash } from 'node:crypto';
import { eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Json } from '../core/vocabulary.ts';
import { compiledCalls, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { hasCells, rereadSession, type SessionFacts, type SessionReads } from '../sessions/authenticate.ts';
import { untilSettled } from '../sessions/session-lock.ts';
import type { CellRef } from './cells.ts';
import { revokeIfLeaked } from './leaked-credential.ts';
import { storedWrites } from './move-cells.ts';
import { type Awaited, finishCall, type Outcome, reportedCells } from './outcome.ts';
import { type ActionDeps, cellsOf } from './request-action.ts';
import { returnedWords } from './returned-words.ts';
import { shownValue } from './shown-arguments.ts';
import { recordOutcome } from './statements.ts';

/** The report, checked for shape. */
export interface Report {
  outcome: 'response' | 'error';
  labels: readonly string[];
  /** What it really cost; null = as was estimated. */
  costMicroUsd: number | null;
  /** What it turned out to touch. */
  entities: readonly string[];
  /** The output itself, where the host sends it: looked at for its words, and not kept. */
  output: string | null;
  /** Whether `output` is only its beginning. */
  truncated: boolean;
  /** The same as JSON, where the host has it: its fields may differ in who writes them. Not kept either. */
  structured: Json;
  /** Digest of the output, where the host keeps it. */
  outputDigest: string | null;
}

/**
 * What a report wants to know before its action is known: as of a tool whose output is anybody's, under the
 * manifest that this process last saw in force. What it lacks then is read again.
 */
export async function finishReads(
  { catalog, digest }: ActionDeps,
  agent: string,
  actionId: string,
  report: Report,
): Promise<SessionReads> {
  const published = (await catalog.lastSeen(agent)) ?? (await catalog.current(agent));
  if (published === null) return { actionId, cells: [] };
  const { manifest } = published.compiled;
  const cells = reportedCells(manifest, { tool: null, awaited: [] }, outcomeOf(manifest, null, report), digest);
  return { actionId, cells, owner: manifest.owner };
}

function outcomeOf(manifest: Manifest, tool: string | null, report: Report): Outcome {
  const { outcome, labels, costMicroUsd, entities } = report;
  const words = compiledCalls(manifest).looksAtOrigin
    ? returnedWords(report, tool === null ? undefined : toolOf(manifest, tool))
    : { words: [], moreWords: false, vouchedWords: [] };
  return { outcome, labels, costMicroUsd, entities, ...words };
}

/**
 * Writes the outcome of a call, once: a second report of the same outcome changes nothing.
 * @throws WritError `not_found` (no such call of this session), `conflict` (another outcome is on record, or
 *   the call was never allowed)
 */
export async function finishAction(
  deps: ActionDeps,
  session: SessionFacts,
  actionId: string,
  report: Report,
  requestId: string | null,
): Promise<void> {
  if (session.action !== null) {
    const came = { output: report.output, structured: report.structured };
    const seen = { tool: session.action.tool, seen_in: 'output' } as const;
    await revokeIfLeaked(deps, session, came, seen, requestId);
  }
  await untilSettled(session.rootId, async (stale) =>
    (await finishOnce(deps, session, actionId, report, stale, requestId)) ? true : null,
  );
}

async function finishOnce(
  deps: ActionDeps,
  admitted: SessionFacts,
  actionId: string,
  report: Report,
  stale: boolean,
  requestId: string | null,
): Promise<boolean> {
  const action = admitted.action;
  if (action === null) throw new WritError('not_found');
  const { manifest } = (await deps.catalog.version(admitted.agent, action.manifest_version)).compiled;
  const { costMicroUsd, entities } = report;
  const outcome = outcomeOf(manifest, action.tool, report);
  const called = {
    tool: action.tool,
    costMicroUsd: action.cost_micro_usd,
    askedAt: action.asked_at,
    rootId: admitted.rootId,
    awaited: action.awaited as unknown as Awaited[],
  };
  const cells: CellRef[] = reportedCells(manifest, called, outcome, deps.digest);
  const reads = { actionId, cells, owner: manifest.owner };
  const session =
    stale || !hasCells(admitted, reads) ? await rereadSession(deps.store, admitted, deps.clock.now(), reads) : admitted;
  if (session.action === null || session.action.effect !== 'allow')
    throw new WritError('conflict', { detail: 'The call was not allowed; there is nothing to report.' });
  if (session.action.outcome !== null) {
    if (session.action.outcome === report.outcome) return true;
    throw new WritError('conflict', { detail: 'Another outcome of this call is on record.' });
  }
  const now = deps.clock.now();
  const writes = finishCall(manifest, called, outcome, cellsOf(session), now, deps.digest);
  const outputDigest =
    report.outputDigest ?? (report.output === null ? null : `sha256:${hash('sha256', report.output, 'hex')}`);
  const shown = entities.map((entity) => shownValue(entity, deps.digest));
  const written = await recordOutcome(
    deps.store,
    { sessionId: session.id, rootId: session.rootId, version: session.version, at: now },
    {
      id: actionId,
      outcome: report.outcome,
      labels: report.labels,
      outputDigest,
      costMicroUsd,
      entities: shown,
      requestId,
      audit: eventPayload('action.finished', {
        action_id: actionId,
        tool: action.tool,
        outcome: report.outcome,
        labels: [...report.labels],
        output_digest: outputDigest,
        ...(costMicroUsd === null ? {} : { cost_micro_usd: costMicroUsd }),
        ...(shown.length === 0 ? {} : { entities: shown }),
      }),
    },
    storedWrites(writes, session, manifest),
  );
  if (written) deps.observer?.finished({ session, id: actionId, outcome, at: now });
  return written;
}
