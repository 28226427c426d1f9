/**
 * The closed lists of events and reasons, held against the code that writes them. The compiler refuses a name
 * that is not on a list; this refuses a name on a list that nothing writes.
 */
import { eventTypes } from '../../broker/audit/events.ts';
import {
  codesOf,
  decisionReasons,
  endReasons,
  misuseReasons,
  passkeyRefusals,
  preApprovalEnds,
  reviewBlockers,
  revokeReasons,
} from '../../broker/core/reasons.ts';
import { forTests } from './boundaries.ts';
import type { Part } from './part.ts';
import { readSources, type Source } from './sources.ts';

/** A list of names, and how code gives one of them. */
export interface ClosedList {
  file: string;
  what: string;
  names: readonly string[];
  /** Functions that take a name as an argument. */
  calls: readonly string[];
  /** Members that hold one. */
  members?: readonly string[];
  /** Files in which any text that is given as a value counts. */
  files?: RegExp;
}

export const closedLists: ClosedList[] = [
  {
    file: 'broker/audit/events.ts',
    what: 'event',
    names: eventTypes,
    calls: ['event', 'eventBy', 'eventAmong'],
  },
  {
    file: 'broker/core/reasons.ts',
    what: 'end reason',
    names: codesOf(endReasons),
    calls: ['endReason', 'end'],
    members: ['reason'],
  },
  {
    file: 'broker/core/reasons.ts',
    what: 'revoke reason',
    names: codesOf(revokeReasons),
    calls: ['revokeReason'],
  },
  {
    file: 'broker/core/reasons.ts',
    what: 'decision reason',
    names: codesOf(decisionReasons),
    calls: ['decisionReason', 'denial', 'forbid'],
    members: ['code', 'reason'],
  },
  {
    file: 'broker/core/reasons.ts',
    what: 'end of a pre-approval',
    names: codesOf(preApprovalEnds),
    calls: ['preApprovalEnd'],
    members: ['reason'],
  },
  {
    file: 'broker/core/reasons.ts',
    what: 'review blocker',
    names: codesOf(reviewBlockers),
    calls: [],
    files: /^approvals\/(?:eligibility|challenge|confirmation)\.ts$/,
  },
  {
    file: 'broker/core/reasons.ts',
    what: 'passkey refusal',
    names: codesOf(passkeyRefusals),
    calls: [],
    files: /^broker\/people\/passkeys\//,
  },
  {
    file: 'broker/core/reasons.ts',
    what: 'refusal reason',
    names: codesOf(misuseReasons),
    calls: [],
    files: /^broker\/(identity\/|http\/refusals\.ts$)/,
  },
];

const written = /^(broker|approvals)\//;
const isCode = ({ path }: Source) => written.test(path) && !forTests.test(path);

/** Names that nothing gives: an event nobody writes, a reason nobody has. */
export function unwritten(sources: Source[], lists: readonly ClosedList[] = closedLists): string[] {
  return lists.flatMap(({ file, what, names, calls, members = [], files }) => {
    const given = new Set(
      sources
        .filter((source) => isCode(source) && source.path !== file)
        .flatMap(({ path, literals }) =>
          literals.filter(
            ({ call, member }) =>
              files?.test(path) === true ||
              (call !== null && calls.includes(call)) ||
              (member !== null && members.includes(member)),
          ),
        )
        .map(({ text }) => text),
    );
    return names
      .filter((name) => !given.has(name))
      .map((name) => `${file}: no code gives the ${what} ${name}; remove it, or write it`);
  });
}

export const closedListsPart: Part = {
  name: 'closed lists',
  run: async (root) => {
    const sources = readSources(root);
    return {
      faults: unwritten(sources),
      notes: [closedLists.map(({ what, names }) => `${names.length} ${what}s`).join(', ')],
    };
  },
};
