/** Which rooms are told of a request, by who decides on it. Pure. */
import { isOwnerName } from '../../broker/core/identifier.ts';
import type { Notice } from '../contract.ts';

/** Owner → rooms in the order in which they are told. */
export type Routes = ReadonlyMap<string, readonly string[]>;

const room = /^[CGUW][A-Z0-9]{2,20}$/;

/** @returns what is wrong with the text, where it is no routes */
export function readRoutes(text: string): Routes | string {
  const routes = new Map<string, string[]>();
  for (const entry of text.split(',').map((one) => one.trim())) {
    const at = entry.lastIndexOf('=');
    const owner = entry.slice(0, Math.max(at, 0)).trim();
    const rooms = entry
      .slice(at + 1)
      .split('>')
      .map((one) => one.trim());
    if (!isOwnerName(owner) || !rooms.every((one) => room.test(one)) || routes.has(owner))
      return `${entry} must be team:GROUP=ROOM or user:E-MAIL=ROOM, with > before each further room, each owner once`;
    routes.set(owner, rooms);
  }
  return routes;
}

/**
 * The first rooms of all who decide, or, when those were silent, the next ones; where there is none, the same
 * again.
 */
export function roomsOf(
  routes: Routes,
  standard: string,
  { kind, approvers }: Pick<Notice, 'kind' | 'approvers'>,
): string[] {
  const rooms = approvers.map((owner) => {
    const route = routes.get(owner) ?? [standard];
    return (kind === 'escalated' ? (route[1] ?? route[0]) : route[0]) as string;
  });
  return [...new Set(rooms.length === 0 ? [standard] : rooms)];
}
