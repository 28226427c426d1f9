/**
 * `private_key_jwt` (RFC 7523 sections 2.2 and 3; RFC 7521): an agent without a platform signs a short
 * statement with a key of its own, whose public half the admin wrote into the trust file.
 */
import { WritError } from '../core/errors.ts';
import { refusalReasons } from '../core/reasons.ts';
import type { Clock, JsonObject } from '../core/vocabulary.ts';
import { openCompactJws, sha256 } from './compact-jws.ts';
import type { KeyResolver } from './jwks.ts';
import { asRefusal, clockToleranceSeconds, dateOf } from './platform-token.ts';
import { Refusal, refused } from './refusal.ts';
import type { TrustedClient } from './trust.ts';
import { verifiedClaims } from './verified-claims.ts';

export const clientAssertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

const maxAssertionLength = 8_000;
/** Libraries choose between one minute and an hour. */
const maxLifeSeconds = 3_600;
const replayMarginSeconds = 10;

export interface ClientAssertion {
  /** `client_assertion_type` of the request. */
  type: unknown;
  /** `client_assertion` of the request. */
  assertion: unknown;
  /** `client_id` of the request, where it was sent. */
  clientId?: string | undefined;
}

export interface ClientAssertionDeps {
  clock: Clock;
  keys: KeyResolver;
  /** What the assertion may be addressed to: the broker's issuer and its token endpoint. */
  audiences: readonly string[];
}

export interface VerifiedClient<Client> {
  client: Client;
  expiresAt: Date;
  /** To be recorded atomically by the caller, who refuses when it is there already. */
  replayKey: string;
  replayExpiresAt: Date;
}

/** A client, or a resource server, by its `client_id`. */
type SignsForItself = Pick<
  TrustedClient,
  'name' | 'location' | 'algorithms' | 'allowInsecureLoopback' | 'ca' | 'clientId'
>;

/**
 * @param clients who may sign, by `client_id`
 * @throws WritError `invalid_client`, or `unavailable` when the client's keys cannot be had; the cause is a
 *   `Refusal` with the reason
 */
export async function verifyClientAssertion<Client extends SignsForItself>(
  request: ClientAssertion,
  clients: ReadonlyMap<string, Client>,
  deps: ClientAssertionDeps,
): Promise<VerifiedClient<Client>> {
  try {
    return await verify(request, clients, deps);
  } catch (error) {
    const refusal = asRefusal(error);
    if (refusal.reason === 'issuer_unavailable') {
      throw new WritError('unavailable', {
        detail: 'The client’s keys cannot be had at the moment.',
        retryAfterSeconds: 30,
        cause: refusal,
      });
    }
    throw refused(
      'invalid_client',
      refusal.reason,
      `The client assertion was not accepted: ${told(refusal)}.`,
      refusal.message,
      refusal.cause,
    );
  }
}

/** What its author may be told of an assertion. Of a library's message only the reason. */
function told(refusal: Refusal): string {
  if (refusal.cause === undefined) return refusal.message;
  const { meaning } = refusalReasons[refusal.reason];
  return `${meaning.charAt(0).toLowerCase()}${meaning.slice(1, -1)}`;
}

async function verify<Client extends SignsForItself>(
  request: ClientAssertion,
  clients: ReadonlyMap<string, Client>,
  deps: ClientAssertionDeps,
): Promise<VerifiedClient<Client>> {
  if (request.type !== clientAssertionType)
    throw new Refusal('unsupported_assertion_type', 'not a JWT bearer assertion');
  const opened = openCompactJws(request.assertion, maxAssertionLength);
  const { header, payload } = opened;
  if (!isAssertionType(header.typ)) throw new Refusal('malformed', 'the assertion’s `typ` is that of something else');
  const client = typeof payload.sub === 'string' ? clients.get(payload.sub) : undefined;
  if (client === undefined) throw new Refusal('unknown_client', 'the client is not listed');
  if (request.clientId !== undefined && request.clientId !== client.clientId) {
    throw new Refusal('unknown_client', '`client_id` is not the assertion’s subject');
  }
  const key = await deps.keys.resolve(client, header);
  const now = deps.clock.now();
  const verified = await verifiedClaims(opened, key, {
    issuer: client.clientId,
    subject: client.clientId,
    audience: [...deps.audiences],
    requiredClaims: ['exp', 'jti'],
    clockTolerance: clockToleranceSeconds,
    currentDate: now,
  });
  const { aud, exp, iat, jti } = verified as JsonObject;
  // An assertion that names others as well could be carried here by one of them.
  if (Array.isArray(aud) && !aud.every((one) => deps.audiences.includes(String(one))))
    throw new Refusal('wrong_audience', 'addressed to others as well');
  const nowSeconds = now.getTime() / 1000;
  const expiresAt = dateOf(exp as number);
  if (expiresAt === null || (exp as number) - nowSeconds > maxLifeSeconds + clockToleranceSeconds) {
    throw new Refusal('lives_too_long', `\`exp\` is more than ${maxLifeSeconds} s ahead`);
  }
  if (typeof iat === 'number' && iat - nowSeconds > clockToleranceSeconds)
    throw new Refusal('not_yet_valid', '`iat` is in the future');
  if (typeof jti !== 'string' || jti === '' || jti.length > 256)
    throw new Refusal('bad_claim', '`jti` is not a short text');
  return {
    client,
    expiresAt,
    replayKey: `assertion:${client.clientId}:${sha256(jti)}`,
    replayExpiresAt: new Date(expiresAt.getTime() + (clockToleranceSeconds + replayMarginSeconds) * 1000),
  };
}

function isAssertionType(typ: unknown): boolean {
  if (typ === undefined) return true;
  return typeof typ === 'string' && ['jwt', 'client-authentication+jwt'].includes(typ.toLowerCase());
}
