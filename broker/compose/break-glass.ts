/** What break-glass is told by the settings, in the API and in the worker. */
import { deliveringChannels } from '../../approvals/outbox.ts';
import type { Parts } from './parts.ts';

export const breakGlassSettings = ({ settings, clock, catalog, channels }: Parts) => ({
  clock,
  catalog,
  longestSeconds: settings.WRIT_BREAK_GLASS_SECONDS,
  reviewSeconds: settings.WRIT_BREAK_GLASS_REVIEW_SECONDS,
  alerts: settings.WRIT_BREAK_GLASS_ALERTS,
  noticeChannels: deliveringChannels(channels).map(({ name }) => name),
});
