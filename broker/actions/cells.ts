/**
 * Cells of history: how they are named, and what is in them. A cell belongs to one scope; its name is its
 * tracker's, with a keyed digest of what it correlates by, or that of a mark.
 */
import type { Json } from '../core/vocabulary.ts';
import { alike } from '../manifests/call-arguments.ts';
import type { Tracker } from '../manifests/compile-calls.ts';
import type { Scope } from '../manifests/tool-schema.ts';
import type { CellState, Happened, Moment } from './monitors.ts';

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
  /** The cost that was counted when the call was asked for is set right first. */
  corrects?: true;
  /** Labels that it puts on; of cells of labels. */
  puts?: readonly string[];
}
/** Labels and when each was first put on. */
export type LabelState = { labels: { [label: string]: number } };

/** Keyed digest: what is low in entropy cannot be guessed from the database. */
export type Digest = (text: string) => string;

export type Cells = ReadonlyMap<string, Cell>;
export const cellKey = ({ scope, cell }: CellRef): string => `${scope}/${cell}`;

export const labelsCell: CellRef = { scope: 'session', cell: 'labels' };
/** Some output was too long to be looked at whole. */
export const unseenOutput: CellRef = { scope: 'session', cell: 'out:*' };
export const outCell = (word: string, digest: Digest): CellRef => ({ scope: 'session', cell: `out:${digest(word)}` });
export const trustedCell = (word: string, digest: Digest): CellRef => ({
  scope: 'session',
  cell: `ok:${digest(word)}`,
});

/** Apart from `ok:`, where what a trusted tool returned stands as well. */
export const saidCell = (word: string, digest: Digest): CellRef => ({ scope: 'session', cell: `said:${digest(word)}` });

/** Labels of what was written into an entity, by whichever session of the owner's agents. */
export const entityCell = (entity: string, digest: Digest): CellRef => ({
  scope: 'owner',
  cell: `ent:${digest(alike(entity))}`,
});
/** Those of all entities together: what somebody touched who does not say which. */
export const anyEntityCell: CellRef = { scope: 'owner', cell: 'ent:*' };

/** @param key of `keysOf` */
export function trackerCell(tracker: Tracker, key: string, digest: Digest): CellRef {
  const { id, scope, same } = tracker;
  if (same.length === 0) return { scope, cell: id };
  const at = same.indexOf('entity');
  if (at < 0) return { scope, cell: `${id}.${digest(key)}` };
  const values = JSON.parse(key) as Json[];
  const [entity] = values.splice(at, 1);
  return entityTrackerCell(tracker, entity!, restOf(JSON.stringify(values), digest), digest);
}

/** What a tracker correlates by besides the entity, by which its cells are named. @param key of the others */
export const restOf = (key: string, digest: Digest): string => (key === '[]' ? '' : digest(key));

/** Of a tracker that correlates by entity: it may be told later than the rest, of which this is kept. */
export const entityTrackerCell = (
  { id, scope }: Pick<Tracker, 'id' | 'scope'>,
  entity: Json,
  rest: string,
  digest: Digest,
): CellRef => ({ scope, cell: `${id}.${digest(JSON.stringify(rest === '' ? [entity] : [entity, rest]))}` });

export const unique = (refs: CellRef[]): CellRef[] => [...new Map(refs.map((ref) => [cellKey(ref), ref])).values()];

/** Marks that are not there yet. */
export const marksWritten = (marks: CellRef[], cells: Cells): CellWrite[] =>
  unique(marks)
    .filter((ref) => (cells.get(cellKey(ref))?.version ?? 0) === 0)
    .map((ref) => ({ ...ref, state: null, version: 0 }));

/** Labels of the session, or of an entity. */
export const labelsIn = (cells: Cells, ref: CellRef = labelsCell): string[] => {
  const state = cells.get(cellKey(ref))?.state;
  return state != null && 'labels' in state ? Object.keys(state.labels) : [];
};

export function labelWrite(
  cells: Cells,
  added: readonly string[],
  moment: Pick<Moment, 'now'>,
  ref: CellRef = labelsCell,
): CellWrite[] {
  const labels = labelsIn(cells, ref);
  const fresh = [...new Set(added)].filter((label) => !labels.includes(label));
  if (fresh.length === 0) return [];
  const cell = cells.get(cellKey(ref));
  const before = cell?.state != null && 'labels' in cell.state ? cell.state.labels : {};
  const next = { ...before, ...Object.fromEntries(fresh.map((label) => [label, moment.now])) };
  return [{ ...ref, state: { labels: next }, version: cell?.version ?? 0, puts: fresh }];
}
