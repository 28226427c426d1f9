/**
 * One tool call, or one grant: arguments → facts, history → hits, Cedar's decision, and what history is
 * afterwards. Pure: the cells come in, and the new ones go out.
 *
 * 1. `cellsFor` says which cells of history a call looks at or moves.
 * 2. `evaluateCall` decides and moves them on.
 * 3. When the outcome is reported, `finishCall` (outcome.ts) moves them on again.
 */
import { userText, type VouchedPerson } from '../core/identifier.ts';
import type { JsonObject, Task } from '../core/vocabulary.ts';
import { type CallDecision, decideCall } from '../decide/decide-call.ts';
import type { CallEffect } from '../decide/effects.ts';
import { argumentsOutside, destinationsOf, entityOf, isNamed, knownDestinations } from '../manifests/call-arguments.ts';
import { callFactValues } from '../manifests/call-facts.ts';
import { callPart } from '../manifests/call-policies.ts';
import type { PublishedManifest } from '../manifests/compile.ts';
import { type CallFacts, compiledCalls, type Tracker, toolOf } from '../manifests/compile-calls.ts';
import { type Manifest, member } from '../manifests/manifest.ts';
import type { EventKind, Tool } from '../manifests/tool-schema.ts';
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
import { lineageCells, lineageWrites, touchedLabels, writesTo } from './lineage.ts';
import { advance, type CellState, correct, type Happened, happened, keysOf, takes } from './monitors.ts';
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
  /** Where it comes from; absent or null = nobody knows. */
  address?: string | null;
  /** A credential that Writ issued stands in its arguments: found by whoever can look for one. */
  holdsCredential?: boolean;
}

export interface CallEvaluation {
  decision: CallDecision;
  hits: string[];
  facts: CallFacts;
  /** Labels of what comes back, as far as they are known by now. */
  labels: string[];
  writes: CellWrite[];
}

export function callFacts(manifest: Manifest, task: Task, asked: Call): CallFacts {
  const { tool, args, costMicroUsd, address = null } = asked;
  const listed = toolOf(manifest, tool);
  if (listed === undefined) return unlisted(asked);
  const destinations = destinationsOf(listed, args);
  const known = knownDestinations(manifest, task.inputs);
  return {
    ...bareFacts,
    tool,
    capability: null,
    args,
    entity: entityOf(listed, args),
    destinations,
    unknownDestinations: destinations.filter((destination) => !isNamed(destination, known)),
    sensitivity: listed.sensitivity,
    labels: listed.labels,
    costMicroUsd: costMicroUsd ?? listed.cost_usd,
    family: listed.entity === undefined ? null : familyOf(listed.entity),
    address,
  };
}

/** Whether any rule looks at the call, or remembers it. */
export const concernsHistory = (manifest: Manifest, call: CallFacts): boolean =>
  rulesFor(manifest, call).length > 0 || compiledCalls(manifest).trackers.some((tracker) => touches(tracker, call));

/** Every cell that deciding on the call, or its event, looks at. */
export function cellsFor(manifest: Manifest, task: Task, call: CallFacts, digest: Digest): CellRef[] {
  const moved = compiledCalls(manifest).trackers.filter((tracker) => touches(tracker, call));
  const lineage = lineageCells(manifest, call, digest);
  return unique([
    labelsCell,
    ...lineage,
    ...lookedAt(manifest, task, call, digest),
    ...trackerCells(moved, call, digest),
  ]);
}

/**
 * Decides on a call and says what history is after it. Every cell of `cellsFor` is among `cells`.
 * @param consent rules about which a person agreed to this very call; null = nobody was asked. A call that
 *   was asked about stands in history as an attempt already
 * @param made it was made already, without being asked for: nobody can deny it any more, nor be asked. Where
 *   it would not have been allowed, it counts for what stands against later calls, and for nothing that lets
 *   one pass
 */
