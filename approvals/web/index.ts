/**
 * The web channel: the broker's own pages. Always on; sends no notices, since people open the pages
 * themselves.
 */
import { z } from 'zod';
import type { ChannelModule } from '../contract.ts';
import { approvalsRouter, waitingTableFor } from './approvals.ts';

const settings = z.object({});

export const web: ChannelModule<z.output<typeof settings>> = {
  name: 'web',
  switchedOnBy: 'always',
  settings,
  create: () => ({
    name: web.name,
    router: (deps) => approvalsRouter({ ...deps, channel: web.name }),
    waitingFor: waitingTableFor,
  }),
};
