/**
 * What becomes of requests, in the plainest words: a reference for `review.model.test.ts`, which shares no
 * code with the broker. Times are milliseconds. A plan is told by its lifetime alone: the tests narrow
 * nothing else.
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
}

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
  if (!sameOwners(grant, session.agent) || seen !== grant.ttl) return { refused: 'conflict' };
  if (!approve) return { state: 'denied' };
  if (ttl > grant.ttl || ttl < 1) return { refused: 'bad_request' };
  const after = { ...grant, approvals: [...grant.approvals, { self: person.self, groups: person.groups, ttl }] };
  return { state: isEnough(after, ttl) ? 'approved' : 'pending' };
}

/** Does what `judge` allowed. */
export function settle(grant: ModelGrant, { person, approve, ttl }: Review, state: string, at: number): void {
  if (approve) {
    grant.approvals.push({ self: person.self, groups: person.groups, ttl });
    grant.ttl = ttl;
  }
  grant.state = state as ModelGrant['state'];
  if (state === 'approved') grant.until = Math.min(at + 300_000, grant.session.until);
}

/** Whether somebody who approved may take it back. */
export const mayTakeBack = (grant: ModelGrant, person: ModelPerson, at: number): boolean =>
  (grant.state === 'pending' || grant.state === 'approved') &&
  at < grant.until &&
  grant.approvals.some(({ self }) => self === person.self);

/** Whether a request may be ended by its time, or because others are to be asked. */
export const mayLapse = (grant: ModelGrant, at: number): boolean =>
  (grant.state === 'pending' || grant.state === 'approved') &&
  (at >= grant.until || !sameOwners(grant, grant.session.agent));

/** What a redemption goes by, as it was when the session was read for it. */
export interface SeenByRedemption {
  agent: ModelAgent;
  at: number;
}

/** @returns why a credential must not be given; null = it may */
export function whyNoCredential(grant: ModelGrant, seen: SeenByRedemption): string | null {
  if (grant.state !== 'approved') return `it is ${grant.state}`;
  if (!isEnough(grant, grant.ttl)) return 'too few approved this plan';
  if (seen.at >= grant.until) return 'its approval has lapsed';
  if (!mayAct(grant.session, seen.at)) return 'its session may not act';
  if (seen.agent.locked || seen.agent.lockedCapabilities.includes(grant.capability)) return 'it is locked';
  if (!seen.agent.has.includes(grant.capability)) return 'its manifest has it no more';
  if (!sameOwners(grant, seen.agent)) return 'others own it now';
  return null;
}
