/**
 * Grants and tool calls stand in one history: what the manifest's rules say of a grant, and what a grant adds
 * to what they remember. Of a manifest without rules about it, a grant costs nothing more.
 */
import type { CellRef, Cells, Digest } from '../actions/cells.ts';
import {
  cellsFor,
  concernsHistory,
  grantFacts,
  hitsOnGrant,
  movesOfGrant,
  uncounted,
} from '../actions/evaluate-call.ts';
import { type StoredWrite, storedWrites } from '../actions/move-cells.ts';
import { cellsOf } from '../actions/request-action.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Catalog } from '../manifests/catalog.ts';
import type { CallFacts } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { hasCells, rereadSession, type SessionFacts, type SessionReads } from '../sessions/authenticate.ts';
import type { Store } from '../store/open.ts';

export interface GrantHistory {
  /** Cells that were looked at, as they were. */
  looked: { refs: readonly CellRef[]; cells: Cells };
  /** Rules whose conditions hold. */
  hits: string[];
  /**
   * What history is once the grant is written.
   * @param kinds `attempt` when it is asked for, `call` once it is to be issued
   * @param holding `session_too` where the statement does not hold the session's version still
   */
  moves(kinds: readonly ('attempt' | 'call' | 'denied')[], holding?: 'session_too'): StoredWrite[];
}

export interface HistoryDeps {
  catalog: Catalog;
  digest: Digest;
}

const nothing: GrantHistory = { looked: { refs: [], cells: new Map() }, hits: [], moves: () => [] };

/** Cells to read with the session, by the manifest that this process last saw in force. */
export async function historyReads(
  { catalog, digest }: HistoryDeps,
  agent: string,
  capability: string,
  params: JsonObject | undefined,
  address: string | null,
): Promise<SessionReads> {
  const { compiled } = (await catalog.lastSeen(agent)) ?? (await catalog.current(agent)) ?? {};
  if (compiled === undefined) return {};
  const cells = cellsAbout(compiled.manifest, grantFacts(compiled.manifest, capability, params ?? {}, address), digest);
  return cells.length === 0 ? {} : { cells, owner: compiled.manifest.owner };
}

function cellsAbout(manifest: Manifest, call: CallFacts, digest: Digest): CellRef[] {
  return concernsHistory(manifest, call) ? cellsFor(manifest, { task_type: '', inputs: {} }, call, digest) : [];
}

/**
 * What is remembered, for this grant. Cells that were not read with the session, because its parameters
 * depend on the task or the manifest is newer, are read now.
 * @param asked with its parameters complete, as they were bound
 * @param again for one that stands in history as an attempt already; and maybe as a call whose mint had no
 *   effect, counted at a time
 */
export async function historyOf(
  deps: HistoryDeps & { store: Store },
  manifest: Manifest,
  session: SessionFacts,
  asked: { capability: string; params: JsonObject; address: string | null },
  now: Date,
  again?: { countedAt(): Promise<Date | null> },
): Promise<GrantHistory | 'moved_on'> {
  const { digest } = deps;
  const call = grantFacts(manifest, asked.capability, asked.params, asked.address);
  if (!concernsHistory(manifest, call)) return nothing;
  const needed = { cells: cellsFor(manifest, session.task, call, digest), owner: manifest.owner };
  let cells: Cells = cellsOf(session);
  if (!hasCells(session, needed)) {
    const again = await rereadSession(deps.store, session, now, needed);
    // Its version says whether what the session was read for still holds.
    if (again.version !== session.version) return 'moved_on';
    cells = cellsOf(again);
  }
  const countedAt = await again?.countedAt();
  if (countedAt != null) cells = uncounted(manifest, call, cells, countedAt, now, digest);
  return {
    looked: { refs: needed.cells, cells },
    hits: hitsOnGrant(manifest, session, call, cells, now, digest, again !== undefined),
    moves: (kinds, holding) => {
      const moves = movesOfGrant(manifest, session, call, kinds, cells, now, digest, holding === 'session_too');
      return storedWrites(moves, session, manifest);
    },
  };
}
