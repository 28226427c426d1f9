/** Who may do what with a break-glass. Pure. */
import { type Identity, isAnotherPerson, isApprover } from '../people/identity.ts';
import { peopleOf, type StoredBreakGlass } from './stored-break-glass.ts';

export interface BreakGlassPeople {
  isAdmin(person: Identity): boolean;
  /** Group whose members may break the glass too. */
  group: string | undefined;
}

/** Whether the person may ask for one, and agree to one. */
export const mayBreak = ({ isAdmin, group }: BreakGlassPeople, person: Identity): boolean =>
  isAdmin(person) || (group !== undefined && person.groups.includes(group));

/** Whether the person sees it, and so may close it, and review it unless they are one of the two. */
export const maySee = (people: BreakGlassPeople, person: Identity, owner: string | null): boolean =>
  mayBreak(people, person) || (owner !== null && isApprover(person, [owner]));

/** Whether a person is surely neither of the two. */
export const isNeither = (row: StoredBreakGlass, person: Identity): boolean =>
  peopleOf(row).every((one) => isAnotherPerson(one, person));

/** Whether the two are surely two. */
export function areTwo(row: StoredBreakGlass): boolean {
  const [one, other] = peopleOf(row);
  if (one === undefined || other === undefined) return false;
  return isAnotherPerson(one, other) && row.requester_passkey !== row.approver_passkey;
}
