/** Where this broker learns who is on call: a file, a server, or nowhere. */
import { createSideChannel, type SideChannelMetrics } from '../core/side-channel.ts';
import { fetchedOnCall } from '../people/fetched-rota.ts';
import type { OnCall } from '../people/on-call.ts';
import { weeklyOnCall } from '../people/weekly-rota.ts';
import type { Foundation } from './foundation.ts';

export function openOnCall(
  { settings, weeklyRotas, clock, log, random }: Foundation,
  metrics: SideChannelMetrics,
): OnCall {
  if (weeklyRotas !== null) return weeklyOnCall(weeklyRotas, clock);
  const url = settings.WRIT_ONCALL_URL;
  if (url === undefined) return { peopleOn: async () => [] };
  const consequence = `who was on call last is believed for ${settings.WRIT_ONCALL_STALE_SECONDS} s, and then nobody is`;
  return fetchedOnCall({
    clock,
    place: { url, token: settings.WRIT_ONCALL_TOKEN ?? null, allowPrivate: settings.WRIT_ONCALL_ALLOW_PRIVATE },
    staleSeconds: settings.WRIT_ONCALL_STALE_SECONDS,
    channel: createSideChannel('oncall', consequence, { log, metrics, random }),
  });
}
