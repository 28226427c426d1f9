/**
 * Moves cells of history within a statement that writes what moved them. Cells that are not as they were read
 * undo the whole statement: what was decided on no longer holds.
 */
import type { Manifest } from '../manifests/manifest.ts';
import { type CellWrite, cellKey } from './cells.ts';

/** A cell with its scope as it is stored. */
export type StoredWrite = Omit<CellWrite, 'scope'> & { scope: string };

/** Writes a cell only where it still has the version that was read; one that was not there must not be. */
export const ifAsRead = `ON CONFLICT (scope, cell) DO UPDATE SET state = EXCLUDED.state, version = EXCLUDED.version, moved_at = EXCLUDED.moved_at
      WHERE monitor_cell.version = EXCLUDED.version - 1`;

/**
 * CTEs `cells` and `may`: whether anything may be written.
 * @param held a CTE of one row with `ok`: false = nothing is to be moved, or written
 * @param cells SQL of a JSON array of `StoredWrite`
 */
export const moveCells = (held: string, cells: string, at: string) => `
    cells AS (
      INSERT INTO monitor_cell (scope, cell, state, version, moved_at)
      SELECT c.scope, c.cell, c.state, c.version + 1, ${at} FROM ${held}, json_to_recordset(${cells}::json) AS c (scope text, cell text, state jsonb, version int)
      WHERE ${held}.ok ORDER BY c.scope COLLATE "C", c.cell COLLATE "C"
      ${ifAsRead}
      RETURNING 1
    ), may AS MATERIALIZED (
      SELECT CASE WHEN NOT ${held}.ok THEN false WHEN (SELECT count(*) FROM cells) = json_array_length(${cells}::json) THEN true ELSE writ_moved_on() END AS ok FROM ${held}
    )`;

/** Scopes as they are stored. */
export function storedWrites(
  writes: readonly CellWrite[],
  { rootId, agent, principalRoot }: { rootId: string; agent: string; principalRoot: string },
  { owner }: Manifest,
): StoredWrite[] {
  const scopes = {
    session: `session:${rootId}`,
    agent: `agent:${agent}`,
    principal: `principal:${principalRoot}`,
    owner: `owner:${owner}`,
  };
  return [...new Map(writes.map((write) => [cellKey(write), { ...write, scope: scopes[write.scope] }])).values()];
}

/** SQLSTATEs of what was undone for another: serialisation failure, deadlock, the same row twice. */
const undoneForAnother = new Set(['40001', '40P01', '23505']);

/** @returns what was written; null when the statement was undone because something had moved on */
export async function unlessMovedOn<Written>(written: Promise<Written>): Promise<Written | null> {
  try {
    return await written;
  } catch (error) {
    if (undoneForAnother.has(String((error as { code?: unknown }).code))) return null;
    throw error;
  }
}
