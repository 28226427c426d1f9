/**
 * One tool call: arguments → facts, history → hits, Cedar's decision, and what history is afterwards. Pure:
 * the cells come in, and the new ones go out.
 *
 * 1. `cellsFor` says which cells of history a call looks at or moves.
 * 2. `evaluateCall` decides and moves them on.
 * 3. `finishCall` moves them on again when the outcome is reported.
 */
import type { JsonObject, Task } from '../core/vocabulary.ts';
import { type CallDecision, decideCall } from '../decide/decide-call.ts';
import {
  argumentsOutside,
  clearanceOf,
  destinationsOf,
  entityOf,
  isNamed,
  knownDestinations,
  manifestWords,
  valuesAt,
} from '../manifests/call-arguments.ts';
import { mayConcern } from '../manifests/call-policies.ts';
import {
  type CallFacts,
  type CompiledClause,
  type CompiledRule,
  compiledCalls,
  type EventTest,
  type Tracker,
  toolOf,
} from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { memoize } from '../manifests/memoize.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { EventKind, Scope } from '../manifests/tool-schema.ts';
import {
  advance,
  argumentMatches,
  type CellState,
  cannotBeTold,
  concerns,
  type Happened,
  happened,
  holds,
  keysOf,
  type Moment,
} from './monitors.ts';
import { wordsOfValue } from './origin.ts';

/** What the agent's host asks for. */
export interface Call {
  tool: string;
  args: JsonObject;
  /** Estimate of the host, in millionths of a US dollar; null = as the manifest says. */
  costMicroUsd: number | null;
}

/** Of the session, what a call's decision looks at. */
export interface CallSession {
  agent: string;
  rootId: string;
  task: Task;
  /** The root of its tree: a sub-agent’s session starts no clock anew. */
  rootOpenedAt: Date;
  onBehalfOf: object | null;
  declaredOnBehalfOf: string | null;
}

export interface CellRef {
  scope: Scope;
  cell: string;
}
export interface Cell {
  /** null = a mark without a state, or nothing yet. */
  state: CellState | LabelState | null;
  /** 0 = there is no such cell yet. */
  version: number;
}
export interface CellWrite extends CellRef {
  state: CellState | LabelState | null;
  /** Version that was read: the write fails when it is another by then. */
  version: number;
  /** What the call was to the tracker whose cell it is; absent where it did not move one. */
  is?: Happened;
}
/** Labels and when each was first put on. */
export type LabelState = { labels: { [label: string]: number } };

/** Keyed digest: what is low in entropy cannot be guessed from the database. */
export type Digest = (text: string) => string;

export type Cells = ReadonlyMap<string, Cell>;
export const cellKey = ({ scope, cell }: CellRef): string => `${scope}/${cell}`;

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

const labelsCell: CellRef = { scope: 'session', cell: 'labels' };
/** Some output was too long to be looked at whole. */
const unseenOutput: CellRef = { scope: 'session', cell: 'out:*' };
const outCell = (word: string, digest: Digest): CellRef => ({ scope: 'session', cell: `out:${digest(word)}` });
const trustedCell = (word: string, digest: Digest): CellRef => ({ scope: 'session', cell: `ok:${digest(word)}` });

/** Apart from `ok:`, where what a trusted tool returned stands as well. */
const saidCell = (word: string, digest: Digest): CellRef => ({ scope: 'session', cell: `said:${digest(word)}` });

const trackerCell = (tracker: Tracker, key: string, digest: Digest): CellRef => ({
  scope: tracker.scope,
  cell: tracker.same.length === 0 ? tracker.id : `${tracker.id}.${digest(key)}`,
});

const rulesFor = (manifest: Manifest, call: CallFacts): CompiledRule[] =>
  compiledCalls(manifest).rules.filter(
    (rule) => (call.tool === null || mayConcern(rule, call.tool)) && concerns(rule.on, call),
  );

const clausesOf = (rule: CompiledRule): readonly CompiledClause[] =>
  rule.unless === null ? rule.when : [...rule.when, rule.unless];

const touches = (tracker: Tracker, call: CallFacts): boolean =>
  concerns(tracker.event, call) || (tracker.without !== null && concerns(tracker.without, call));

/** The arguments whose origin the rules about this call ask for. */
const askedOrigins = (rules: readonly CompiledRule[]): string[] => [
  ...new Set(rules.flatMap(clausesOf).flatMap(({ now }) => [...(now.untrusted ?? []), ...(now.unvouched ?? [])])),
];

/** Words of an argument that nobody trustworthy is known to have said. */
function doubtfulWords(manifest: Manifest, task: Task, call: CallFacts, name: string): string[] {
  const values = name === 'destination' ? call.destinations : valuesAt(call.args, name).map((value) => textOf(value));
  const trusted = trustedWords(manifest, task);
  return values.flatMap(wordsOfValue).filter((word) => !trusted.has(word));
}

