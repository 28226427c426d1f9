import { pruneCells as prune } from '../../actions/prune-cells.ts';
import { type SystemJob, stepSize } from '../job.ts';

/** Deletes what nothing that rules remember can be asked for any more. Rare: the table's size depends on it. */
export const pruneCells: SystemJob = {
  name: 'prune cells of history',
  scope: 'system',
  everyTicks: 60,
  run: ({ store, catalog }, now) => prune(store, catalog, now, stepSize),
};