export function evaluateCall(
  published: PublishedManifest,
  session: CallSession,
  asked: Call,
  call: CallFacts,
  cells: Cells,
  now: Date,
  digest: Digest,
  consent: readonly string[] | null = null,
  made = false,
): CallEvaluation {
  const { manifest } = published.compiled;
  const tool = toolOf(manifest, asked.tool);
  const scene = sceneOf(manifest, session, call, cells, now, digest, consent === null ? firstAsked : askedAgain);
  // A rule that cannot be evaluated lets nothing through.
  const found = rulesFor(manifest, call)
    .map((rule) => ({ rule: rule.id, effect: rule.effect, verdict: ruleHolds(rule, scene) }))
    .filter(({ effect, verdict }) => effect !== 'allow' || verdict === true);
  const hits = found.filter(({ verdict }) => verdict === true).map(({ rule }) => rule);
  const missing = found.flatMap(({ rule, verdict }) =>
    typeof verdict === 'object' ? [{ rule, path: verdict.lacks }] : [],
  );
  if (call.entity === null && writesTo(manifest, call)) missing.push({ rule: 'lineage', path: 'entity' });
  const team = teamFacts(scene, tool);
  if (team !== null && 'lacks' in team) missing.push({ rule: 'cedar', path: team.lacks });
  const outside = tool === undefined ? [] : argumentsOutside(tool, asked.args, session.task.inputs);
  const decided = decideCall(
    {
      agent: session.agent,
      manifest_version: published.version,
      task: session.task,
      tool: asked.tool,
      entity: call.entity,
      outside: outside.filter((name) => !name.startsWith('unexpected ')),
      unexpected: outside.some((name) => name.startsWith('unexpected ')),
      hits,
      approved: consent ?? [],
      withheld: session.facts.withheld,
      missing: missing.length > 0 ? missing : untold(manifest, call),
      holdsCredential: asked.holdsCredential === true,
      ...(team !== null && 'values' in team ? { team: team.values } : {}),
    },
    published.compiled,
  );
  const decision: CallDecision = made && decided.effect === 'approve' ? { ...decided, effect: 'deny' } : decided;
  const allowed = decision.effect === 'allow' || made;
  const moves = moved(scene, [...(consent === null ? ['attempt' as const] : []), ...cameOf(decision.effect)], made);
  const labels = allowed ? [...new Set([...call.labels, ...touchedLabels(manifest, call, cells, digest)])] : [];
  const labelled = labelWrite(cells, labels, scene.moment);
  const lineage = allowed ? lineageWrites(manifest, call, scene.labels, cells, scene.moment, digest) : [];
  const writes = [...moves, ...labelled, ...lineage];
  return { decision, hits, facts: call, labels, writes: [...writes, ...untouched(scene, writes)] };
}

/** What it is an event of besides an attempt: nothing as long as a person is asked. */
const cameOf = (effect: CallEffect): EventKind[] =>
  effect === 'allow' ? ['call'] : effect === 'approve' ? [] : ['denied'];

/** What a call that is decided on would add to counts. */
const firstAsked: readonly EventKind[] = ['attempt', 'call'];
/** One that a person was asked about counts as an attempt already. */
const askedAgain: readonly EventKind[] = ['call'];

/** What there is to know of an action that no tool of the manifest tells more about. */
const bareFacts = {
  entity: null,
  destinations: [],
  unknownDestinations: [],
  sensitivity: 0,
  labels: [],
  costMicroUsd: 0,
  provider: null,
  tier: null,
  family: null,
  address: null,
};

/** `order` of `order:${args.id}`; what is filled in is no family. */
const familyOf = (entity: string): string | null => /^([^:$]+):/.exec(entity)?.[1] ?? null;

/** A tool that is not listed is an attempt all the same: rules about everything see it. */
const unlisted = ({ tool, args, address = null }: Call): CallFacts => ({
  ...bareFacts,
  tool,
  capability: null,
  args,
  address,
});

/** A grant is an action too: what rules and trackers see of it. */
export function grantFacts(
  manifest: Manifest,
  capability: string,
  params: JsonObject,
  address: string | null,
): CallFacts {
  const { provider = null, tier = null } = member(manifest.capabilities, capability) ?? {};
  return { ...bareFacts, tool: null, capability, args: params, provider, tier, family: provider, address };
}

/**
 * The rules whose conditions hold for a grant, before it is decided on.
 * @param again whether it stands in history as an attempt already
 */