const textOf = (value: unknown) => (typeof value === 'object' ? JSON.stringify(value) : String(value));

function trustedWords(manifest: Manifest, task: Task): Set<string> {
  const own = ownWords(manifest);
  const given = inputWords(task);
  return given.size === 0 ? own : new Set([...own, ...given]);
}

const inputWords = ({ inputs }: Task): Set<string> =>
  new Set(Object.values(inputs).flatMap((value) => wordsOfValue(String(value))));

const ownWords = memoize((manifest: Manifest) => new Set(manifestWords(manifest).flatMap(wordsOfValue)));

/** Whether any rule looks at the call, or remembers it. */
export const concernsHistory = (manifest: Manifest, call: CallFacts): boolean =>
  rulesFor(manifest, call).length > 0 || compiledCalls(manifest).trackers.some((tracker) => touches(tracker, call));

/** Every cell that deciding on the call, or its event, looks at. */
export function cellsFor(manifest: Manifest, task: Task, call: CallFacts, digest: Digest): CellRef[] {
  const rules = rulesFor(manifest, call);
  const looked = rules.flatMap(clausesOf).flatMap(({ sequence }) => sequence.map(({ tracker }) => tracker));
  const moved = compiledCalls(manifest).trackers.filter((tracker) => touches(tracker, call));
  const refs = [...new Set([...looked, ...moved])].flatMap((tracker) =>
    (keysOf(tracker, call) ?? []).map((key) => trackerCell(tracker, key, digest)),
  );
  const words = askedOrigins(rules).flatMap((name) => doubtfulWords(manifest, task, call, name));
  const origins = words.flatMap((word) => [outCell(word, digest), trustedCell(word, digest)]);
  const said = rules.flatMap(clausesOf).flatMap(({ now }) => now.unsaid ?? []);
  const saidCells = said.map((word) => saidCell(word, digest));
  return unique([labelsCell, ...refs, ...origins, ...saidCells, ...(origins.length > 0 ? [unseenOutput] : [])]);
}

const unique = (refs: CellRef[]): CellRef[] => [...new Map(refs.map((ref) => [cellKey(ref), ref])).values()];

