/**
 * The closed lists of events and reasons, held against the code that writes them. The compiler refuses a name
 * that is not on a list; this refuses a name on a list that nothing writes, and an audit row whose type the
 * compiler did not see.
 */
import { eventTypes } from '../../broker/audit/events.ts';
import {
  codesOf,
  decisionReasons,
  endReasons,
  misuseReasons,
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
    what: 'review blocker',
    names: codesOf(reviewBlockers),
    calls: [],
    files: /^approvals\/eligibility\.ts$/,
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

const helper = /\$\{event(?:By|Among)?\((?:[^()]|\([^()]*\))*\)\}/g;
/** A type that the compiler saw: one helper, or a CASE whose every outcome is one. */
const typed = /^(§|CASE( WHEN [^§]*? THEN §)+( ELSE §)? END)$/;

/** Audit rows whose type is not named by `event`, `eventBy` or `eventAmong`. */
export function untypedEvents(sources: Source[]): string[] {
  return sources.filter(isCode).flatMap(({ path, literals }) =>
    literals.flatMap(({ text, line }) =>
      [...text.matchAll(/INSERT\s+INTO\s+"?audit_event"?/gi)].flatMap((match) => {
        const type = typeExpression(text.slice(match.index + match[0].length));
        if (type !== null && typed.test(type.replaceAll(helper, '§').replaceAll(/\s+/g, ' '))) return [];
        const at = line + text.slice(0, match.index).split('\n').length - 1;
        return [`${path}:${at}: writes an event by ${type ?? 'no list of columns'}; name it with event('…')`];
      }),
    ),
  );
}

/** What the statement puts into the column `type`; null when it cannot be told. */
function typeExpression(statement: string): string | null {
  const columns = /^\s*\(([^)]*)\)\s*(?:SELECT\s|VALUES\s*\()/i.exec(statement);
  const place = columns?.[1]?.split(',').findIndex((column) => column.trim() === 'type') ?? -1;
  if (columns === null || place < 0) return null;
  return items(statement.slice(columns[0].length))[place]?.trim() ?? null;
}

/** Splits a list of SQL expressions at its commas; what is in brackets, quotes or `${…}` stays together. */
function items(list: string): string[] {
  const found = [''];
  let depth = 0;
  for (const [token] of list.matchAll(/'[^']*'|[^']/g)) {
    if (/^[({[]$/.test(token)) depth += 1;
    if (/^[)}\]]$/.test(token)) depth -= 1;
    if (depth < 0) break;
    if (token === ',' && depth === 0) found.push('');
    else found[found.length - 1] += token;
  }
  return found;
}

export const closedListsPart: Part = {
  name: 'closed lists',
  run: async (root) => {
    const sources = readSources(root);
    return {
      faults: [...unwritten(sources), ...untypedEvents(sources)],
      notes: [closedLists.map(({ what, names }) => `${names.length} ${what}s`).join(', ')],
    };
  },
};
