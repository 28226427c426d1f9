/**
 * Nobody breaks the glass for themselves: whoever a session acts for, started it, or answers for its runs is
 * none of the two. Stricter than a review: who cannot be told from them is none either.
 */
import { readUser, type VouchedPerson } from '../core/identifier.ts';
import type { ProvenRows } from '../core/proven-rows.ts';
import { type Identity, likeness, likenessToOwner } from '../people/identity.ts';
import { provenColumns, sessionHolds } from '../sessions/proven-session.ts';
import type { Statement, Store } from '../store/open.ts';

type SessionRow = ProvenRows['session'] & { proof: string };

const lineStatement: Statement = {
  name: 'break_glass_line',
  text: `
    WITH RECURSIVE line AS (
      SELECT ${provenColumns('s')}, s.proof FROM session s WHERE s.id = $1::text
      UNION
      SELECT ${provenColumns('p')}, p.proof FROM session p JOIN line ON p.id = line.parent_id
    )
    SELECT * FROM line`,
};

/** The session and those above it; null = there is none of that id, or one is not as it was opened. */
export async function lineOf(store: Store, sessionId: string): Promise<SessionRow[] | null> {
  const line = await store.run<SessionRow>(lineStatement, [sessionId]);
  return line.length > 0 && line.every((session) => sessionHolds(store, session)) ? line : null;
}

/** Whether the person is one of the sessions' people, or nobody can tell. */
export const mayBeParty = (person: Identity, line: readonly SessionRow[]): boolean =>
  line.some((session) => mayBePartyTo(person, session));

function mayBePartyTo(person: Identity, session: SessionRow): boolean {
  const { issuer, subject } = session.subject as { issuer?: unknown; subject?: unknown };
  if (issuer === person.issuer && subject === person.subject) return true;
  if (person.subjectUnknownAt !== undefined && issuer === person.subjectUnknownAt) return true;
  const had = (person.former ?? []).some(
    (name) => name.kind === 'subject' && name.issuer === issuer && name.value === subject,
  );
  if (had) return true;
  const vouched = [session.started_by, session.on_behalf_of] as (VouchedPerson | null)[];
  if (vouched.some((name) => name !== null && likeness(person, name) !== 'other')) return true;
  const declared = session.declared_on_behalf_of;
  if (declared !== null) {
    const name = readUser(declared) ?? { kind: 'unknown', value: declared };
    // Of what the agent wrote nobody knows the kind for sure.
    if (likeness(person, name) !== 'other' || likeness(person, { kind: null, value: name.value }) === 'same')
      return true;
  }
  return session.responsible !== null && likenessToOwner(person, session.responsible) !== 'other';
}
