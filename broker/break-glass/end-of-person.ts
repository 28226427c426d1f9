/** Ends what somebody asked for, or agreed to, whom the identity provider has signed off since. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { NamedAccount } from '../people/account-names.ts';
import type { EndSessionDeps } from '../sessions/end-session.ts';
import type { Statement } from '../store/open.ts';
import { endWhatWasGiven } from './end.ts';

const endStatement: Statement = {
  name: 'break_glass_end_of_person',
  text: `
    WITH account AS (
      SELECT a.issuer, a.subject FROM jsonb_to_recordset($1::jsonb) AS a (issuer text, subject text)
    ), ended AS (
      UPDATE break_glass b SET status = CASE WHEN b.status = 'waiting' THEN 'lapsed' ELSE 'ended' END, ended_at = $2::timestamptz, ended_how = 'signed_off', ended_by = 'system'
      WHERE b.status IN ('waiting', 'active') AND EXISTS (
        SELECT 1 FROM account a WHERE (a.issuer = b.requester ->> 'issuer' AND a.subject = b.requester ->> 'subject')
          OR (a.issuer = b.approver ->> 'issuer' AND a.subject = b.approver ->> 'subject'))
      RETURNING b.id, b.agent
    ), event AS (
      ${appendEvent({ chain: "'break-glass'", at: '$2::timestamptz', type: event('break_glass.ended'), actor: "'system'", payload: "json_build_object('break_glass', id, 'agent', agent, 'how', 'signed_off')" }, 'ended ORDER BY id')}
    )
    SELECT id FROM ended`,
};

/** Idempotent: where a process dies before what was given is revoked, the worker goes on. */
export async function endOfPerson(deps: EndSessionDeps, accounts: readonly NamedAccount[], now: Date): Promise<void> {
  const named = JSON.stringify(accounts.map(({ issuer, subject }) => ({ issuer, subject })));
  const ended = await deps.store.run(endStatement, [named, now]);
  if (ended.length > 0) await endWhatWasGiven(deps, now);
}
