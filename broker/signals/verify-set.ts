/**
 * A Security Event Token (RFC 8417) → what the transmitter signalled, or a refusal. As strict as for a
 * platform's token, except that a SET has no end of its own: its age is bounded instead.
 */
import type { Clock, JsonObject } from '../core/vocabulary.ts';
import { openCompactJws, sha256 } from '../identity/compact-jws.ts';
import type { KeyResolver } from '../identity/jwks.ts';
import { asRefusal, isPrintable } from '../identity/platform-token.ts';
import { Refusal } from '../identity/refusal.ts';
import type { KeySource } from '../identity/trust.ts';
import { verifiedClaims } from '../identity/verified-claims.ts';
import type { OpaqueNames } from './subject.ts';

/** Who signals. One, whom the admin names; nothing in a token decides whose keys are asked. */
export interface Transmitter extends KeySource {
  issuer: string;
  audience: string;
  opaque: OpaqueNames;
}

export interface VerifyDeps {
  clock: Clock;
  keys: KeyResolver;
  transmitter: Transmitter;
}

export interface SecurityEvent {
  type: string;
  payload: JsonObject;
  /** Whom it is about: `sub_id` of the token; of older transmitters, `subject` of the event. */
  subject: unknown;
}

export interface VerifiedSet {
  jti: string;
  /** Names the token for ever: issuer and `jti`. */
  key: string;
  events: SecurityEvent[];
}

const maxLength = 60_000;
const maxEvents = 20;
/** A transmitter tries for days to deliver; what is older was delivered, or is news no more. */
export const maxAgeSeconds = 7 * 86_400;
/** What is refused is not sent again: a clock that is a little ahead must not lose a signal. */
export const skewSeconds = 300;

/**
 * @throws Refusal; `issuer_unavailable` when the transmitter's keys cannot be had, and the token may be good
 */
export async function verifySet(token: unknown, { clock, keys, transmitter }: VerifyDeps): Promise<VerifiedSet> {
  try {
    const opened = openCompactJws(token, maxLength);
    const { header, payload } = opened;
    // RFC 8417 section 2.3, RFC 8725 section 3.11: an ID token of the same issuer has the same key.
    if (!isSecurityEvent(header.typ)) throw new Refusal('malformed', 'the `typ` is not that of a Security Event Token');
    if (payload.iss !== transmitter.issuer) throw new Refusal('wrong_issuer', 'it is another issuer’s');
    const key = await keys.resolve(transmitter, header);
    const verified = await verifiedClaims(opened, key, {
      issuer: transmitter.issuer,
      audience: transmitter.audience,
      requiredClaims: ['iss', 'aud', 'iat', 'jti', 'events'],
      maxTokenAge: maxAgeSeconds,
      clockTolerance: skewSeconds,
      currentDate: clock.now(),
    });
    return readSet(verified as JsonObject);
  } catch (error) {
    throw asRefusal(error);
  }
}

function readSet({ iss, jti, events, sub_id: about }: JsonObject): VerifiedSet {
  if (typeof jti !== 'string' || !isPrintable(jti, 256))
    throw new Refusal('bad_claim', '`jti` is not a short printable text');
  if (!isObject(events)) throw new Refusal('bad_claim', '`events` is not an object');
  const all = Object.entries(events);
  if (all.length === 0 || all.length > maxEvents) throw new Refusal('bad_claim', `not 1 to ${maxEvents} events`);
  return {
    jti,
    key: sha256(JSON.stringify([iss, jti])),
    events: all.map(([type, payload]) => {
      if (!isPrintable(type, 512) || !isObject(payload)) throw new Refusal('bad_claim', 'an event is not well-formed');
      return { type, payload, subject: about ?? payload.subject };
    }),
  };
}

function isSecurityEvent(typ: unknown): boolean {
  return typeof typ === 'string' && typ.toLowerCase().replace(/^application\//, '') === 'secevent+jwt';
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