interface Scene {
  manifest: Manifest;
  session: CallSession;
  call: CallFacts;
  cells: Cells;
  digest: Digest;
  moment: Moment;
  labels: readonly string[];
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

/** A grant is an action too: what rules and trackers see of it. */
export const grantFacts = (capability: string, params: JsonObject): CallFacts => ({
  tool: null,
  capability,
  args: params,
  entity: null,
  destinations: [],
  unknownDestinations: [],
  sensitivity: 0,
  labels: [],
  costMicroUsd: 0,
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

/** A tool that is not listed is an attempt all the same: rules about everything see it. */
const unlisted = ({ tool, args }: Call): CallFacts => ({
  tool,
  capability: null,
  args,
  entity: null,
  destinations: [],
  unknownDestinations: [],
  sensitivity: 0,
  labels: [],
  costMicroUsd: 0,
});

/**
 * What the outcome of a call will move: kept with the action, because its arguments are not. `event` and
 * `without` say what it is to the tracker, whatever comes of it.
 */
export interface Awaited extends CellRef, Happened {
  tracker: string;
}

export function awaitedOutcome(manifest: Manifest, call: CallFacts, digest: Digest): Awaited[] {
  return compiledCalls(manifest).trackers.flatMap((tracker) => {
    const event = mayCome(tracker.event, call);
    const without = tracker.without !== null && mayCome(tracker.without, call);
    if (!event && !without) return [];
    const keys = keysOf(tracker, call) ?? [];
    return keys.map((key) => ({ tracker: tracker.id, ...trackerCell(tracker, key, digest), event, without }));
  });
}

/** Labels are reported with the outcome: which there will be, nobody knows yet. */
const mayCome = (test: EventTest, call: CallFacts) =>
  (test.kinds.includes('response') || test.kinds.includes('error')) && concerns({ ...test, label: null }, call);

/** What the agent's host reports of a call. */
export interface Outcome {
  outcome: 'response' | 'error';
  labels: readonly string[];
  /** Words of the output, and whether there were more. */
  words: readonly string[];
  moreWords: boolean;
  /** Those that stand in a field that the manifest trusts, whatever else is in the output. */
  vouchedWords: readonly string[];
}

/** Cells that a report moves besides the awaited ones. */
export const reportedCells = (manifest: Manifest, tool: string, outcome: Outcome, digest: Digest): CellRef[] =>
  unique([labelsCell, unseenOutput, ...outputMarks(manifest, tool, outcome, digest)]);

function outputMarks(manifest: Manifest, tool: string, { words, vouchedWords }: Outcome, digest: Digest): CellRef[] {
  const mark = toolOf(manifest, tool)?.output === 'trusted' ? trustedCell : outCell;
  return [...vouchedWords.map((word) => trustedCell(word, digest)), ...words.map((word) => mark(word, digest))];
}

/**
 * History after the outcome: the response or error, its labels, and the words of its output.
 * @param manifest of the version that the call was decided under
 */
export function finishCall(
  manifest: Manifest,
  { tool, costMicroUsd, rootId }: { tool: string; costMicroUsd: number; rootId: string },
  awaited: readonly Awaited[],
  outcome: Outcome,
  cells: Cells,
  now: Date,
  digest: Digest,
): CellWrite[] {
  const moment = { now: now.getTime(), rootId };
  const trackers = new Map(compiledCalls(manifest).trackers.map((tracker) => [tracker.id, tracker]));
  const labels = [...(toolOf(manifest, tool)?.labels ?? []), ...outcome.labels];
  const moves = awaited.flatMap(({ tracker: id, scope, cell, event, without }): CellWrite[] => {
    const tracker = trackers.get(id);
    if (tracker === undefined) return [];
    const { state, version } = cells.get(cellKey({ scope, cell })) ?? { state: null, version: 0 };
    const came = (test: EventTest | null) =>
      test?.kinds.includes(outcome.outcome) === true && (test.label === null || labels.includes(test.label));
    const is = { event: event && came(tracker.event), without: without && came(tracker.without) };
    const after = advance(tracker, state as CellState | null, is, costMicroUsd, moment);
    return after === state ? [] : [{ scope, cell, state: after, version, is }];
  });
  const marks = outputMarks(manifest, tool, outcome, digest);
  if (outcome.moreWords && toolOf(manifest, tool)?.output !== 'trusted') marks.push(unseenOutput);
  return [...moves, ...labelWrite(cells, outcome.labels, moment), ...marksWritten(marks, cells)];
}

/** Marks that are not there yet. */
const marksWritten = (marks: CellRef[], cells: Cells): CellWrite[] =>
  unique(marks)
    .filter((ref) => (cells.get(cellKey(ref))?.version ?? 0) === 0)
    .map((ref) => ({ ...ref, state: null, version: 0 }));

/** Words that the person said, as the agent's host reports them. */
export const wordCells = (words: readonly string[], digest: Digest): CellRef[] =>
  unique(words.flatMap((word) => [trustedCell(word, digest), saidCell(word, digest)]));

export const wordsSaid = (words: readonly string[], cells: Cells, digest: Digest): CellWrite[] =>
  marksWritten(wordCells(words, digest), cells);

const labelsIn = (cells: Cells): string[] => {
  const state = cells.get(cellKey(labelsCell))?.state;
  return state != null && 'labels' in state ? Object.keys(state.labels) : [];
};

function labelWrite(cells: Cells, added: readonly string[], moment: Moment): CellWrite[] {
  const labels = labelsIn(cells);
  const fresh = added.filter((label) => !labels.includes(label));
  if (fresh.length === 0) return [];
  const cell = cells.get(cellKey(labelsCell));
  const before = cell?.state != null && 'labels' in cell.state ? cell.state.labels : {};
  const next = { ...before, ...Object.fromEntries(fresh.map((label) => [label, moment.now])) };
  return [{ ...labelsCell, state: { labels: next }, version: cell?.version ?? 0 }];
}

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
  const refs = rulesFor(manifest, call)
    .flatMap(clausesOf)
    .flatMap(({ sequence }) => sequence.map(({ tracker }) => tracker))
    .filter(({ scope }) => sessionToo || scope !== 'session')
    .flatMap((tracker) => (keysOf(tracker, call) ?? []).map((key) => trackerCell(tracker, key, digest)));
  return unique(refs)
    .filter((ref) => !written.has(cellKey(ref)))
    .map((ref) => ({ ...ref, ...(cells.get(cellKey(ref)) ?? { state: null, version: 0 }) }));
}

/** Whether a condition holds, or what the call lacks without which nobody can say. */
type Verdict = boolean | { lacks: string };

function ruleHolds(rule: CompiledRule, scene: Scene): Verdict {
  const when = anyOf(rule.when.map((clause) => clauseHolds(clause, scene)));
  if (when === false || rule.unless === null) return when;
  const unless = clauseHolds(rule.unless, scene);
  return unless === true ? false : unless === false ? when : unless;
}

const isLack = (verdict: Verdict): verdict is { lacks: string } => typeof verdict === 'object';
/** What holds whatever is lacking does not depend on it. */
const anyOf = (verdicts: Verdict[]): Verdict => verdicts.includes(true) || (verdicts.find(isLack) ?? false);
const allOf = (verdicts: Verdict[]): Verdict => !verdicts.includes(false) && (verdicts.find(isLack) ?? true);

function clauseHolds({ now, sequence }: CompiledClause, scene: Scene): Verdict {
  const { session, call, manifest, cells, digest, moment } = scene;
  if (now.task_types !== undefined && !now.task_types.includes(session.task.task_type)) return false;
  if (now.destination === 'unknown' && call.unknownDestinations.length === 0) return false;
  if (now.destination === 'known' && (call.destinations.length === 0 || call.unknownDestinations.length > 0))
    return false;
  if (now.unsaid?.some((word) => seen(saidCell(word, digest)) || inputWords(session.task).has(word))) return false;
  if (now.label !== undefined && !scene.labels.includes(now.label)) return false;
  if (now.uncleared === true && !isUncleared(scene)) return false;
  if (now.on_behalf_of !== undefined && now.on_behalf_of !== standing(session)) return false;
  if (now.elapsed !== undefined && moment.now - session.rootOpenedAt.getTime() <= now.elapsed * 1000) return false;
  if (now.hours !== undefined && !isWithin(now.hours, new Date(moment.now))) return false;
  for (const [path, pattern] of Object.entries(now.match ?? {}))
    if (!argumentMatches(call.args, path, pattern)) return false;
  if (now.untrusted !== undefined && !now.untrusted.some((name) => unvouchedWords(name).some(returned))) return false;
  if (now.unvouched !== undefined && !now.unvouched.some((name) => unvouchedWords(name).length > 0)) return false;
  return allOf(
    sequence.map(({ tracker, moreThan }): Verdict => {
      const keys = keysOf(tracker, call);
      // A first time of nothing is none.
      if (keys === null) return tracker.op === 'first' ? false : { lacks: tracker.same.join(', ') };
      return keys.some((key) => {
        const state = cells.get(cellKey(trackerCell(tracker, key, digest)))?.state ?? null;
        return holds(tracker, moreThan, state as CellState | null, call, moment);
      });
    }),
  );

  function seen(ref: CellRef): boolean {
    return (cells.get(cellKey(ref))?.version ?? 0) > 0;
  }
  function unvouchedWords(name: string): string[] {
    return doubtfulWords(manifest, session.task, call, name).filter((word) => !seen(trustedCell(word, digest)));
  }
  function returned(word: string): boolean {
    return seen(outCell(word, digest)) || seen(unseenOutput);
  }
}

/**
 * Rules that could not recognise this call later, when they look back at it: it has more values than are
 * compared, or the manifest says that it touches something and nobody can tell what.
 */
function untold(manifest: Manifest, call: CallFacts): { rule: string; path: string }[] {
  // One that hides keeps being seen for the first time.
  const hidden = (tracker: Tracker) =>
    tracker.op !== 'first' &&
    touches(tracker, call) &&
    cannotBeTold(tracker, call, call.tool !== null && hasEntity(manifest, call.tool));
  return compiledCalls(manifest).rules.flatMap((rule) => {
    const one = clausesOf(rule)
      .flatMap(({ sequence }) => sequence)
      .find(({ tracker }) => hidden(tracker));
    return one === undefined ? [] : [{ rule: rule.id, path: one.tracker.same.join(', ') }];
  });
}

const hasEntity = (manifest: Manifest, tool: string) => toolOf(manifest, tool)?.entity !== undefined;

function isUncleared({ manifest, call, labels }: Scene): boolean {
  return call.destinations.some((destination) => {
    const cleared = clearanceOf(manifest, destination);
    return labels.some((label) => !cleared.includes(label));
  });
}

const standing = ({ onBehalfOf, declaredOnBehalfOf }: CallSession) =>
  onBehalfOf !== null ? 'vouched' : declaredOnBehalfOf !== null ? 'declared' : 'nobody';

/** Whether a moment is within hours of a zone; `from` after `to` goes over midnight. */
export function isWithin(
  { zone, from, to, days: wanted }: NonNullable<CompiledClause['now']['hours']>,
  at: Date,
): boolean {
  const parts = formatOf(zone).formatToParts(at);
  const part = (type: string) => parts.find((one) => one.type === type)?.value ?? '';
  const time = `${part('hour')}:${part('minute')}`;
  const day = part('weekday').slice(0, 3).toLowerCase() as NonNullable<typeof wanted>[number];
  const inside = from <= to ? time >= from && time < to : time >= from || time < to;
  return inside && (wanted === undefined || wanted.includes(day));
}

const formats = new Map<string, Intl.DateTimeFormat>();
function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (format === undefined) {
    const options = { timeZone: zone, hour: '2-digit', minute: '2-digit', weekday: 'short', hourCycle: 'h23' } as const;
    format = new Intl.DateTimeFormat('en-GB', options);
    formats.set(zone, format);
  }
  return format;
}