export function hitsOnGrant(
  manifest: Manifest,
  session: CallSession,
  call: CallFacts,
  cells: Cells,
  now: Date,
  digest: Digest,
  again = false,
): string[] {
  const scene = sceneOf(manifest, session, call, cells, now, digest, again ? askedAgain : firstAsked);
  return (
    rulesFor(manifest, call)
      // What a rule cannot compare stands against the grant, as it does against a call; and lets none
      // through.
      .filter((rule) => (rule.effect === 'allow' ? ruleHolds(rule, scene) === true : ruleHolds(rule, scene) !== false))
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
  const scene = sceneOf(manifest, session, call, cells, now, digest, firstAsked);
  const moves = moved(scene, kinds);
  return [...moves, ...untouched(scene, moves, sessionToo)];
}

/**
 * Cells as if a grant had not been counted: its mint had no effect. What remembers only that something was,
 * or when it was last, goes on remembering it.
 * @param countedAt when it was
 */
export function uncounted(
  manifest: Manifest,
  call: CallFacts,
  cells: Cells,
  countedAt: Date,
  now: Date,
  digest: Digest,
): Cells {
  const set = new Map(cells);
  for (const tracker of compiledCalls(manifest).trackers) {
    if (!takes(tracker.event, call, ['call'])) continue;
    const amount = tracker.op === 'sum' ? call.costMicroUsd : 1;
    for (const key of keysOf(tracker, call) ?? []) {
      const name = cellKey(trackerCell(tracker, key, digest));
      const cell = set.get(name);
      if (cell === undefined) continue;
      const state = correct(tracker, cell.state as CellState | null, -amount, countedAt.getTime(), now.getTime());
      set.set(name, { ...cell, state });
    }
  }
  return set;
}

const sceneOf = (
  manifest: Manifest,
  session: CallSession,
  call: CallFacts,
  cells: Cells,
  now: Date,
  digest: Digest,
  asking: readonly EventKind[],
): Scene => ({
  manifest,
  session,
  call,
  cells,
  digest,
  moment: { now: now.getTime(), rootId: session.rootId },
  asking,
  labels: [...new Set([...labelsIn(cells), ...touchedLabels(manifest, call, cells, digest)])],
});

/** For policies of the team's own; null = there are none about the tool. */
function teamFacts({ manifest, session, call, labels, moment }: Scene, tool: Tool | undefined) {
  if (tool === undefined || call.tool === null || !callPart(manifest, call.tool).asksTeam) return null;
  const onBehalfOf = session.onBehalfOf === null ? null : userText(session.onBehalfOf as VouchedPerson);
  const circumstances = { task: session.task, labels, onBehalfOf, now: new Date(moment.now) };
  return callFactValues(manifest, tool, call, circumstances);
}

/**
 * Trackers that the event moves, with their new states.
 * @param made the call was made, whatever was decided
 */
function moved(
  { manifest, call, cells, digest, moment }: Scene,
  kinds: readonly EventKind[],
  made = false,
): CellWrite[] {
  return compiledCalls(manifest)
    .trackers.filter((tracker) => touches(tracker, call))
    .flatMap((tracker) =>
      (keysOf(tracker, call) ?? []).flatMap((key): CellWrite[] => {
        const ref = trackerCell(tracker, key, digest);
        const { state, version } = cells.get(cellKey(ref)) ?? { state: null, version: 0 };
        const before = state as CellState | null;
        const is = made ? happenedAnyway(tracker, call, kinds) : happened(tracker, call, kinds);
        const after = advance(tracker, before, is, call.costMicroUsd, moment);
        return after === before ? [] : [{ ...ref, state: after, version, is }];
      }),
    );
}

/** A call that was made counts as one wherever that can only stand against what comes later. */
function happenedAnyway(tracker: Tracker, call: CallFacts, kinds: readonly EventKind[]): Happened {
  const decided = happened(tracker, call, kinds);
  const did = happened(tracker, call, ['call']);
  const bars = tracker.compares === 'alike';
  return { event: decided.event || (bars && did.event), without: decided.without || (!bars && did.without) };
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
