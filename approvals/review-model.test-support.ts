/**
 * What becomes of requests, in the plainest words: a reference for `review.model.test.ts`, which shares no
 * code with the broker. Times are milliseconds. A plan is told by its lifetime alone: the tests narrow
 * nothing else. Of a list of several, a shorter one stands for the list with so many taken out (`takenOut`).
 */

/** Somebody under one name; two accounts of one person have the same `self`. */
export interface ModelPerson {
  self: string;
  groups: readonly string[];
}

export interface ModelAgent {
  /** Whom the manifest in force asks about each capability, in any words that differ when they do. */
  asks: { readonly [capability: string]: string };
  /** Capabilities that it has. */
  has: readonly string[];
  /** Those that a manifest since the beginning lacked. */
  hadNot: readonly string[];
  locked: boolean;
  lockedCapabilities: readonly string[];
}

export interface ModelSession {
  agent: ModelAgent;
  /** Who started it; null = nobody knows, so two must approve. */
  startedBy: string | null;
  ended: boolean;
  until: number;
}

export interface ModelGrant {
  id: string;
  session: ModelSession;
  capability: string;
  /** The group that owned the agent when it was asked, and whom its manifest asked then. */
  owner: string;
  asked: string;
  /** How many of which groups; null = its owner. */
  terms: readonly { quorum: number; from: readonly string[] }[] | null;
  state: 'pending' | 'approved' | 'denied' | 'claimed';
  ttl: number;
  /** Until when it may be decided, or collected. */
  until: number;
  approvals: { self: string; groups: readonly string[]; ttl: number }[];
  /** The list on which people decide in its place; null = they decide on it alone. */
  batch: ModelGrant | null;
  /** What it lists, where it is such a list; else nothing. */
  members: ModelGrant[];
}

/** How many of a list are taken out, the first ones, at each lifetime that stands for one. */
const takenOutAt = [900, 600, 300, 60];
export const takenOut = (ttl: number): number => takenOutAt.indexOf(ttl);
const isList = ({ members }: ModelGrant) => members.length > 0;
const isOpen = ({ state }: ModelGrant) => state === 'pending' || state === 'approved';

export type Verdict = { refused: string } | { state: 'pending' | 'approved' | 'denied' };

const inAny = (groups: readonly string[], from: readonly string[]) => groups.some((group) => from.includes(group));

/** Whether the people who said yes to a plan of this lifetime are enough. */
export function isEnough(grant: ModelGrant, ttl: number): boolean {
  const people = new Map(grant.approvals.filter((one) => one.ttl === ttl).map((one) => [one.self, one.groups]));
  const nobodyKnows = grant.session.startedBy === null;
  if (nobodyKnows && people.size < 2) return false;
  if (grant.terms === null) return people.size >= 1;
  return grant.terms.every(
    ({ quorum, from }) => [...people.values()].filter((groups) => inAny(groups, from)).length >= quorum,
  );
}

const mayAct = (session: ModelSession, at: number) => !session.ended && at < session.until;

/** Whether the manifest in force still asks the same people. */
const sameOwners = ({ asked, capability }: ModelGrant, agent: ModelAgent) => agent.asks[capability] === asked;

export interface Review {
  person: ModelPerson;
  approve: boolean;
  /** Of the plan on the screen. */
  seen: number;
  /** What it is narrowed to. */
  ttl: number;
}

/** @returns what the review of now comes to, without doing it */
export function judge(grant: ModelGrant, { person, approve, seen, ttl }: Review, at: number): Verdict {
  const { session } = grant;
  const asked = inAny(person.groups, grant.terms === null ? [grant.owner] : grant.terms.flatMap(({ from }) => from));
  const party = person.self === session.startedBy;
  const sees = asked || party || person.groups.includes(grant.owner);
  if (approve ? !asked || party : !sees) return { refused: 'forbidden' };
  const before = grant.approvals.filter((one) => one.ttl === grant.ttl).map((one) => one.self);
  if (approve && grant.state === 'pending' && before.includes(person.self)) return { refused: 'forbidden' };
  if (grant.state !== 'pending' || at >= grant.until || !mayAct(session, at)) return { refused: 'conflict' };
  if (grant.batch !== null || (isList(grant) && !grant.members.some(isOpen))) return { refused: 'conflict' };
  if (!sameOwners(grant, session.agent) || seen !== grant.ttl) return { refused: 'conflict' };
  if (!approve) return { state: 'denied' };
  if (isList(grant) ? takenOut(ttl) >= grant.members.length : ttl > grant.ttl || ttl < 1)
    return { refused: 'bad_request' };
  const left = leftBy(grant, ttl);
  const after = { ...grant, approvals: [...grant.approvals, { self: person.self, groups: person.groups, ttl: left }] };
  return { state: isEnough(after, left) ? 'approved' : 'pending' };
}

/** What was taken out of a list stays out. */
const leftBy = (grant: ModelGrant, ttl: number) => (isList(grant) ? Math.min(ttl, grant.ttl) : ttl);

/** Does what `judge` allowed. */
export function settle(grant: ModelGrant, { person, approve, ttl }: Review, state: string, at: number): void {
  if (approve) {
    grant.ttl = leftBy(grant, ttl);
    grant.approvals.push({ self: person.self, groups: person.groups, ttl: grant.ttl });
  }
  grant.state = state as ModelGrant['state'];
  if (state === 'approved') grant.until = Math.min(at + 300_000, grant.session.until);
  for (const [index, member] of grant.members.entries()) {
    if (member.state !== 'pending') continue;
    member.state = index < takenOut(grant.ttl) ? 'denied' : grant.state;
    member.until = grant.until;
  }
}

/** Somebody who approved takes it back: a list with what of it was not collected. */
export function takeBack(grant: ModelGrant): void {
  for (const one of [grant, ...grant.members.filter(isOpen)]) one.state = 'denied';
}

/** Whether somebody who approved may take it back. */
export const mayTakeBack = (grant: ModelGrant, person: ModelPerson, at: number): boolean =>
  isOpen(grant) &&
  (!isList(grant) || grant.members.some(isOpen)) &&
  at < grant.until &&
  grant.approvals.some(({ self }) => self === person.self);

/**
 * Whether a request may be ended by its time, or because others are to be asked. Of a list that was approved
 * what it lists is.
 */
export const mayLapse = (grant: ModelGrant, at: number): boolean =>
  isOpen(grant) &&
  !(isList(grant) && grant.state === 'approved') &&
  (at >= grant.until || !sameOwners(grant, grant.session.agent));

/** What a redemption goes by, as it was when the session was read for it. */
export interface SeenByRedemption {
  agent: ModelAgent;
  at: number;
}

/** @returns why a credential must not be given; null = it may */
export function whyNoCredential(grant: ModelGrant, seen: SeenByRedemption): string | null {
  if (grant.state !== 'approved') return `it is ${grant.state}`;
  if (isList(grant)) return 'a list gives nothing';
  const { batch } = grant;
  if (batch !== null && batch.members.indexOf(grant) < takenOut(batch.ttl)) return 'it was taken out';
  if (!isEnough(batch ?? grant, (batch ?? grant).ttl)) return 'too few approved this plan';
  if (seen.at >= grant.until) return 'its approval has lapsed';
  if (!mayAct(grant.session, seen.at)) return 'its session may not act';
  if (seen.agent.locked || seen.agent.lockedCapabilities.includes(grant.capability)) return 'it is locked';
  if (!seen.agent.has.includes(grant.capability)) return 'its manifest has it no more';
  if (!sameOwners(grant, seen.agent)) return 'others own it now';
  return null;
}
