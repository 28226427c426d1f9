/**
 * Deletes cells of history that nothing can look at any more: those of sessions that have ended, and those
 * whose window has passed since they were last moved. Whatever never passes is kept: labels of entities, who
 * was the first to touch something, and what is usual.
 */
import type { Catalog } from '../manifests/catalog.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Statement, Store } from '../store/open.ts';
import { keptFor } from './monitors.ts';

/** Of trees in which nothing can happen any more: every session has ended, and holds nothing. */
const endedStatement: Statement = {
  name: 'monitor_cell_prune_ended',
  text: `
    WITH due AS (
      SELECT m.scope, m.cell FROM monitor_cell m JOIN session root ON m.scope = 'session:' || root.id
      WHERE m.scope LIKE 'session:%' AND root.released_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM session s WHERE s.root_id = root.id AND s.released_at IS NULL)
      LIMIT $1::int FOR UPDATE OF m SKIP LOCKED
    )
    DELETE FROM monitor_cell m USING due WHERE m.scope = due.scope AND m.cell = due.cell RETURNING 1`,
};

/** A cell is named by its tracker. */
const passedStatement: Statement = {
  name: 'monitor_cell_prune_passed',
  text: `
    WITH kept AS MATERIALIZED (
      SELECT * FROM json_to_recordset($1::json) AS k (tracker text, moved_before timestamptz)
    ), due AS (
      SELECT m.scope, m.cell FROM monitor_cell m JOIN kept ON kept.tracker = split_part(m.cell, '.', 1)
      WHERE m.scope NOT LIKE 'session:%' AND m.moved_at < kept.moved_before
      LIMIT $2::int FOR UPDATE OF m SKIP LOCKED
    )
    DELETE FROM monitor_cell m USING due WHERE m.scope = due.scope AND m.cell = due.cell RETURNING 1`,
};

/**
 * @param limit of one statement; there are as many as it takes
 * @returns how many cells are gone
 */
export async function pruneCells(store: Store, catalog: Catalog, now: Date, limit: number): Promise<number> {
  const passed = [...(await windowsOf(store, catalog))].map(([tracker, ms]) => ({
    tracker,
    moved_before: new Date(now.getTime() - ms),
  }));
  const drained = async (statement: Statement, values: unknown[]): Promise<number> => {
    let [all, found] = [0, limit];
    for (; found === limit; all += found) found = (await store.run(statement, values as string[])).length;
    return all;
  };
  const ended = await drained(endedStatement, [limit]);
  return ended + (await drained(passedStatement, [JSON.stringify(passed), limit]));
}

/**
 * How long cells of each tracker are kept, of every version that was ever published: an older one may come
 * back, and resets nothing. What no manifest knows is kept.
 */
async function windowsOf({ prisma }: Store, catalog: Catalog): Promise<Map<string, number>> {
  const versions = await prisma.manifest.findMany({ select: { agent: true, version: true } });
  const windows = new Map<string, number>();
  for (const { agent, version } of versions) {
    const { manifest } = (await catalog.version(agent, version)).compiled;
    for (const tracker of compiledCalls(manifest).trackers) {
      const ms = keptFor(tracker);
      if (ms !== null) windows.set(tracker.id, ms);
    }
  }
  return windows;
}
