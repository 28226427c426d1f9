/**
 * Binds an access request to the denial that it answers: the `binding_token` of AuthZEN's Access Request and
 * Approval Profile (draft 1, "Binding Token Integrity"). A JWS of the broker over the SHA-256 of exactly what
 * was asked, so nothing need be kept of a denial that nobody follows up.
 */
import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { decodeProtectedHeader, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import type { Clock, Json } from '../core/vocabulary.ts';
import type { KeyRing } from '../keys/ring.ts';

/** What is bound: the members of a request, of several `items` instead of resource and action. */
export interface BoundRequest {
  subject: Members;
  resource?: Members;
  action?: Members;
  items?: readonly { resource: Members; action: Members }[];
  context?: Members | undefined;
}

/** An object of JSON, as it was sent. */
type Members = { readonly [name: string]: unknown };

/**
 * Members of the context that a decision depends on. `call_id` is not among them: it names the request. Nor
 * is the time.
 */
export const decidingContext = ['arguments', 'cost_usd', 'ttl_seconds'] as const;

/**
 * base64url SHA-256 over the canonical JSON (RFC 8785) of subject (without `properties.act`, which a caller
 * may move), resource and action, and those members of the context.
 */
export function bindingHash(request: BoundRequest, members: readonly string[]): string {
  const { subject, resource, action, items, context = {} } = request;
  const relevant = Object.fromEntries(
    members.flatMap((name) => (Object.hasOwn(context, name) ? [[name, context[name]]] : [])),
  );
  const asked = items === undefined ? { resource, action } : { items: items.map(resourceAndAction) };
  const bound = { subject: withoutActor(subject), ...asked, context: relevant };
  return hash('sha256', canonicalize(bound as Json)!, 'base64url');
}

const resourceAndAction = ({ resource, action }: { resource: Members; action: Members }) => ({ resource, action });

function withoutActor(subject: Members): Members {
  const { properties } = subject;
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties)) return subject;
  const { act: _, ...rest } = properties as Members;
  return { ...subject, properties: rest };
}

const tokenType = 'writ-denial+jwt';

const claimsSchema = z.object({
  jti: z.string(),
  sid: z.string(),
  evaluation_id: z.string(),
  grant_id: z.string().optional(),
  binding_hash: z.string(),
  binding_context_members: z.array(z.string()),
  denial_expires_at: z.string(),
  exp: z.int(),
});

/** What a denial says to the endpoint that takes access requests, through the caller. */
export interface BoundDenial {
  /** Names this denial, for whoever asks for the same again. */
  jti: string;
  sessionId: string;
  evaluationId: string;
  /** The review that the evaluation began, where it did. */
  grantId: string | null;
  expiresAt: Date;
}

export interface DenialTokens {
  /** @param request as it was denied */
  sign(denial: Omit<BoundDenial, 'jti'>, request: BoundRequest): Promise<string>;
  /**
   * @returns null unless the broker signed it, over this very request, with this end
   * @param expiresAt as the caller sends it back; an end that is over is for the caller of this to refuse
   */
  verify(token: string, request: BoundRequest, expiresAt: string): Promise<BoundDenial | null>;
}

/** @param endpoint where access requests go: the token is for it alone */
export function createDenialTokens(ring: KeyRing, clock: Clock, issuer: string, endpoint: string): DenialTokens {
  return {
    sign: ({ sessionId, evaluationId, grantId, expiresAt }, request) => {
      const key = ring.current();
      const claims = {
        sid: sessionId,
        evaluation_id: evaluationId,
        ...(grantId === null ? {} : { grant_id: grantId }),
        binding_hash: bindingHash(request, decidingContext),
        binding_context_members: decidingContext,
        denial_expires_at: expiresAt.toISOString(),
      };
      return new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256', typ: tokenType, kid: key.kid })
        .setIssuer(issuer)
        .setAudience(endpoint)
        .setIssuedAt(Math.floor(clock.now().getTime() / 1000))
        .setExpirationTime(Math.floor(expiresAt.getTime() / 1000))
        .setJti(crypto.randomUUID())
        .sign(key.privateKey);
    },
    verify: async (token, request, expiresAt) => {
      try {
        const key = ring.find(String(decodeProtectedHeader(token).kid));
        if (key === undefined) return null;
        const options = { issuer, audience: endpoint, typ: tokenType, algorithms: ['ES256'] };
        // Whether it is over is another question, with another answer: looked at as of the moment before.
        const { payload } = await jwtVerify(token, key.publicKey, { ...options, currentDate: new Date(0) });
        const claims = claimsSchema.parse(payload);
        if (claims.binding_hash !== bindingHash(request, claims.binding_context_members)) return null;
        if (Date.parse(claims.denial_expires_at) !== Date.parse(expiresAt)) return null;
        return {
          jti: claims.jti,
          sessionId: claims.sid,
          evaluationId: claims.evaluation_id,
          grantId: claims.grant_id ?? null,
          expiresAt: new Date(Math.min(claims.exp * 1000, Date.parse(claims.denial_expires_at))),
        };
      } catch {
        return null;
      }
    },
  };
}
