/**
 * Rows → what they say of whom, as claims of a Security Event Token. Only what is proven is said: of an end,
 * the session that its own proof names and that has ended; of the rest, a row with a proof of its own. The
 * words are of closed lists, but for the `state` that a receiver gave itself.
 */
import { type EventStream, type StreamEvent, streamEvents, verificationEvent } from '../core/event-stream.ts';
import type { ProvenRows } from '../core/proven-rows.ts';
import { type EndReason, endReasons } from '../core/reasons.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { sessionHolds } from '../sessions/proven-session.ts';
import type { Store } from '../store/open.ts';
import { endJti } from './tell-ends.ts';

type EventRow = ProvenRows['stream_event'];

/** A row of `stream_event`, beside the session that it is about where it is about one. */
export type StoredEvent = EventRow & {
  event_proof: string;
} & (
    | (ProvenRows['session'] & { proof: string; status: string; end_reason: EndReason | null; ended_at: Date | null })
    | { id: null }
  );

/** What a receiver is told. */
export interface Signalled {
  jti: string;
  /** Event type, as a URI. */
  event: string;
  /** The chain of the record that it is of. */
  chain: string;
  claims: JsonObject & { iat: number };
}

type Cause = 'admin' | 'user' | 'policy' | 'system';

/** CAEP 1.0 section 2. An agent is the `user` of its session. */
const initiators: { readonly [reason in EndReason]: Cause } = {
  ended_by_agent: 'user',
  token_revoked: 'user',
  heartbeat_missed: 'system',
  envelope_spent: 'policy',
  parent_ended: 'system',
  ended_by_admin: 'admin',
  locked: 'admin',
  slept_too_long: 'policy',
  not_lifted: 'policy',
  ended_by_rule: 'policy',
  person_signed_off: 'system',
  owner_gone: 'system',
};

/** Why an agent or a session is suspended, or is no more. */
export const suspensionReasons = {
  locked: { by: 'admin', words: 'an admin locked the agent, its owner, or everything' },
  owner_gone: { by: 'system', words: 'its owner is gone, and nobody took it over' },
  ended: { by: null, words: 'it may open sessions again' },
  ruled: { by: 'policy', words: 'a rule of the manifest suspended the session' },
  lifted: { by: 'admin', words: 'a person let the session go on' },
} as const satisfies { readonly [reason: string]: { by: Cause | null; words: string } };
export type SuspensionReason = keyof typeof suspensionReasons;

/** @returns null where the row is not of this broker's making, or says what is not so */
export function eventOf(store: Store, issuer: string, stream: EventStream, row: StoredEvent): Signalled | null {
  const { jti, type, about, number, at, reason, event_proof } = row;
  if (row.stream !== stream.name) return null;
  const iat = Math.floor(at.getTime() / 1000);
  const agent = (name: string) => ({ format: 'iss_sub', iss: issuer, sub: name });
  const session = (of: string) => ({ format: 'complex', session: { format: 'opaque', id: about }, user: agent(of) });
  const signalled = (event: StreamEvent, chain: string, subject: JsonObject, payload: JsonObject, seconds = iat) => ({
    jti,
    event: streamEvents[event],
    chain,
    claims: {
      iat: seconds,
      sub_id: subject,
      events: { [streamEvents[event]]: { event_timestamp: seconds, ...payload } },
    },
  });

  if (type === 'session-revoked') {
    if (row.id === null || row.ended_at === null || row.status !== 'ended' || jti !== endJti(stream.name, row.id))
      return null;
    if (!sessionHolds(store, row)) return null;
    const why = row.end_reason;
    const known = why !== null && Object.hasOwn(endReasons, why);
    const payload = known ? { initiating_entity: initiators[why], ...admin(why, endReasons[why].words) } : {};
    return signalled(type, row.id, session(row.agent), payload, Math.floor(row.ended_at.getTime() / 1000));
  }

  const own = { jti, stream: row.stream, type, about, reason, number, at };
  if (!store.proofs.holds('stream_event', own, event_proof)) return null;
  if (type === 'verification') {
    const subject = { format: 'opaque', id: stream.name };
    const events = { [verificationEvent]: reason === null ? {} : { state: reason } };
    return { jti, event: verificationEvent, chain: 'system', claims: { iat, sub_id: subject, events } };
  }
  const { by, words } = suspensionReasons[reason as SuspensionReason];
  const payload = { ...(by === null ? {} : { initiating_entity: by }), ...admin(reason as SuspensionReason, words) };
  if (type === 'account-disabled' || type === 'account-enabled')
    return signalled(type, `agent:${about}`, agent(about), payload);
  if (row.id === null || !sessionHolds(store, row)) return null;
  const levels = reason === 'ruled' ? { current_level: 'HIGH' } : { current_level: 'LOW', previous_level: 'HIGH' };
  return signalled('risk-level-change', row.id, session(row.agent), {
    principal: 'SESSION',
    risk_reason: reason,
    ...levels,
    ...payload,
  });
}

/** The code for programs, and words for people. */
const admin = (code: string, words: string) => ({ reason_admin: { en: `${code}: ${words}` } });
