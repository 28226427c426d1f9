/**
 * Carries out what was signalled about a person. Every step ends only what there still is, and the row stays
 * due until a pass has found nothing more to end: whoever dies in between leaves what the next one goes on
 * with, and several at once do no harm.
 */
import type { Logger } from 'pino';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { type EndOfPersonDeps, endOfPerson } from '../break-glass/end-of-person.ts';
import type { Identifier } from '../core/identifier.ts';
import type { SignalEffect } from '../core/reasons.ts';
import { accountsOf, type NamedAccount } from '../people/account-names.ts';
import { signOff } from '../people/sign-off.ts';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import type { Statement, Store } from '../store/open.ts';
import { lapseApprovals } from './lapse-approvals.ts';
import { recordPresence } from './owner-presence.ts';

interface DueSignal {
  set_key: string;
  event_type: string;
  jti: string;
  names: Identifier[];
  effect: SignalEffect;
  received_at: Date;
  proof: string;
}

/** To end everything of a person. */
export interface CarryOutDeps extends EndSessionDeps, Pick<EndOfPersonDeps, 'clock' | 'catalog'> {
  breakGlass: Pick<EndOfPersonDeps, 'noticeChannels' | 'alerts' | 'reviewSeconds'>;
  log: Logger;
}

/** When what could not be carried out is tried again. */
const retryMs = 5_000;
const sessionStep = 200;

const dueStatement: Statement = {
  name: 'signal_due',
  text: `
    SELECT set_key, event_type, jti, names, effect, received_at, proof FROM signal WHERE due_at <= $1::timestamptz ORDER BY due_at, set_key, event_type LIMIT $2::int`,
};

const laterStatement: Statement = {
  name: 'signal_later',
  text: `
    UPDATE signal SET due_at = $3::timestamptz WHERE set_key = $1::text AND event_type = $2::text AND due_at IS NOT NULL RETURNING 1`,
};

const doneStatement: Statement = {
  name: 'signal_done',
  text: `
    WITH done AS (
      UPDATE signal SET due_at = NULL WHERE set_key = $1::text AND event_type = $2::text AND due_at IS NOT NULL RETURNING set_key
    )
    ${appendEvent({ chain: "'system'", at: '$3::timestamptz', type: event('signal.carried_out'), actor: "'system'", payload: '$4::json' }, 'done')}`,
};

// A name that the platform vouches for is the very name that the transmitter gives, or one that the account
// proved, whatever case each of them writes it in: a directory has `octo` where a platform says `Octo`. The
// agent's own word about whom it acts for names nobody here. Children have their parent's people and end with
// it, so the top of a tree comes first.
const sessionsStatement: Statement = {
  name: 'signal_sessions',
  text: `
    WITH name AS (
      SELECT n.kind, n.value, n.issuer FROM jsonb_to_recordset($1::jsonb) AS n (kind text, value text, issuer text)
    )
    SELECT s.id FROM session s
    WHERE s.ended_at IS NULL AND EXISTS (
      SELECT 1 FROM name n WHERE
        (n.kind = s.started_by ->> 'kind' AND (n.value = s.started_by ->> 'value' OR (n.kind <> 'subject' AND lower(n.value) = lower(s.started_by ->> 'value'))) AND n.issuer IS NOT DISTINCT FROM s.started_by ->> 'issuer')
        OR (n.kind = s.on_behalf_of ->> 'kind' AND (n.value = s.on_behalf_of ->> 'value' OR (n.kind <> 'subject' AND lower(n.value) = lower(s.on_behalf_of ->> 'value'))) AND n.issuer IS NOT DISTINCT FROM s.on_behalf_of ->> 'issuer')
        OR (n.kind = 'subject' AND n.issuer = s.subject ->> 'issuer' AND n.value = s.subject ->> 'subject'))
    ORDER BY s.parent_id IS NOT NULL, s.id LIMIT $2::int`,
};

/**
 * Carries out at most `limit` signals that are due. One that fails is logged and tried again, and keeps no
 * other from being carried out.
 */
export async function carryOutSignals(deps: CarryOutDeps, now: Date, limit: number): Promise<void> {
  const due = await deps.store.run<DueSignal>(dueStatement, [now, limit]);
  for (const signal of due) {
    const done = await carryOut(deps, signal, now).catch((error) => {
      deps.log.error({ err: error, signal: signal.jti }, 'a signal could not be carried out; it will be tried again');
      return false;
    });
    if (!done) {
      const later = new Date(now.getTime() + retryMs);
      await deps.store.run(laterStatement, [signal.set_key, signal.event_type, later]);
    }
  }
}

/** @returns whether nothing is left to end */
async function carryOut(deps: CarryOutDeps, signal: DueSignal, now: Date): Promise<boolean> {
  const { store } = deps;
  const { effect } = signal;
  const accounts = await accountsOf(store, signal.names);
  const signsOff = effect === 'sign_off' || effect === 'sign_off_owner';
  const cause = { jti: signal.jti, event: signal.event_type };
  const logins = signsOff || effect === 'sign_out' ? await signOff(store, accounts, cause, now) : 0;
  if (signsOff) await endOfPerson({ ...deps, ...deps.breakGlass }, accounts, now);
  const { lapsed, done } = signsOff ? await lapseApprovals(store, accounts, now) : { lapsed: 0, done: true };
  const names = allNames(signal.names, accounts);
  const sessions = signsOff ? await endSessions(deps, names, now) : [];
  const ofOwner = effect === 'sign_off_owner' || (effect === 'owner_back' && isOurs(store, signal));
  const word = { gone: effect === 'sign_off_owner', at: signal.received_at, ...cause };
  // What an account was called before stands in rows without a proof: enough to end, not to bring back.
  const owners = ofOwner ? await recordPresence(store, word.gone ? names : signal.names, word) : 0;
  if (!done) return false;
  const payload = {
    signal: signal.jti,
    event: signal.event_type,
    known: logins + lapsed + owners + sessions.length > 0 || accounts.some(({ names }) => names.length > 0),
    logins,
    approvals: lapsed,
    sessions,
  };
  await store.run(doneStatement, [signal.set_key, signal.event_type, now, JSON.stringify(payload)]);
  return true;
}

/** Whoever writes the database can have more ended, and nobody brought back. */
const isOurs = ({ proofs }: Store, { proof, ...row }: DueSignal): boolean => proofs.holds('signal', row, proof);

/** Those of the signal, and those that are surely of the same accounts. */
function allNames(signalled: readonly Identifier[], accounts: readonly NamedAccount[]): Identifier[] {
  const proven = accounts.flatMap((account) => [
    { kind: 'subject', value: account.subject, issuer: account.issuer },
    ...account.names,
  ]);
  return [...signalled, ...proven];
}

/** @returns the sessions that were ended; their children ended with them */
async function endSessions(deps: EndSessionDeps, names: readonly Identifier[], now: Date): Promise<string[]> {
  const ended: string[] = [];
  for (;;) {
    const found = await sessionsOf(deps.store, names);
    for (const sessionId of found) {
      const cause = { reason: 'person_signed_off', actor: 'system', requestId: null } as const;
      const end = await endSession(deps, { sessionId, ...cause, now });
      if (end.ended) ended.push(sessionId);
    }
    if (found.length < sessionStep) return ended;
  }
}

async function sessionsOf(store: Store, names: readonly Identifier[]): Promise<string[]> {
  const rows = await store.run<{ id: string }>(sessionsStatement, [JSON.stringify(names), sessionStep]);
  return rows.map(({ id }) => id);
}
