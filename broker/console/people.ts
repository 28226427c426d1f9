/**
 * How the pages name the people of a session: what is vouched for and what the agent says stand apart. Pure.
 */
import { h, type JSX } from 'preact';
import { userText, type VouchedPerson } from '../core/identifier.ts';
import { Foreign } from './shell.ts';
import { bare } from './text.ts';

export interface NamedPeople {
  on_behalf_of: VouchedPerson | null;
  declared_on_behalf_of: string | null;
}

const named = (person: string): JSX.Element => h(Foreign, { text: bare(person) });

/** A person whom the platform names. */
export const vouchedName = (person: VouchedPerson): JSX.Element => named(userText(person));

/** Whom a session acts for, for a line of text; null when nobody is named. */
export function forWhom({ on_behalf_of, declared_on_behalf_of }: NamedPeople): (JSX.Element | string)[] | null {
  if (on_behalf_of !== null) return [vouchedName(on_behalf_of)];
  return declared_on_behalf_of === null ? null : [named(declared_on_behalf_of), ' (claimed by the agent)'];
}

/** The same for a list of facts. */
export function forWhomFact(people: NamedPeople): (JSX.Element | string)[] {
  if (people.on_behalf_of !== null) return [vouchedName(people.on_behalf_of), ', as the platform says'];
  if (people.declared_on_behalf_of === null) return ['nobody named'];
  return [named(people.declared_on_behalf_of), ': claimed by the agent, vouched for by nobody'];
}

/** Who started it, for a list of facts. */
export function startedByFact(session: {
  started_by: VouchedPerson | null;
  responsible: string | null;
}): (JSX.Element | string)[] {
  const person = session.started_by === null ? null : [vouchedName(session.started_by), ', as the platform says'];
  const team =
    session.responsible === null ? null : [h(Foreign, { text: session.responsible }), ', who counts as its starter'];
  if (person !== null && team !== null) return [...person, '; and ', ...team];
  return person ?? team ?? ['nobody says'];
}
