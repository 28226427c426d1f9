import { type Place, pruneCells as prune } from '../../actions/prune-cells.ts';
import type { Store } from '../../store/open.ts';
import { type SystemJob, stepSize } from '../job.ts';

/** Pages with nothing to delete that one run reads. */
const inVain = 10;

/** Where each broker's walk stands: forgotten with the process, the next begins at the front. */
const places = new WeakMap<Store, Place>();

/** Deletes what rules remember and can use no more. Rare: only the size of the table depends on it. */
export const pruneCells: SystemJob = {
  name: 'prune cells of history',
  scope: 'system',
  everyTicks: 60,
  run: async ({ store, catalog }, now) => {
    const { gone, next } = await prune(store, catalog, now, { from: places.get(store) ?? null, page: stepSize, inVain });
    places.set(store, next);
    return gone;
  },
};
