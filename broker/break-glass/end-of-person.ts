/** Ends what somebody asked for, or agreed to, whom the identity provider has signed off since. */
import type { NamedAccount } from '../people/account-names.ts';
import type { Statement } from '../store/open.ts';
import { type EndDeps, endOne, endWhatWasGiven } from './end.ts';
import { breakGlassColumns, type StoredBreakGlass } from './stored-break-glass.ts';

export type EndOfPersonDeps = EndDeps;

const ofPersonStatement: Statement = {
  name: 'break_glass_of_person',
  text: `
    SELECT ${breakGlassColumns} FROM break_glass b
    WHERE b.status IN ('waiting', 'active') AND EXISTS (
      SELECT 1 FROM jsonb_to_recordset($1::jsonb) AS a (issuer text, subject text)
      WHERE (a.issuer = b.requester ->> 'issuer' AND a.subject = b.requester ->> 'subject')
        OR (a.issuer = b.approver ->> 'issuer' AND a.subject = b.approver ->> 'subject'))
    ORDER BY b.id`,
};

/**
 * Everybody who was told that it was opened is told that it is over. Idempotent: where a process dies before
 * the last of them has ended, or before what was given is revoked, whoever carries the signal out next goes
 * on.
 */
export async function endOfPerson(deps: EndOfPersonDeps, accounts: readonly NamedAccount[], now: Date): Promise<void> {
  const named = JSON.stringify(accounts.map(({ issuer, subject }) => ({ issuer, subject })));
  const rows = await deps.store.run<StoredBreakGlass>(ofPersonStatement, [named]);
  const by = { how: 'signed_off', actor: 'system', words: null, requestId: null } as const;
  for (const row of rows) await endOne(deps, row, by);
  await endWhatWasGiven(deps, now);
}
