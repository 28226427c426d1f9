/**
 * Event streams (OpenID Shared Signals Framework 1.0): whom Writ signals, what, and how. An admin configures
 * them; nobody makes one through the API.
 */

const caep = 'https://schemas.openid.net/secevent/caep/event-type/';
const risc = 'https://schemas.openid.net/secevent/risc/event-type/';

/** What can be signalled, by the name that settings use. docs/signals.md says when each is. */
export const streamEvents = {
  'session-revoked': `${caep}session-revoked`,
  'risk-level-change': `${caep}risk-level-change`,
  'account-disabled': `${risc}account-disabled`,
  'account-enabled': `${risc}account-enabled`,
} as const;
export type StreamEvent = keyof typeof streamEvents;

export const streamEventNames = Object.keys(streamEvents) as StreamEvent[];

/** Of SSF section 8.1.4.1: on every stream, when its receiver asks for it. */
export const verificationEvent = 'https://schemas.openid.net/secevent/ssf/event-type/verification';

export interface EventStream {
  /** Its `stream_id`. */
  name: string;
  audience: string;
  events: readonly StreamEvent[];
  /** What its tokens are signed with. */
  algorithm: 'RS256' | 'ES256';
  /** Where its events are pushed (RFC 8935); null = the receiver polls them (RFC 8936). */
  push: { url: string; token: string | null; anywhere: boolean } | null;
  /** What the receiver must send to poll, and to ask about its stream; null = it asks for nothing. */
  token: string | null;
}

/** Names of the streams that want this event. */
export const streamsFor = (streams: readonly EventStream[], event: StreamEvent): string[] =>
  streams.filter(({ events }) => events.includes(event)).map(({ name }) => name);
