/**
 * One tool call, or one grant: arguments → facts, history → hits, Cedar's decision, and what history is
 * afterwards. Pure: the cells come in, and the new ones go out.
 *
 * 1. `cellsFor` says which cells of history a call looks at or moves.
 * 2. `evaluateCall` decides and moves them on.
 * 3. When the outcome is reported, `finishCall` (outcome.ts) moves them on again.
 */
import type { JsonObject, Task } from '../core/vocabulary.ts';
import { type CallDecision, decideCall } from '../decide/decide-call.ts';
import { argumentsOutside, destinationsOf, entityOf, isNamed, knownDestinations } from '../manifests/call-arguments.ts';
import type { PublishedManifest } from '../manifests/compile.ts';
import { type CallFacts, compiledCalls, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { EventKind } from '../manifests/tool-schema.ts';
import {
  type CellRef,
  type Cells,
  type CellWrite,
  cellKey,
  type Digest,
  labelsCell,
  labelsIn,
  labelWrite,
  trackerCell,
  unique,
} from './cells.ts';
import { advance, type CellState, happened, keysOf } from './monitors.ts';
import {
  type CallSession,
  clausesOf,
  lookedAt,
  ruleHolds,
  rulesFor,
  type Scene,
  touches,
  trackerCells,
  untold,
} from './rules.ts';

/** What the agent's host asks for. */
export interface Call {
  tool: string;
  args: JsonObject;
  /** Estimate of the host, in millionths of a US dollar; null = as the manifest says. */
  costMicroUsd: number | null;
}

export interface CallEvaluation {
  decision: CallDecision;
  hits: string[];
  facts: CallFacts;
  writes: CellWrite[];
}

export function callFacts(manifest: Manifest, task: Task, asked: Call): CallFacts {
  const { tool, args, costMicroUsd } = asked;
  const listed = toolOf(manifest, tool);
  if (listed === undefined) return unlisted(asked);
  const destinations = destinationsOf(listed, args);
  const known = knownDestinations(manifest, task.inputs);
  return {
    tool,
    capability: null,
    args,
    entity: entityOf(listed, args),
    destinations,
    unknownDestinations: destinations.filter((destination) => !isNamed(destination, known)),
    sensitivity: listed.sensitivity,
    labels: listed.labels,
    costMicroUsd: costMicroUsd ?? listed.cost_usd,
  };
}

/** Whether any rule looks at the call, or remembers it. */
export const concernsHistory = (manifest: Manifest, call: CallFacts): boolean =>
  rulesFor(manifest, call).length > 0 || compiledCalls(manifest).trackers.some((tracker) => touches(tracker, call));

/** Every cell that deciding on the call, or its event, looks at. */
export function cellsFor(manifest: Manifest, task: Task, call: CallFacts, digest: Digest): CellRef[] {
  const moved = compiledCalls(manifest).trackers.filter((tracker) => touches(tracker, call));
  return unique([labelsCell, ...lookedAt(manifest, task, call, digest), ...trackerCells(moved, call, digest)]);
}

/** Decides on a call and says what history is after it. Every cell of `cellsFor` is among `cells`. */
export function evaluateCall(
  published: PublishedManifest,
  session: CallSession,
  asked: Call,
  call: CallFacts,
  cells: Cells,
  now: Date,
  digest: Digest,
): CallEvaluation {
  const { manifest } = published.compiled;
  const tool = toolOf(manifest, asked.tool);
  const scene = sceneOf(manifest, session, call, cells, now, digest);
  const found = rulesFor(manifest, call).map((rule) => ({ rule: rule.id, verdict: ruleHolds(rule, scene) }));
  const hits = found.filter(({ verdict }) => verdict === true).map(({ rule }) => rule);
  const missing = found.flatMap(({ rule, verdict }) =>
    typeof verdict === 'object' ? [{ rule, path: verdict.lacks }] : [],
  );
  const outside = tool === undefined ? [] : argumentsOutside(tool, asked.args, session.task.inputs);
  const decision = decideCall(
    {
      agent: session.agent,
      manifest_version: published.version,
      task: session.task,
      tool: asked.tool,
      entity: call.entity,
      outside: outside.filter((name) => !name.startsWith('unexpected ')),
      unexpected: outside.some((name) => name.startsWith('unexpected ')),
      hits,
      missing: missing.length > 0 ? missing : untold(manifest, call),
    },
    published.compiled,
  );
  const allowed = decision.effect === 'allow';
  const moves = moved(scene, ['attempt', allowed ? 'call' : 'denied']);
  const labelled = allowed ? labelWrite(cells, call.labels, scene.moment) : [];
  return { decision, hits, facts: call, writes: [...moves, ...labelled, ...untouched(scene, [...moves, ...labelled])] };
}

/** What there is to know of an action that no tool of the manifest tells more about. */
const bareFacts = {
  entity: null,
  destinations: [],
  unknownDestinations: [],
  sensitivity: 0,
  labels: [],
  costMicroUsd: 0,
};

/** A tool that is not listed is an attempt all the same: rules about everything see it. */
const unlisted = ({ tool, args }: Call): CallFacts => ({ ...bareFacts, tool, capability: null, args });

/** A grant is an action too: what rules and trackers see of it. */
export const grantFacts = (capability: string, params: JsonObject): CallFacts => ({
  ...bareFacts,
  tool: null,
  capability,
  args: params,
});

/** The rules whose conditions hold for a grant, before it is decided on. */
export function hitsOnGrant(
  manifest: Manifest,
  session: CallSession,
  call: CallFacts,
  cells: Cells,
  now: Date,
  digest: Digest,
): string[] {
  const scene = sceneOf(manifest, session, call, cells, now, digest);
  return (
    rulesFor(manifest, call)
      // What a rule cannot compare stands against the grant, as it does against a call.
      .filter((rule) => ruleHolds(rule, scene) !== false)
      .map(({ id }) => id)
  );
}

/**
 * What history is after a grant.
 * @param kinds `attempt` when it is asked for, `call` once it is to be issued
 * @param sessionToo whether what was looked at in the session must be held still too
 */
export function movesOfGrant(
  manifest: Manifest,
  session: CallSession,
  call: CallFacts,
  kinds: readonly EventKind[],
  cells: Cells,
  now: Date,
  digest: Digest,
  sessionToo = false,
): CellWrite[] {
  const scene = sceneOf(manifest, session, call, cells, now, digest);
  const moves = moved(scene, kinds);
  return [...moves, ...untouched(scene, moves, sessionToo)];
}

const sceneOf = (
  manifest: Manifest,
  session: CallSession,
  call: CallFacts,
  cells: Cells,
  now: Date,
  digest: Digest,
): Scene => ({
  manifest,
  session,
  call,
  cells,
  digest,
  moment: { now: now.getTime(), rootId: session.rootId },
  labels: labelsIn(cells),
});

/** Trackers that the event moves, with their new states. */
function moved({ manifest, call, cells, digest, moment }: Scene, kinds: readonly EventKind[]): CellWrite[] {
  return compiledCalls(manifest)
    .trackers.filter((tracker) => touches(tracker, call))
    .flatMap((tracker) =>
      (keysOf(tracker, call) ?? []).flatMap((key): CellWrite[] => {
        const ref = trackerCell(tracker, key, digest);
        const { state, version } = cells.get(cellKey(ref)) ?? { state: null, version: 0 };
        const before = state as CellState | null;
        const is = happened(tracker, call, kinds);
        const after = advance(tracker, before, is, call.costMicroUsd, moment);
        return after === before ? [] : [{ ...ref, state: after, version, is }];
      }),
    );
}

/**
 * What was looked at beyond the session and is not changed: written as it is, so that two sessions that each
 * looked before the other wrote cannot both go on. Within a session the session's own version holds that.
 */
function untouched(
  { manifest, call, cells, digest }: Scene,
  writes: readonly CellWrite[],
  sessionToo = false,
): CellWrite[] {
  const written = new Set(writes.map(cellKey));
  const trackers = rulesFor(manifest, call)
    .flatMap(clausesOf)
    .flatMap(({ sequence }) => sequence.map(({ tracker }) => tracker))
    .filter(({ scope }) => sessionToo || scope !== 'session');
  return unique(trackerCells(trackers, call, digest))
    .filter((ref) => !written.has(cellKey(ref)))
    .map((ref) => ({ ...ref, ...(cells.get(cellKey(ref)) ?? { state: null, version: 0 }) }));
}
