/**
 * The state of history made anew from the calls and grants on record: the same states that `evaluate-call.ts`
 * moved on call by call (held equal by a property test). For repair and for proof; no decision waits for it.
 *
 * Words of outputs are not among it: their marks are written once and never moved, so they are their own
 * record.
 */
import { compiledCalls, type Tracker, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { memoize } from '../manifests/memoize.ts';
import type { Scope } from '../manifests/tool-schema.ts';
import { type CellWrite, type LabelState, labelsCell } from './cells.ts';
import { advance, type CellState, correct, keptFor } from './monitors.ts';

/** Whose history it is. */
interface Whose {
  rootId: string;
  agent: string;
  /** Of its session. */
  principalRoot: string;
}

/** A grant as it is on record. */
export interface RecordedGrant extends Whose {
  manifestVersion: number;
  askedAt: Date;
  askedMoves: readonly string[];
  /** Each by the manifest that was in force then. */
  redemptions: readonly { at: Date; manifestVersion: number; moves: readonly string[] }[];
}

/** A call as it is on record. */
export interface RecordedAction extends Whose {
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
 * which things happened, across sessions too. `~CELL@7` sets the cost right that was counted when the call
 * was asked for, before an event of the same version. `=CELL@7 LABEL LABEL` puts labels on.
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
  rootId: string;
  /** What was counted when the call was asked for, and when. */
  counted?: { costMicroUsd: number; at: Date };
}

/** Names of a scope as they are stored. */
export const storedScope = (
  scope: Scope,
  { rootId, agent, principalRoot }: Whose,
  { owner }: Pick<Manifest, 'owner'>,
): string => `${scope}:${{ session: rootId, agent, principal: principalRoot, owner }[scope]}`;

/**
 * @param actions every call of the scopes that are asked for, in any order
 * @param grants the same
 * @param manifestOf the version that a call was decided under
 * @returns states by stored scope and cell, `session:ses_1/labels`; of other scopes what these calls did
 */
export function rebuildCells(
  actions: readonly RecordedAction[],
  grants: readonly RecordedGrant[],
  manifestOf: (agent: string, version: number) => Manifest,
): Map<string, CellState | LabelState | null> {
  const moves = new Map<string, Move[]>();
  const labels = new Map<string, LabelState['labels']>();
  const put = (key: string, names: readonly string[], at: Date) => {
    if (names.length === 0) return;
    const known = labels.get(key) ?? {};
    for (const name of names) known[name] = Math.min(known[name] ?? Number.POSITIVE_INFINITY, at.getTime());
    labels.set(key, known);
  };
  const labelsKey = (cell: string, whose: Whose, manifest: Manifest) =>
    `${storedScope(cell === labelsCell.cell ? 'session' : 'owner', whose, manifest)}/${cell}`;
  const note = (
    moved: readonly string[],
    whose: Whose,
    manifest: Manifest,
    event: Pick<Move, 'at' | 'costMicroUsd' | 'counted'>,
  ) => {
    for (const text of moved) {
      if (text.startsWith('=')) {
        const [cell = '', ...names] = text.slice(1).split(/@[0-9]+ | /);
        put(labelsKey(cell, whose, manifest), names, event.at);
        continue;
      }
      const { cell, ...move } = readMove(text);
      const tracker = trackersOf(manifest).get(trackerOf(cell));
      if (tracker === undefined) throw new Error(`the manifest has no ${cell}`);
      const key = `${storedScope(tracker.scope, whose, manifest)}/${cell}`;
      listed(moves, key).push({ ...move, ...event, tracker, rootId: whose.rootId });
    }
  };
  for (const action of actions) {
    const manifest = manifestOf(action.agent, action.manifestVersion);
    const { costMicroUsd, reportedCostMicroUsd, askedAt, finishedAt } = action;
    const counted = { costMicroUsd, at: askedAt };
    note(action.askedMoves, action, manifest, { at: askedAt, costMicroUsd });
    if (finishedAt !== null)
      note(action.outcomeMoves, action, manifest, {
        at: finishedAt,
        costMicroUsd: reportedCostMicroUsd ?? costMicroUsd,
        counted,
      });
    if (action.effect !== 'allow') continue;
    // Rows from before labels were written down with the moves.
    const key = labelsKey(labelsCell.cell, action, manifest);
    put(key, toolOf(manifest, action.tool)?.labels ?? [], askedAt);
    put(key, action.labels, finishedAt ?? askedAt);
  }
  for (const grant of grants) {
    const asked = { at: grant.askedAt, costMicroUsd: 0 };
    note(grant.askedMoves, grant, manifestOf(grant.agent, grant.manifestVersion), asked);
    for (const { at, manifestVersion, moves: moved } of grant.redemptions)
      note(moved, grant, manifestOf(grant.agent, manifestVersion), { at, costMicroUsd: 0 });
  }
  return new Map<string, CellState | LabelState | null>([
    ...[...moves].map(([key, list]) => [key, replayed(list)] as const),
    ...[...labels].map(([key, known]) => [key, { labels: known }] as const),
  ]);
}

const replayed = (moves: readonly Move[]): CellState | null =>
  sinceLastPruned(moves)
    .toSorted((a, b) => a.version - b.version)
    .reduce<CellState | null>(
      (state, { tracker, what, at, costMicroUsd, rootId, counted }) =>
        what === '~' && counted !== undefined
          ? correct(tracker, state, costMicroUsd - counted.costMicroUsd, counted.at.getTime(), at.getTime())
          : advance(tracker, state, { event: what === '+', without: what === '-' }, costMicroUsd, {
              now: at.getTime(),
              rootId,
            }),
      null,
    );

/**
 * A cell that was not moved for long is deleted (`prune-cells.ts`), and its versions begin anew: what was
 * before is over.
 */
function sinceLastPruned(moves: readonly Move[]): Move[] {
  const inTime = moves.toSorted((a, b) => a.at.getTime() - b.at.getTime());
  const ms = keptFor(inTime[0]!.tracker);
  if (ms === null) return inTime;
  const from = inTime.findLastIndex(
    ({ at }, index) => index > 0 && at.getTime() - inTime[index - 1]!.at.getTime() >= ms,
  );
  return inTime.slice(Math.max(0, from));
}

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
