/** What an outcome adds to history, as the agent’s host reports it; and what the person said. Pure. */
import { type CallFacts, compiledCalls, type EventTest, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import {
  type CellRef,
  type Cells,
  type CellWrite,
  cellKey,
  type Digest,
  labelsCell,
  labelsIn,
  labelWrite,
  marksWritten,
  outCell,
  saidCell,
  trackerCell,
  trustedCell,
  unique,
  unseenOutput,
} from './cells.ts';
import { touchedCell } from './lineage.ts';
import { advance, type CellState, concerns, type Happened, keysOf } from './monitors.ts';

/**
 * What the outcome of a call will move: kept with the action, because its arguments are not. `event` and
 * `without` say what it is to the tracker, whatever comes of it.
 */
export interface Awaited extends CellRef, Happened {
  tracker: string;
}

export function awaitedOutcome(manifest: Manifest, call: CallFacts, digest: Digest): Awaited[] {
  const touched = touchedCell(manifest, call, digest);
  const moved = compiledCalls(manifest).trackers.flatMap((tracker) => {
    const event = mayCome(tracker.event, call);
    const without = tracker.without !== null && mayCome(tracker.without, call);
    if (!event && !without) return [];
    const keys = keysOf(tracker, call) ?? [];
    return keys.map((key) => ({ tracker: tracker.id, ...trackerCell(tracker, key, digest), event, without }));
  });
  return touched === null ? moved : [...moved, { tracker: lineage, ...touched, event: false, without: false }];
}

/** Stands where an awaited cell has no tracker: it is looked at for its labels, and not moved. */
const lineage = 'lineage';

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
  // What somebody wrote there since the call was decided on may have come back too.
  const touched = awaited.filter((one) => one.tracker === lineage).flatMap((ref) => labelsIn(cells, ref));
  const marks = outputMarks(manifest, tool, outcome, digest);
  if (outcome.moreWords && toolOf(manifest, tool)?.output !== 'trusted') marks.push(unseenOutput);
  return [...moves, ...labelWrite(cells, [...outcome.labels, ...touched], moment), ...marksWritten(marks, cells)];
}

/** Words that the person said, as the agent's host reports them. */
export const wordCells = (words: readonly string[], digest: Digest): CellRef[] =>
  unique(words.flatMap((word) => [trustedCell(word, digest), saidCell(word, digest)]));

export const wordsSaid = (words: readonly string[], cells: Cells, digest: Digest): CellWrite[] =>
  marksWritten(wordCells(words, digest), cells);
