/**
 * Tokens of foreign issuers: verified against the issuer's own published keys, as STS does for
 * AssumeRoleWithWebIdentity.
 */
import { createRemoteJWKSet, decodeJwt, errors, type JWTPayload, jwtVerify } from 'jose';
import { AwsError } from './errors.ts';
import type { State } from './state.ts';

export interface WebIdentity {
  /** ARN of the registered OIDC provider, as trust policies name it. */
  federated: string;
  /** The prefix of the issuer's condition keys: its URL without the scheme. */
  issuer: string;
  subject: string;
  audience: string;
  tags: Record<string, string>;
  sourceIdentity: string | null;
}

const invalid = (why: string) => new AwsError('InvalidIdentityToken', 400, why);

/** Throws InvalidIdentityToken, ExpiredTokenException or IDPCommunicationError. */
export async function verifyWebIdentity(state: State, token: string, account: string): Promise<WebIdentity> {
  if (token.length < 4 || token.length > 20_000) throw new AwsError('ValidationError', 400, 'Invalid token length.');
  let claimed: JWTPayload;
  try {
    claimed = decodeJwt(token);
  } catch {
    throw invalid('The ID Token provided is not a valid JWT.');
  }
  const issuer = state.issuers.get(claimed.iss ?? '');
  if (issuer === undefined) throw invalid('No OpenIDConnect provider found in your account for this issuer.');
  const payload = await verified(state, token, claimed.iss ?? '', issuer.jwksUrl);
  const audience = [payload.aud ?? []].flat().find((each) => issuer.audiences.includes(each));
  if (audience === undefined) throw invalid('Incorrect token audience');
  const name = (payload.iss ?? '').replace(/^https?:\/\//, '').replace(/\/$/, '');
  return {
    federated: `arn:aws:iam::${account}:oidc-provider/${name}`,
    issuer: name,
    subject: payload.sub ?? '',
    audience,
    tags: tagsIn(payload),
    sourceIdentity: sourceIdentityIn(payload),
  };
}

async function verified(state: State, token: string, issuer: string, jwksUrl: string): Promise<JWTPayload> {
  const keys = createRemoteJWKSet(new URL(jwksUrl), { cooldownDuration: 0, timeoutDuration: 5_000 });
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      algorithms: ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512'],
      requiredClaims: ['exp', 'iat', 'sub', 'aud'],
      currentDate: state.clock.now(),
      clockTolerance: 5,
    });
    return payload;
  } catch (error) {
    if (error instanceof errors.JWTExpired)
      throw new AwsError(
        'ExpiredTokenException',
        400,
        'Token expired: current date/time must be before the expiration date/time',
      );
    if (
      error instanceof errors.JWKSTimeout ||
      error instanceof TypeError ||
      (error as { code?: string }).code === 'ERR_JOSE_GENERIC'
    )
      throw new AwsError('IDPCommunicationError', 400, 'Unable to reach the identity provider.');
    throw invalid("The token's signature or claims could not be verified.");
  }
}

/** `https://aws.amazon.com/tags` (IAM user guide, "Passing session tags using AssumeRoleWithWebIdentity"). */
function tagsIn(payload: JWTPayload): Record<string, string> {
  const claim = payload['https://aws.amazon.com/tags'];
  if (claim === undefined) return {};
  const entries = Object.entries((claim as { principal_tags?: Record<string, unknown> }).principal_tags ?? {});
  const tags: Record<string, string> = {};
  for (const [key, values] of entries) {
    const value = Array.isArray(values) ? values[0] : values;
    if (typeof value !== 'string') throw invalid('Session tags must be strings.');
    tags[key] = value;
  }
  checkTags(tags);
  return tags;
}

/** Limits of the Tag shape in STS's service model. */
export function checkTags(tags: Record<string, string>): void {
  const allowed = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;
  const entries = Object.entries(tags);
  const good = ([key, value]: [string, string]) =>
    key.length > 0 && key.length <= 128 && value.length <= 256 && allowed.test(key) && allowed.test(value);
  if (entries.length > 50 || !entries.every(good)) throw new AwsError('ValidationError', 400, 'Invalid session tags.');
}

function sourceIdentityIn(payload: JWTPayload): string | null {
  const claim = payload['https://aws.amazon.com/source_identity'];
  if (claim === undefined) return null;
  if (typeof claim !== 'string' || !/^[\w+=,.@-]{2,64}$/.test(claim)) throw invalid('Invalid source identity.');
  return claim;
}
