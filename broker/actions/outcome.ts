/** What an outcome adds to history, as the agent’s host reports it; and what the person said. Pure. */
import { type CallFacts, compiledCalls, type EventTest, type Tracker, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { EventKind } from '../manifests/tool-schema.ts';
import {
  anyEntityCell,
  type CellRef,
  type Cells,
  type CellWrite,
  cellKey,
  type Digest,
  entityCell,
  entityTrackerCell,
  labelsCell,
  labelsIn,
  labelWrite,
  marksWritten,
  outCell,
  restOf,
  saidCell,
  trackerCell,
  trustedCell,
  unique,
  unseenOutput,
} from './cells.ts';
import { touchedCell } from './lineage.ts';
import { advance, type CellState, comparedBy, concerns, correct, type Happened, keysOf, takes } from './monitors.ts';

/**
 * What the outcome of a call will move: kept with the action, because its arguments are not. `event` and
 * `without` say what it is to the tracker, whatever comes of it.
 */
export interface Awaited extends CellRef, Happened {
  tracker: string;
  /** Its cost was counted there when it was asked for: what it really cost sets that right. */
  counted?: true;
  /**
   * Not the cell itself is awaited, which is that of what the call said it touches, but those of other
   * entities that are reported; named by the rest of what the tracker correlates by.
   */
  rest?: string;
}

/** What a call counts as by being allowed; one that a person was asked about is an attempt already. */
export const countedAs = (askedAgain: boolean): readonly EventKind[] => (askedAgain ? ['call'] : ['attempt', 'call']);

/** @param counted kinds as which the call was counted when it was decided on */
export function awaitedOutcome(
  manifest: Manifest,
  call: CallFacts,
  digest: Digest,
  counted: readonly EventKind[] = countedAs(false),
): Awaited[] {
  const touched = touchedCell(manifest, call, digest);
  const moved = compiledCalls(manifest).trackers.flatMap((tracker): Awaited[] => {
    const is = {
      event: mayCome(tracker.event, call),
      without: tracker.without !== null && mayCome(tracker.without, call),
    };
    const costs = tracker.op === 'sum' && takes(tracker.event, call, counted);
    const entities = awaitedEntities(tracker, call, digest);
    if (!is.event && !is.without && !costs) return entities;
    const keys = keysOf(tracker, call) ?? [];
    const own = keys.map((key) => ({
      tracker: tracker.id,
      ...trackerCell(tracker, key, digest),
      ...is,
      ...(costs ? { counted: true as const } : {}),
    }));
    return [...own, ...entities];
  });
  return touched === null ? moved : [...moved, { tracker: lineage, ...touched, event: false, without: false }];
}

/** Stands where an awaited cell has no tracker: it is looked at for its labels, and not moved. */
const lineage = 'lineage';

/** Labels are reported with the outcome: which there will be, nobody knows yet. */
const mayCome = (test: EventTest, call: CallFacts) =>
  (test.kinds.includes('response') || test.kinds.includes('error')) && mayConcern(test, call);

const mayConcern = (test: EventTest, call: CallFacts) => concerns({ ...test, label: null }, call);

/**
 * Entities that are reported are the host's word: they count where that can only stand against what comes
 * later, and let nothing pass.
 */
function awaitedEntities(tracker: Tracker, call: CallFacts, digest: Digest): Awaited[] {
  const { id, scope, same, compares } = tracker;
  if (!same.includes('entity')) return [];
  const bars = compares === 'alike';
  const event = bars && mayConcern(tracker.event, call);
  const without = !bars && tracker.without !== null && mayConcern(tracker.without, call);
  if (!event && !without) return [];
  const others = keysOf({ same: same.filter((name) => name !== 'entity'), compares }, call) ?? [];
  return others.map((key) => {
    const rest = restOf(key, digest);
    const { cell } =
      call.entity === null ? { cell: id } : entityTrackerCell(tracker, comparedBy(tracker, call.entity), rest, digest);
    return { tracker: id, scope, cell, event, without, rest };
  });
}

/** What the agent's host reports of a call. */
export interface Outcome {
  outcome: 'response' | 'error';
  labels: readonly string[];
  /** What it really cost; null = as was estimated. */
  costMicroUsd: number | null;
  /** What it turned out to touch. */
  entities: readonly string[];
  /** Words of the output, and whether there were more. */
  words: readonly string[];
  moreWords: boolean;
  /** Those that stand in a field that the manifest trusts, whatever else is in the output. */
  vouchedWords: readonly string[];
}

/** The call whose outcome it is. */
export interface Finished {
  tool: string;
  /** As it was estimated, and counted. */
  costMicroUsd: number;
  askedAt: Date;
  rootId: string;
  awaited: readonly Awaited[];
}

/** Cells that a report looks at or moves besides the awaited ones. */
export function reportedCells(
  manifest: Manifest,
  { tool, awaited }: { tool: string | null; awaited: readonly Awaited[] },
  outcome: Outcome,
  digest: Digest,
): CellRef[] {
  const { entities } = outcome;
  const lineage = entities.length === 0 ? [] : [anyEntityCell, ...entityCells(entities, digest)];
  const tracked = compiledCalls(manifest).trackers.flatMap((tracker) =>
    awaited
      .filter((one) => one.tracker === tracker.id)
      .flatMap((one) => cellsOfEntities(tracker, one, entities, digest)),
  );
  return unique([labelsCell, unseenOutput, ...lineage, ...tracked, ...outputMarks(manifest, tool, outcome, digest)]);
}

const entityCells = (entities: readonly string[], digest: Digest): CellRef[] =>
  unique(entities.map((entity) => entityCell(entity, digest)));

/** Of a tracker's cells those of the entities, but of the one that the call itself named. */
const cellsOfEntities = (
  tracker: Tracker,
  { rest, cell }: Awaited,
  entities: readonly string[],
  digest: Digest,
): CellRef[] =>
  rest === undefined
    ? []
    : unique(entities.map((entity) => entityTrackerCell(tracker, comparedBy(tracker, entity), rest, digest))).filter(
        (ref) => ref.cell !== cell,
      );

/** @param tool null = as of one whose output is anybody's */
function outputMarks(
  manifest: Manifest,
  tool: string | null,
  { words, vouchedWords }: Outcome,
  digest: Digest,
): CellRef[] {
  const trusted = tool !== null && toolOf(manifest, tool)?.output === 'trusted';
  const mark = trusted ? trustedCell : outCell;
  return [...vouchedWords.map((word) => trustedCell(word, digest)), ...words.map((word) => mark(word, digest))];
}

/**
 * History after the outcome: the response or error with what it cost and touched, its labels, and the words
 * of its output.
 * @param manifest of the version that the call was decided under
 */
export function finishCall(
  manifest: Manifest,
  call: Finished,
  outcome: Outcome,
  cells: Cells,
  now: Date,
  digest: Digest,
): CellWrite[] {
  const { tool } = call;
  const marks = outputMarks(manifest, tool, outcome, digest);
  if (outcome.moreWords && toolOf(manifest, tool)?.output !== 'trusted') marks.push(unseenOutput);
  return [
    ...trackerMoves(manifest, call, outcome, cells, now, digest),
    ...lineageMoves(manifest, call, outcome, cells, now, digest),
    ...marksWritten(marks, cells),
  ];
}

function trackerMoves(
  manifest: Manifest,
  { tool, costMicroUsd: estimate, askedAt, rootId, awaited }: Finished,
  outcome: Outcome,
  cells: Cells,
  now: Date,
  digest: Digest,
): CellWrite[] {
  const moment = { now: now.getTime(), rootId };
  const trackers = new Map(compiledCalls(manifest).trackers.map((tracker) => [tracker.id, tracker]));
  const cost = outcome.costMicroUsd ?? estimate;
  const labels = [...(toolOf(manifest, tool)?.labels ?? []), ...outcome.labels];
  const came = (test: EventTest | null, kinds: readonly EventKind[]) =>
    test !== null &&
    kinds.some((kind) => test.kinds.includes(kind)) &&
    (test.label === null || labels.includes(test.label));
  return awaited.flatMap((one): CellWrite[] => {
    const { tracker: id, scope, cell, rest } = one;
    const tracker = trackers.get(id);
    if (tracker === undefined) return [];
    const entity = rest !== undefined;
    // Nobody knew of these entities when it was asked for: by now it is all that a call is.
    const kinds: readonly EventKind[] = entity ? ['attempt', 'call', outcome.outcome] : [outcome.outcome];
    const is = { event: one.event && came(tracker.event, kinds), without: one.without && came(tracker.without, kinds) };
    const refs = entity ? cellsOfEntities(tracker, one, outcome.entities, digest) : [{ scope, cell }];
    return refs.flatMap((ref): CellWrite[] => {
      const { state, version } = cells.get(cellKey(ref)) ?? { state: null, version: 0 };
      const before = state as CellState | null;
      const corrected =
        one.counted === true ? correct(tracker, before, cost - estimate, askedAt.getTime(), moment.now) : before;
      const after = advance(tracker, corrected, is, cost, moment);
      const corrects = corrected === before ? {} : { corrects: true as const };
      return after === before ? [] : [{ ...ref, state: after, version, is, ...corrects }];
    });
  });
}

/**
 * The session takes the labels of what came back and of what the call touched, also what somebody wrote there
 * since it was decided on. What is reported of what came back sticks to the entities that are reported with
 * it; and to those that a tool wrote into, all that the session has.
 */
function lineageMoves(
  manifest: Manifest,
  { tool, awaited }: Finished,
  { entities, labels }: Outcome,
  cells: Cells,
  now: Date,
  digest: Digest,
): CellWrite[] {
  const moment = { now: now.getTime() };
  const refs = entityCells(entities, digest);
  const touched = [...awaited.filter((one) => one.tracker === lineage), ...refs].flatMap((ref) => labelsIn(cells, ref));
  const writes = toolOf(manifest, tool)?.writes === true;
  const put = writes ? [...labelsIn(cells), ...labels, ...touched] : labels;
  return [
    ...labelWrite(cells, [...labels, ...touched], moment),
    ...(refs.length === 0 ? [] : [...refs, anyEntityCell]).flatMap((ref) => labelWrite(cells, put, moment, ref)),
  ];
}

/** Cells of words that the person said. */
export const wordCells = (words: readonly string[], digest: Digest): CellRef[] =>
  unique(words.flatMap((word) => [trustedCell(word, digest), saidCell(word, digest)]));

export const wordsSaid = (words: readonly string[], cells: Cells, digest: Digest): CellWrite[] =>
  marksWritten(wordCells(words, digest), cells);
