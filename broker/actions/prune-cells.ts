/**
 * Deletes cells of history that nothing can look at any more: those of sessions that have ended, and those
 * whose window has passed since they were last moved. Whatever never passes is kept: labels of entities, who
 * was the first to touch something, and what is usual.
 *
 * A walk through the table by its key, a page at a time. Each run goes on where the last one stopped, and
 * stops when it has read enough in vain: what it costs depends on what there is to delete, never on how much
 * there is to keep.
 */
import type { Catalog } from '../manifests/catalog.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Statement, Store } from '../store/open.ts';
import { keptFor } from './monitors.ts';

/** The last cell that was looked at; null = the walk begins. */
export type Place = { scope: string; cell: string } | null;

export interface Walk {
  from: Place;
  /** Cells of one statement. */
  page: number;
  /** Pages with nothing to delete after which this run ends. */
  inVain: number;
}

/**
 * A cell is named by its tracker. What is of a session is over when nothing can happen in its tree any more:
 * every session of it has ended, and holds nothing.
 */
export const pruneStatement: Statement = {
  name: 'monitor_cell_prune',
  text: `
    WITH given AS MATERIALIZED (
      SELECT * FROM json_to_record($1::json) AS g (scope text, cell text, page int, kept json)
    ), kept AS MATERIALIZED (
      SELECT k.* FROM given CROSS JOIN LATERAL json_to_recordset(given.kept) AS k (tracker text, moved_before timestamptz)
    ), page AS MATERIALIZED (
      SELECT m.scope, m.cell, m.moved_at FROM monitor_cell m
      WHERE (m.scope, m.cell) > ((SELECT scope FROM given), (SELECT cell FROM given))
      ORDER BY m.scope, m.cell LIMIT (SELECT page FROM given)
    ), due AS MATERIALIZED (
      SELECT p.scope, p.cell, p.moved_at FROM page p JOIN session root ON root.id = substr(p.scope, 9)
      WHERE p.scope LIKE 'session:%' AND root.released_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM session s WHERE s.root_id = root.id AND s.released_at IS NULL)
      UNION ALL
      SELECT p.scope, p.cell, p.moved_at FROM page p JOIN kept ON kept.tracker = split_part(p.cell, '.', 1)
      WHERE p.scope NOT LIKE 'session:%' AND p.moved_at < kept.moved_before
    ), free AS MATERIALIZED (
      SELECT m.scope, m.cell FROM due JOIN monitor_cell m ON m.scope = due.scope AND m.cell = due.cell
      WHERE m.moved_at = due.moved_at FOR UPDATE OF m SKIP LOCKED
    ), gone AS (
      DELETE FROM monitor_cell m USING free WHERE m.scope = free.scope AND m.cell = free.cell RETURNING 1
    )
    SELECT p.scope, p.cell, (SELECT count(*) FROM page)::int AS read, (SELECT count(*) FROM gone)::int AS gone
    FROM page p ORDER BY p.scope DESC, p.cell DESC LIMIT 1`,
};

/** @returns how many cells are gone, and where to go on; null = the end was reached */
export async function pruneCells(
  store: Store,
  catalog: Catalog,
  now: Date,
  { from, page, inVain }: Walk,
): Promise<{ gone: number; next: Place }> {
  const kept = [...(await windowsOf(store, catalog))].map(([tracker, ms]) => ({
    tracker,
    moved_before: new Date(now.getTime() - ms),
  }));
  let place = from;
  let gone = 0;
  for (let vain = 0; vain < inVain; ) {
    const { scope, cell } = place ?? { scope: '', cell: '' };
    const [last] = await store.run<{ scope: string; cell: string; read: number; gone: number }>(pruneStatement, [
      JSON.stringify({ scope, cell, page, kept }),
    ]);
    if (last === undefined) return { gone, next: null };
    gone += last.gone;
    if (last.read < page) return { gone, next: null };
    if (last.gone === 0) vain += 1;
    place = { scope: last.scope, cell: last.cell };
  }
  return { gone, next: place };
}

/** Pages with nothing to delete that one run reads. */
const inVain = 10;

/** Where each broker's walk stands: forgotten with the process, the next begins at the front. */
const places = new WeakMap<Store, Place>();

/**
 * One run of a broker's walk: goes on where its last one stopped.
 * @returns how many cells are gone
 */
export async function pruneOn(store: Store, catalog: Catalog, now: Date, page: number): Promise<number> {
  const { gone, next } = await pruneCells(store, catalog, now, { from: places.get(store) ?? null, page, inVain });
  places.set(store, next);
  return gone;
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
