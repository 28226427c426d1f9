import { type OwnerWatch, watchOwners as watch } from '../../signals/watch-owners.ts';
import type { SystemJob } from '../job.ts';

/** Says whose owner is gone, and ends what nobody took over in time. */
export const watchOwners = (own: OwnerWatch): SystemJob => ({
  name: 'watch owners',
  scope: 'system',
  run: ({ store, mintDeadlineSeconds, notify, toldOfEnds }, now) =>
    watch({ ...own, store, mintDeadlineSeconds, notify, toldOfEnds }, now),
});
