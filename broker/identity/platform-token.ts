/**
 * A platform's OIDC token (GitHub Actions, Kubernetes, GCP, SPIFFE …) → a subject we believe in, or a
 * refusal. Nothing in the token decides where its keys come from: its unverified `iss` only picks one of the
 * issuers the admin listed.
 */
import { errors } from 'jose';
import { WritError } from '../core/errors.ts';
import type { Clock, Json, JsonObject } from '../core/vocabulary.ts';
import { openCompactJws, sha256 } from './compact-jws.ts';
import type { KeyResolver } from './jwks.ts';
import { Refusal, type RefusalReason, refused } from './refusal.ts';
import { isTrustDomain, type Trust, type TrustedIssuer } from './trust.ts';
import { verifiedClaims } from './verified-claims.ts';

/** Longest token read; GitHub's are about 2 kB, a Kubernetes one 1.5 kB. */
const maxTokenLength = 20_000;
export const clockToleranceSeconds = 5;
/** Beyond the token's last acceptable moment, for a replica whose clock is behind. */
const replayMarginSeconds = 10;

export interface PlatformTokenDeps {
  clock: Clock;
  keys: KeyResolver;
  /** The broker's own audience, which no one else accepts. */
  audience: string;
}

export interface VerifiedSubject {
  /** Name of the issuer in the trust file. */
  issuerName: string;
  issuer: string;
  subject: string;
  claims: JsonObject;
  expiresAt: Date;
  /**
   * To be recorded atomically by the caller: who showed it. Its `jti`, or without one what was signed,
   * because a signature can be written in more than one way.
   */
  replayKey: string;
  /** It counts once, whoever shows it. */
  singleUse: boolean;
  /** Until when the key must be remembered. */
  replayExpiresAt: Date;
}

/**
 * Verifies a subject token (RFC 8693) of a listed issuer.
 * @throws WritError `invalid_grant`, or `unavailable` when the issuer's keys cannot be had; the cause is a
 *   `Refusal` with the reason
 */
export async function verifyPlatformToken(
  token: unknown,
  trust: Trust,
  deps: PlatformTokenDeps,
): Promise<VerifiedSubject> {
  try {
    const opened = openCompactJws(token, maxTokenLength);
    const { header, payload } = opened;
    if (!isIdentityType(header.typ)) throw new Refusal('malformed', 'the token’s `typ` is that of something else');
    const name = payload.iss ?? trustDomainOf(payload.sub);
    const issuer = typeof name === 'string' ? trust.issuers.get(name) : undefined;
    if (issuer === undefined) throw new Refusal('unknown_issuer', 'the issuer is not listed');
    const key = await deps.keys.resolve(issuer, header);
    const audiences = issuer.audiences ?? [deps.audience];
    const verified = await verifiedClaims(opened, key, {
      ...(isTrustDomain(issuer.issuer) ? {} : { issuer: issuer.issuer }),
      audience: [...audiences],
      // jose takes a token without `exp` unless told not to; of a JWT-SVID `iat` may be left out.
      requiredClaims: ['exp', 'sub', 'aud', ...(issuer.kind === 'spiffe' ? [] : ['iat'])],
      ...(issuer.kind === 'spiffe' && payload.iat === undefined ? {} : { maxTokenAge: issuer.maxTokenAgeSeconds }),
      clockTolerance: clockToleranceSeconds,
      currentDate: deps.clock.now(),
    });
    const { aud, exp = 0, iat } = verified;
    // Where nothing says when it was issued, what is left must be no longer than it may be old.
    if (iat === undefined && exp - deps.clock.now().getTime() / 1000 > issuer.maxTokenAgeSeconds)
      throw new Refusal('lives_too_long', 'it has no `iat`, and `exp` is farther than `max_token_age`');
    if (Array.isArray(aud) && !issuer.otherAudiences && !aud.every((one) => audiences.includes(one)))
      throw new Refusal(
        'wrong_audience',
        'it is for others as well, and the trust file does not say `other_audiences`',
      );
    return subjectOf(issuer, verified as JsonObject, opened.signedPart);
  } catch (error) {
    const refusal = asRefusal(error);
    if (refusal.reason === 'issuer_unavailable') {
      throw new WritError('unavailable', {
        detail: 'The keys of the token’s issuer cannot be had at the moment.',
        retryAfterSeconds: 30,
        cause: refusal,
      });
    }
    throw refused(
      'invalid_grant',
      refusal.reason,
      'The subject token was not accepted.',
      refusal.message,
      refusal.cause,
    );
  }
}

