/**
 * The part of the session read that the table of facts says: a column for each fact that comes from the
 * database, named as the fact is (`"session.grants"`). Only constant text of ours is put together here, once,
 * when the process starts.
 */
import { type SessionFactName, type SessionFactValues, sessionFacts } from '../manifests/facts-table.ts';

const quoted = (name: string) => `"${name}"`;
const history = sessionFacts.filter(({ fact }) => fact.from === 'history');

/** For the list of columns. Nobody's history was asked for: nothing is in it. */
export const factColumns = sessionFacts
  .map(({ name, fact }) => {
    const sql = fact.from === 'history' ? `coalesce(history.${quoted(name)}, 0)` : fact.sql;
    return `${sql} AS ${quoted(name)}`;
  })
  .join(', ');

/** Within `history`: what is counted in each session of the tree, and its sum. */
export const historyAggregates = history.map(({ name, fact }) => `${fact.sql} AS ${quoted(name)}`).join(', ');
export const historySums = history.map(({ name }) => `sum(own.${quoted(name)})::int AS ${quoted(name)}`).join(', ');

/** A column for each fact; the types are unchecked here. */
export type FactColumns = { readonly [name in SessionFactName]: unknown };

/**
 * The facts in a row of the session read. Types are the database's word here and checked when a decision is
 * made (`decide/facts.ts`), which denies what is not of its type. NULL is the absence of a fact that may be
 * absent.
 */
export function factsOfRow(row: FactColumns): SessionFactValues {
  const known = sessionFacts.filter(({ name, fact }) => fact.optional !== true || row[name] !== null);
  return Object.fromEntries(known.map(({ name, short }) => [short, row[name]])) as unknown as SessionFactValues;
}
