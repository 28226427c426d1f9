/** Workload identity federation: an outside issuer's JWT becomes a Google principal. */
import { createRemoteJWKSet, jwtVerify } from 'jose';
import type { Clock } from '../../broker/core/vocabulary.ts';
import { StsError } from './errors.ts';

export interface IdentityProvider {
  /** `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER` */
  name: string;
  /** Issuers the provider trusts, each with the address of its real JWKS. */
  issuers: { [issuer: string]: string };
  /** Attribute condition: only these subjects may federate; absent = any. */
  subjects?: string[];
}

/** The member that a subject of this provider's pool becomes. */
export function principalOf(providerName: string, subject: string): string {
  const pool = providerName.replace(/\/providers\/[^/]+$/, '');
  return `principal://iam.googleapis.com/${pool}/subject/${subject}`;
}

/**
 * Returns a function from (audience, JWT) to the member. The audience parameter names the provider; the
 * token's own `aud` must be the provider's canonical name, with or without the https: prefix (Google's
 * default when no allowed audiences are set).
 */
export function federation(provider: IdentityProvider, clock: Clock) {
  const audience = `//iam.googleapis.com/${provider.name}`;
  const keySets = new Map(
    Object.entries(provider.issuers).map(([issuer, url]) => [issuer, createRemoteJWKSet(new URL(url))]),
  );
  return async (requestedAudience: string, token: string): Promise<string> => {
    if (requestedAudience !== audience)
      throw new StsError('invalid_target', 'The target service indicated by the "audience" parameters is invalid.');
    const issuer = issuerOf(token);
    const keys = keySets.get(issuer);
    if (keys === undefined)
      throw new StsError('invalid_grant', 'The issuer in ID Token does not match the expected ones.');
    const claims = await verified(token, issuer, [audience, `https:${audience}`], keys, clock);
    const subject = claims.sub ?? '';
    if (Buffer.byteLength(subject) > 127)
      throw new StsError('invalid_request', 'The size of mapped attribute google.subject exceeds the 127 bytes limit.');
    if (provider.subjects !== undefined && !provider.subjects.includes(subject))
      throw new StsError('invalid_target', 'The given credential is rejected by the attribute condition.');
    return principalOf(provider.name, subject);
  };
}

async function verified(
  token: string,
  issuer: string,
  audience: string[],
  keys: ReturnType<typeof createRemoteJWKSet>,
  clock: Clock,
) {
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience,
      algorithms: ['RS256', 'ES256'],
      requiredClaims: ['exp', 'iat', 'sub'],
      currentDate: clock.now(),
    });
    return payload;
  } catch (error) {
    throw new StsError(
      'invalid_grant',
      `Error verifying the credential: ${(error as { code?: string }).code ?? 'keys unreachable'}`,
    );
  }
}

function issuerOf(token: string): string {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    return String((claims as { iss?: unknown }).iss);
  } catch {
    throw new StsError('invalid_grant', 'The subject token is not a JWT.');
  }
}