/** As an issuer of the trust file; undefined for any other text. */
function trustDomainOf(sub: Json | undefined): string | undefined {
  return typeof sub === 'string' ? /^(spiffe:\/\/[a-z0-9._-]+)\/./.exec(sub)?.[1] : undefined;
}

function subjectOf(issuer: TrustedIssuer, claims: JsonObject, signedPart: string): VerifiedSubject {
  const { sub, jti } = claims;
  const exp = claims.exp as number;
  if (typeof sub !== 'string' || !isPrintable(sub, 1_024))
    throw new Refusal('bad_claim', '`sub` is not a short printable text');
  if (issuer.kind === 'spiffe' && !sub.startsWith('spiffe://'))
    throw new Refusal('bad_claim', '`sub` is not a SPIFFE id');
  if (jti !== undefined && (typeof jti !== 'string' || jti === '' || jti.length > 1_024)) {
    throw new Refusal('bad_claim', '`jti` is not a short text');
  }
  const expiresAt = dateOf(exp);
  const replayExpiresAt = dateOf(exp + clockToleranceSeconds + replayMarginSeconds);
  if (expiresAt === null || replayExpiresAt === null) throw new Refusal('bad_claim', '`exp` is beyond any calendar');
  return {
    issuerName: issuer.name,
    issuer: issuer.issuer,
    subject: sub,
    claims,
    expiresAt,
    replayKey:
      jti === undefined ? `token:${issuer.issuer}:${sha256(signedPart)}` : `jti:${issuer.issuer}:${sha256(jti)}`,
    singleUse: issuer.singleUse,
    replayExpiresAt,
  };
}

/**
 * RFC 8725 section 3.11: a token made for another purpose (a DPoP proof, a logout token) must not pass for an
 * identity.
 */
function isIdentityType(typ: unknown): boolean {
  if (typ === undefined) return true;
  if (typeof typ !== 'string') return false;
  return ['jwt', 'jose', 'at+jwt'].includes(typ.toLowerCase().replace(/^application\//, ''));
}

/**
 * Short, not empty, and free of control and format characters: what may be put into an audit row or shown.
 */
export function isPrintable(value: string, maxLength: number): boolean {
  return value !== '' && value.length <= maxLength && !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(value);
}

/** Seconds since the epoch as a Date that PostgreSQL can hold too; null otherwise. */
export function dateOf(epochSeconds: number): Date | null {
  return epochSeconds > 0 && epochSeconds < 253_402_300_800 ? new Date(epochSeconds * 1000) : null;
}

/** jose's errors in our closed set of reasons. Its messages name claims, never their values. */
export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof errors.JWTExpired)
    return new Refusal(error.claim === 'iat' ? 'too_old' : 'expired', error.message, error);
  if (error instanceof errors.JWTClaimValidationFailed) return new Refusal(claimReason(error), error.message, error);
  if (error instanceof errors.JWSSignatureVerificationFailed) return new Refusal('bad_signature', error.message, error);
  if (error instanceof errors.JOSEAlgNotAllowed) return new Refusal('algorithm_not_allowed', error.message, error);
  if (error instanceof errors.JOSEError) return new Refusal('malformed', error.message, error);
  // Anything else (a key that cannot verify, say) is no proof either.
  return new Refusal('bad_signature', 'the signature could not be checked', error);
}

function claimReason(error: errors.JWTClaimValidationFailed): RefusalReason {
  if (error.reason === 'missing') return 'missing_claim';
  if (error.reason === 'invalid') return 'bad_claim';
  if (error.claim === 'iss') return 'wrong_issuer';
  if (error.claim === 'aud') return 'wrong_audience';
  if (error.claim === 'nbf' || error.claim === 'iat') return 'not_yet_valid';
  return 'bad_claim';
}
