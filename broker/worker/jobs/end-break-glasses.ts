import type { EndDeps } from '../../break-glass/end.ts';
import { endDueBreakGlasses } from '../../break-glass/end-due.ts';
import type { BreakGlassMetrics } from '../../break-glass/metrics.ts';
import type { SystemJob } from '../job.ts';

/** Ends break-glasses whose time is over, and says which were not reviewed in time. */
export const endBreakGlasses = (
  own: Pick<EndDeps, 'clock' | 'noticeChannels' | 'alerts' | 'reviewSeconds'> & { metrics: BreakGlassMetrics },
): SystemJob => ({
  name: 'end break-glasses',
  scope: 'system',
  run: ({ store, catalog, mintDeadlineSeconds, notify, toldOfEnds }, now) =>
    endDueBreakGlasses({ ...own, store, catalog, mintDeadlineSeconds, notify, toldOfEnds }, now),
});
