/**
 * How many approvals of whom a request needs, and which of them it has: for the review that gives one and for
 * the delivering side that counts them again. Pure.
 */
import { type Identifier, isMachine } from '../core/identifier.ts';
import type { ApprovalTerm } from '../core/vocabulary.ts';
import { type Identity, isAnotherPerson, isApprover } from '../people/identity.ts';

/** A term with the approvals that count for it, one of each person. */
export interface TermProgress<Approval> {
  needed: number;
  /** null: anybody who may approve. */
  from: string[] | null;
  given: Approval[];
}

/** Who started a session, as it is vouched for (null, or an identifier), and who counts as its starter. */
interface Started {
  started_by: unknown;
  responsible: unknown;
}

/**
 * Where nobody says who started a run (that an app did names no person), and nobody is named as its starter,
 * it may be the very person who approves: then there must be two.
 * @param line the session, and those above it
 */
const leastApprovals = (line: readonly Started[]): 1 | 2 =>
  line.some(
    ({ started_by, responsible }) =>
      (started_by === null || isMachine(started_by as Identifier)) && responsible === null,
  )
    ? 2
    : 1;

/**
 * @param terms what the manifest says of it; null = one of the owners
 * @param approvals of the very plan, by whoever could give them
 */
export function approvalProgress<Approval extends { reviewer: Identity }>(
  terms: readonly ApprovalTerm[] | null,
  line: readonly Started[],
  approvals: readonly Approval[],
): TermProgress<Approval>[] {
  // Accounts of two places cannot be told apart, so they count once.
  const people = approvals.filter((one, index) =>
    approvals.slice(0, index).every(({ reviewer }) => isAnotherPerson(reviewer, one.reviewer)),
  );
  const least = leastApprovals(line);
  if (terms === null) return [{ needed: least, from: null, given: people }];
  const [only] = terms;
  const all =
    terms.length === 1 && only !== undefined
      ? [{ ...only, quorum: Math.max(only.quorum, least) }]
      : [...terms, ...(least === 1 ? [] : [{ quorum: least, from: [...new Set(terms.flatMap(({ from }) => from))] }])];
  return all.map(({ quorum, from }) => ({
    needed: quorum,
    from: [...from],
    given: people.filter(({ reviewer }) => isApprover(reviewer, from)),
  }));
}

/** Whether every term is met. No term is none that is met. */
export const isMet = (progress: readonly TermProgress<unknown>[]): boolean =>
  progress.length > 0 && progress.every(({ needed, given }) => given.length >= needed);
