/**
 * Which places a channel tells of a request, by who decides on it. What a place is, the channel knows: a
 * room, an address. Pure.
 */
import { isApproverName } from '../broker/core/identifier.ts';
import type { Message, NoticeKind } from './contract.ts';

/** Owner → places in the order in which they are told. */
export type Routes = ReadonlyMap<string, readonly string[]>;

/**
 * @param text `team:payments=PLACE,user:a@example.com=PLACE>NEXT`
 * @param isPlace what the channel can tell
 * @returns what is wrong with the text, where it is no routes
 */
export function readRoutes(text: string, isPlace: (place: string) => boolean): Routes | string {
  const routes = new Map<string, string[]>();
  for (const entry of text.split(',').map((one) => one.trim())) {
    const at = entry.lastIndexOf('=');
    const owner = entry.slice(0, Math.max(at, 0)).trim();
    const places = entry
      .slice(at + 1)
      .split('>')
      .map((one) => one.trim());
    if (!isApproverName(owner) || !places.every(isPlace) || routes.has(owner))
      return `${entry} must be team:GROUP=PLACE, user:E-MAIL=PLACE or oncall:ROTA=PLACE, with > before each further place, each owner once`;
    routes.set(owner, places);
  }
  return routes;
}

/**
 * The first places of all who decide, or answer for the agent; when those were silent, the next ones, and
 * where there is none, the same again. All of them are reminded.
 * @param standard place of an owner without a route
 */
export function placesToTell(routes: Routes, standard: (owner: string) => string, notice: Message): string[] {
  const owners = notice.kind === 'incident' || notice.kind === 'digest' ? notice.recipients : notice.approvers;
  const places = owners.flatMap((owner) => {
    const route = routes.get(owner) ?? [standard(owner)];
    const [first, next = first] = route as [string, ...string[]];
    if (notice.kind === 'escalated') return [next];
    const both = notice.kind === 'reminder' && notice.earlier.some(({ kind }) => kind === 'escalated');
    return both ? [first, next] : [first];
  });
  return [...new Set(places)];
}

/** Whether anybody of those who are told of a request has a next place. */
export const hasNextPlace = (routes: Routes, notice: Message): boolean =>
  notice.kind !== 'incident' &&
  notice.kind !== 'digest' &&
  notice.approvers.some((owner) => (routes.get(owner)?.length ?? 0) > 1);

/** What comes before a message about a request that people were told of before. */
export function stillWaits(kind: NoticeKind): string {
  if (kind === 'escalated') return 'Still waits: ';
  return kind === 'reminder' ? 'Its time is soon over: ' : '';
}
