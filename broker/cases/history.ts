/**
 * History in memory, as the database keeps it: what a case does to the cells of its sessions, agents, people
 * and owners. The same names and the same writes as `monitor_cell` has.
 */
import { type Cell, type CellRef, type Cells, type CellWrite, cellKey } from '../actions/cells.ts';
import { storedScope } from '../actions/rebuild.ts';

/** Whose history a session's cells are in. */
export interface Whose {
  rootId: string;
  agent: string;
  principalRoot: string;
  owner: string;
}

export interface History {
  read(whose: Whose, refs: readonly CellRef[]): Cells;
  write(whose: Whose, writes: readonly CellWrite[]): void;
}

export function emptyHistory(): History {
  const cells = new Map<string, Cell>();
  const stored = (whose: Whose, { scope, cell }: CellRef) => `${storedScope(scope, whose, whose)}/${cell}`;
  return {
    read: (whose, refs) =>
      new Map(
        refs.flatMap((ref) => {
          const cell = cells.get(stored(whose, ref));
          return cell === undefined ? [] : [[cellKey(ref), cell]];
        }),
      ),
    write: (whose, writes) => {
      for (const { state, version, ...ref } of writes) cells.set(stored(whose, ref), { state, version: version + 1 });
    },
  };
}
