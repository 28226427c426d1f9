import { pruneOn } from '../../actions/prune-cells.ts';
import { type SystemJob, stepSize } from '../job.ts';

/** Deletes what rules remember and can use no more. Rare: only the size of the table depends on it. */
export const pruneCells: SystemJob = {
  name: 'prune cells of history',
  scope: 'system',
  everyTicks: 60,
  run: ({ store, catalog }, now) => pruneOn(store, catalog, now, stepSize),
};
