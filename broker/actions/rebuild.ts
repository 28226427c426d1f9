/**
 * The state of history made anew from the calls on record: the same states that `evaluate-call.ts` moved on
 * call by call (held equal by a property test). For repair and for proof; no decision waits for it.
 *
 * Words of outputs are not among it: their marks are written once and never moved, so they are their own
 * record.
 */
import { compiledCalls, type Tracker, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { memoize } from '../manifests/memoize.ts';
import type { Scope } from '../manifests/tool-schema.ts';
import { type CellWrite, type LabelState, labelsCell } from './cells.ts';
import { advance, type CellState, correct } from './monitors.ts';

/** A call as it is on record, with its session's person. */
export interface RecordedAction {
  rootId: string;
  agent: string;
  principalRoot: string;
  manifestVersion: number;
  tool: string;
  effect: string;
  costMicroUsd: number;
  /** What it really cost, where that was reported. */
  reportedCostMicroUsd: number | null;
  /** The manifest's of the tool, and those that were reported. */
  labels: readonly string[];
  askedAt: Date;
  finishedAt: Date | null;
  askedMoves: readonly string[];
  outcomeMoves: readonly string[];
}

/**
 * Moves of cells, as an action keeps them: `+CELL@7` for an event of the cell's tracker, `-CELL@7` for one
 * that makes it forget, each with the version that the cell has by it. The order of versions is the order in
 * which things happened, across sessions too. `~CELL@7` sets the cost right that was counted when the call was
 * asked for, before an event of the same version. `=CELL@7 LABEL LABEL` puts labels on.
 */
export const movesOf = (
  writes: readonly Pick<CellWrite, 'cell' | 'version' | 'is' | 'puts' | 'corrects'>[],
): string[] =>
  writes.flatMap(({ cell, version, is, puts, corrects }) => {
    const moved = `${cell}@${version + 1}`;
    if (puts !== undefined) return [`=${moved} ${puts.join(' ')}`];
    return [
      ...(corrects === true ? [`~${moved}`] : []),
      ...(is?.event ? [`+${moved}`] : is?.without ? [`-${moved}`] : []),
    ];
  });

interface Move {
  version: number;
  tracker: Tracker;
  what: '+' | '-' | '~';
  at: Date;
  /** Of a report, what it says that the call cost. */
  costMicroUsd: number;
  action: RecordedAction;
}

/** Names of a scope as they are stored. */
export const storedScope = (
  scope: Scope,
  { rootId, agent, principalRoot }: Pick<RecordedAction, 'rootId' | 'agent' | 'principalRoot'>,
  { owner }: Pick<Manifest, 'owner'>,
): string => `${scope}:${{ session: rootId, agent, principal: principalRoot, owner }[scope]}`;

/**
 * @param actions every call of the scopes that are asked for, in any order
 * @param manifestOf the version that a call was decided under
 * @returns states by stored scope and cell, `session:ses_1/labels`; of other scopes what these calls did
 */
export function rebuildCells(
  actions: readonly RecordedAction[],
  manifestOf: (agent: string, version: number) => Manifest,
): Map<string, CellState | LabelState | null> {
  const moves = new Map<string, Move[]>();
  const labels = new Map<string, LabelState['labels']>();
  for (const action of actions) {
    const manifest = manifestOf(action.agent, action.manifestVersion);
    const put = (cell: string, names: readonly string[], at: Date) => {
      if (names.length === 0) return;
      const key = `${storedScope(cell === labelsCell.cell ? 'session' : 'owner', action, manifest)}/${cell}`;
      const known = labels.get(key) ?? {};
      for (const name of names) known[name] = Math.min(known[name] ?? Number.POSITIVE_INFINITY, at.getTime());
      labels.set(key, known);
    };
    const note = (moved: readonly string[], at: Date | null, costMicroUsd: number) => {
      for (const text of moved.filter((one) => one.startsWith('='))) {
        const [cell = '', ...names] = text.slice(1).split(/@[0-9]+ | /);
        put(cell, names, at ?? action.askedAt);
      }
      for (const { cell, ...move } of moved.filter((one) => !one.startsWith('=')).map(readMove)) {
        const tracker = trackersOf(manifest).get(trackerOf(cell));
        if (tracker === undefined || at === null) throw new Error(`the manifest of ${action.tool} has no ${cell}`);
        listed(moves, `${storedScope(tracker.scope, action, manifest)}/${cell}`).push({
          ...move,
          tracker,
          at,
          costMicroUsd,
          action,
        });
      }
    };
    const { costMicroUsd, reportedCostMicroUsd } = action;
    note(action.askedMoves, action.askedAt, costMicroUsd);
    note(action.outcomeMoves, action.finishedAt, reportedCostMicroUsd ?? costMicroUsd);
    if (action.effect !== 'allow') continue;
    // Rows from before labels were written down with the moves.
    put(labelsCell.cell, toolOf(manifest, action.tool)?.labels ?? [], action.askedAt);
    put(labelsCell.cell, action.labels, action.finishedAt ?? action.askedAt);
  }
  return new Map<string, CellState | LabelState | null>([
    ...[...moves].map(([key, list]) => [key, replayed(list)] as const),
    ...[...labels].map(([key, known]) => [key, { labels: known }] as const),
  ]);
}

const replayed = (moves: readonly Move[]): CellState | null =>
  moves
    .toSorted((a, b) => a.version - b.version)
    .reduce<CellState | null>(
      (state, { tracker, what, at, costMicroUsd, action }) =>
        what === '~'
          ? correct(tracker, state, costMicroUsd - action.costMicroUsd, action.askedAt.getTime(), at.getTime())
          : advance(tracker, state, { event: what === '+', without: what === '-' }, costMicroUsd, {
              now: at.getTime(),
              rootId: action.rootId,
            }),
      null,
    );

function listed(moves: Map<string, Move[]>, key: string): Move[] {
  const list = moves.get(key) ?? [];
  moves.set(key, list);
  return list;
}

const trackersOf = memoize(
  (manifest: Manifest) => new Map(compiledCalls(manifest).trackers.map((tracker) => [tracker.id, tracker])),
);

/** A cell is named by its tracker, and by a digest of what it correlates by. */
const trackerOf = (cell: string): string => cell.split('.', 1)[0]!;

function readMove(text: string): Pick<Move, 'what' | 'version'> & { cell: string } {
  const at = text.lastIndexOf('@');
  return { cell: text.slice(1, at), what: text[0] as Move['what'], version: Number(text.slice(at + 1)) };
}
