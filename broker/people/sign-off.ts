import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Statement, Store } from '../store/open.ts';
import type { NamedAccount } from './account-names.ts';
import { forgetConfirmed, forgettable } from './confirmed-person.ts';
import { loginEnded } from './login-ends.ts';

const signOffStatement: Statement = {
  name: 'login_sign_off',
  text: `
    WITH ended AS (
      DELETE FROM login l USING jsonb_to_recordset($1::jsonb) AS a (issuer text, subject text)
      WHERE l.identity ->> 'issuer' = a.issuer AND l.identity ->> 'subject' = a.subject
      RETURNING l.token_hash, l.identity
    ), each AS (
      ${loginEnded('ended', { at: '$2::timestamptz', actor: "'system'" })}
    ), ${forgetConfirmed('$1::jsonb', '$2::timestamptz')}, events AS (
      ${appendEvent({ chain: "'system'", at: '$2::timestamptz', type: event('person.signed_off'), actor: "'user:' || coalesce(CASE WHEN identity ->> 'emailVerified' = 'true' THEN identity ->> 'email' END, identity ->> 'subject')", payload: "json_build_object('signal', $3::text, 'event', $4::text)" }, 'ended ORDER BY token_hash')}
    )
    SELECT 1 FROM ended`,
};

/**
 * Ends every login of these accounts; nobody signs in as them with a passkey until the provider confirms them
 * again.
 * @returns how many
 */
export async function signOff(
  store: Store,
  accounts: readonly NamedAccount[],
  signal: { jti: string; event: string },
  now: Date,
): Promise<number> {
  const ended = await store.run(signOffStatement, [forgettable(accounts), now, signal.jti, signal.event]);
  return ended.length;
}
