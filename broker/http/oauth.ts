/**
 * The OAuth side: token endpoint (RFC 6749, 8693, 7523, 9396, 9449), introspection (RFC 7662), revocation
 * (RFC 7009).
 */

import { hash } from 'node:crypto';
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import { readUser, userText } from '../core/identifier.ts';
import { networkOf } from '../core/network.ts';
import { type CheckedProof, checkDpopProof } from '../identity/dpop.ts';
import { refusalReason } from '../identity/refusal.ts';
import { type Credentials, readSession } from '../sessions/authenticate.ts';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import { accessTokenType, type ExchangeDeps, exchangeToken, tokenExchange } from '../sessions/exchange-token.ts';
import type { OpenedSession } from '../sessions/open-session.ts';
import type { SessionClaims } from '../sessions/session-token.ts';
import type { SleepingGrant } from '../sessions/wake.ts';
import { cibaGrantType } from './ciba-grant-type.ts';
import { type Operation, operation } from './operation.ts';
import type { Refusals } from './refusals.ts';
import { line, zodFaults } from './text.ts';

/** A poll, its proof verified for the token endpoint. */
export interface CibaPoll {
  authReqId: string | undefined;
  clientAssertionType: string | undefined;
  clientAssertion: string | undefined;
  clientId: string | undefined;
  proof: CheckedProof | null;
  requestId: string;
}

export interface OAuthDeps extends ExchangeDeps, EndSessionDeps {
  /** Every refusal is on the record, with a hash of the token and never the token. */
  refusals: Refusals;
  /** One poll of a client that asked for a person's decision (`ciba.ts`). */
  pollCiba(asked: CibaPoll): Promise<OpenedSession & { grant: SleepingGrant }>;
  /** Who may introspect a token that is not their own. Null when the request carries no admin credential. */
  adminOf(authorization: string | undefined): Promise<string | null>;
}

/** One `task` of `authorization_details` (RFC 9396). */
export const taskDetail = z.strictObject({
  type: z.literal('task'),
  task_type: line(63).optional().describe('A task type of the agent’s manifest. A child session has its parent’s.'),
  inputs: z
    .record(line(63), z.union([z.string().max(256), z.number(), z.boolean()]))
    .default({})
    .describe('The inputs the task type requires.'),
  on_behalf_of: line(320)
    .refine((text) => readUser(text) !== null, 'must be user:<e-mail>, user:<kind>:<name> or user:<name>')
    .optional()
    .describe(
      'Whom the run is for in the agent’s own word, `user:<e-mail>`, `user:<kind>:<name>` or `user:<name>`. That person cannot approve it; nobody gets a right from it.',
    ),
  envelope: z
    .strictObject({
      wall_time_seconds: z.int().min(1).max(604_800).optional(),
      max_grants: z.int().min(0).max(1_000_000).optional(),
    })
    .default({})
    .describe('Narrower bounds than the manifest’s.'),
  capabilities: z.array(line(63)).max(64).optional().describe('Child sessions only: what the child may ask for.'),
});

const taskDetails = z.array(taskDetail).length(1, 'must have exactly one element');

const token = z.string().min(1).max(20_000);

export const tokenBody = z.object({
  // Any text, so that another one is answered with RFC 6749's own `unsupported_grant_type`.
  grant_type: z
    .string()
    .min(1)
    .max(200)
    .meta({ enum: [tokenExchange, 'client_credentials', cibaGrantType] }),
  subject_token: token
    .optional()
    .describe('The platform’s OIDC token; for a child session, the parent’s session token.'),
  subject_token_type: z.string().max(200).optional(),
  requested_token_type: z.literal(accessTokenType).optional(),
  client_id: z.string().max(320).optional(),
  client_assertion_type: z.string().max(200).optional(),
  client_assertion: token.optional(),
  audience: z.string().max(500).optional(),
  resource: z.string().max(500).optional(),
  authorization_details: z
    .string()
    .max(16_384)
    .optional()
    .describe('JSON text: one element of type `task`. Of a session that is resumed it is left out.'),
  auth_req_id: z.string().max(200).optional().describe('Of `POST /oauth/bc-authorize`, with `grant_type` of CIBA.'),
  resume: z
    .string()
    .max(200)
    .optional()
    .describe(
      'Wakes a session that sleeps: the handle that `POST /v1/session/sleep` gave. The same workload alone can.',
    ),
  dpop_jkt: z
    .string()
    .regex(/^[A-Za-z0-9_-]{43}$/)
    .optional()
    .describe('Child sessions only: thumbprint of the key that the child’s token is bound to.'),
});

export const tokenSchema = z.object({
  access_token: z.string(),
  issued_token_type: z.literal(accessTokenType),
  token_type: z.enum(['DPoP', 'Bearer']),
  expires_in: z.int().describe('Seconds until this token expires; a heartbeat gives the next one.'),
  session_id: z.string(),
  session_expires_at: z.string(),
  heartbeat_seconds: z.int(),
});

export function oauthOperations(deps: OAuthDeps): Operation[] {
  return [
    operation({
      method: 'post',
      path: '/oauth/token',
      needsClock: true,
      busy: true,
      summary: 'Open a session for one task, or wake one that sleeps',
      tag: 'Sessions',
      access: 'none',
      bodyType: 'form',
      body: tokenBody,
      headers: { DPoP: 'A proof (RFC 9449) binds the session to its key.' },
      responses: { 200: { description: 'The session’s first token', schema: tokenSchema } },
      errors: [
        'invalid_request',
        'invalid_grant',
        'invalid_client',
        'invalid_target',
        'invalid_authorization_details',
        'unsupported_grant_type',
        'authorization_pending',
        'slow_down',
        'expired_token',
        'access_denied',
        'invalid_dpop_proof',
        'locked',
        'rate_limited',
        'unavailable',
      ],
      handle: async ({ body, header, requestId, address }) => {
        try {
          if ([body.audience, body.resource].some((target) => target !== undefined && target !== deps.issuer)) {
            throw new WritError('invalid_target');
          }
          const isPoll = body.grant_type === cibaGrantType;
          const task = body.resume === undefined && !isPoll ? parseTask(body.authorization_details ?? '') : null;
          if (body.resume !== undefined && body.authorization_details !== undefined)
            throw new WritError('invalid_request', {
              errors: [{ path: 'authorization_details', message: 'is not for a session that is resumed' }],
            });
          const dpop = header('dpop');
          const proof =
            dpop === undefined
              ? null
              : await checkDpopProof({
                  proof: dpop,
                  method: 'POST',
                  url: `${deps.issuer}/oauth/token`,
                  now: deps.clock.now(),
                });
          if (isPoll) {
            if (deps.requireDpop && proof === null) throw new WritError('invalid_dpop_proof');
            const { grant, ...woken } = await deps.pollCiba({
              authReqId: body.auth_req_id,
              clientAssertionType: body.client_assertion_type,
              clientAssertion: body.client_assertion,
              clientId: body.client_id,
              proof,
              requestId,
            });
            const details = [{ type: 'grant', grant_id: grant.id, capability: grant.capability }];
            const answer = tokenAnswer(woken, deps.heartbeat.seconds);
            return { ...answer, body: { ...answer.body, authorization_details: details } };
          }
          const opened = await exchangeToken(deps, {
            grantType: body.grant_type,
            subjectToken: body.subject_token,
            subjectTokenType: body.subject_token_type,
            clientAssertionType: body.client_assertion_type,
            clientAssertion: body.client_assertion,
            clientId: body.client_id,
            task,
            resume: body.resume,
            proof,
            dpopJkt: body.dpop_jkt,
            requestId,
          });
          return tokenAnswer(opened, deps.heartbeat.seconds);
        } catch (error) {
          // A poll that finds nothing decided is no refusal.
          if (error instanceof WritError && polling.has(error.code)) {
            error.recorded = true;
            throw error;
          }
          const presented = body.subject_token ?? body.client_assertion;
          await deps.refusals.record(networkOf(address), {
            chain: 'system',
            type: 'session.refused',
            requestId,
            payload: {
              code: error instanceof WritError ? error.code : 'internal',
              reason: refusalReason(error),
              token_sha256: presented === undefined ? null : hash('sha256', presented, 'hex'),
            },
          });
          if (error instanceof WritError) error.recorded = true;
          throw error;
        }
      },
    }),
    operation({
      method: 'post',
      path: '/oauth/introspect',
      summary: 'Is this session token alive? (RFC 7662)',
      tag: 'Sessions',
      access: 'none',
      bodyType: 'form',
      body: z.object({ token, token_type_hint: z.string().max(200).optional() }),
      headers: { Authorization: 'An admin’s bearer token, or the very token that is asked about.' },
      responses: {
        200: {
          description: '`active` and, when it is, the token’s claims',
          schema: z.looseObject({ active: z.boolean() }),
        },
      },
      errors: ['invalid_request', 'unauthenticated'],
      handle: async ({ body, header }) => {
        const authorization = header('authorization');
        const own = authorization?.split(' ')[1] === body.token;
        if (!own && (await deps.adminOf(authorization)) === null) throw new WritError('unauthenticated');
        return { status: 200, body: await introspect(deps, body.token) };
      },
    }),
    operation({
      method: 'post',
      path: '/oauth/revoke',
      summary: 'Revoke a session token: ends its session (RFC 7009)',
      tag: 'Sessions',
      access: 'none',
      bodyType: 'form',
      body: z.object({ token, token_type_hint: z.string().max(200).optional() }),
      responses: { 200: { description: 'The token is not alive now, whatever it was before' } },
      errors: ['invalid_request'],
      // Revocation needs the token but not its key: it only takes access away, and a leaked token should be
      // easy to revoke.
      handle: async ({ body, requestId }) => {
        const claims = await verified(deps, body.token);
        if (claims !== null && (await liveSession(deps, claims)) !== null) {
          await endSession(deps, {
            sessionId: claims.sessionId,
            reason: 'token_revoked',
            actor: claims.agent,
            requestId,
            now: deps.clock.now(),
          });
        }
        return { status: 200 };
      },
    }),
  ];
}

const tokenAnswer = ({ token, id, expiresAt }: OpenedSession, heartbeatSeconds: number) => ({
  status: 200,
  headers: { Pragma: 'no-cache' },
  body: {
    ...token,
    issued_token_type: accessTokenType,
    session_id: id,
    session_expires_at: expiresAt.toISOString(),
    heartbeat_seconds: heartbeatSeconds,
  },
});

function parseTask(text: string) {
  const refuse = (errors: { path: string; message: string }[]) =>
    new WritError('invalid_authorization_details', { errors });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuse([{ path: 'authorization_details', message: 'is not JSON' }]);
  }
  const parsed = taskDetails.safeParse(value);
  if (!parsed.success) throw refuse(zodFaults(parsed.error.issues, 'authorization_details'));
  const [{ task_type, inputs, on_behalf_of, envelope, capabilities }] = parsed.data as [z.output<typeof taskDetail>];
  return {
    ...(task_type === undefined ? {} : { task_type }),
    inputs,
    on_behalf_of: on_behalf_of ?? null,
    envelope,
    capabilities: capabilities ?? null,
  };
}

/**
 * Null when it is no current token of ours. A failed lookup throws instead: it must not be reported as
 * inactive.
 */
function verified(deps: OAuthDeps, presented: string) {
  return deps.tokens.verify(presented).catch((error) => {
    if (error instanceof WritError && error.code === 'unauthenticated') return null;
    throw error;
  });
}

async function introspect(deps: OAuthDeps, presented: string): Promise<Record<string, unknown>> {
  const claims = await verified(deps, presented);
  if (claims === null) return { active: false };
  const session = await liveSession(deps, claims);
  if (session === null) return { active: false };
  return {
    active: true,
    iss: deps.issuer,
    aud: deps.issuer,
    sub: session.agent,
    client_id: session.agent,
    token_type: session.jkt === null ? 'Bearer' : 'DPoP',
    exp: Math.floor(claims.expiresAt.getTime() / 1000),
    sid: session.id,
    authorization_details: [{ type: 'task', ...session.task }],
    ...(session.onBehalfOf === null ? {} : { on_behalf_of: userText(session.onBehalfOf) }),
    ...(session.declaredOnBehalfOf === null ? {} : { declared_on_behalf_of: session.declaredOnBehalfOf }),
    ...(session.subject.act === undefined ? {} : { act: session.subject.act }),
    ...(session.jkt === null ? {} : { cnf: { jkt: session.jkt } }),
  };
}

const polling: ReadonlySet<string> = new Set(['authorization_pending', 'slow_down']);

/** Why a token that holds is not active. */
const idle: ReadonlySet<string> = new Set([
  'session_ended',
  'session_suspended',
  'session_asleep',
  'locked',
  'unauthenticated',
]);

/** The session of a token that holds; null when it may do nothing, or the token's key was withdrawn. */
function liveSession(deps: OAuthDeps, claims: SessionClaims) {
  return readSession(deps.store, { ...claims, replay: null }, deps.clock.now()).catch((error) => {
    if (error instanceof WritError && idle.has(error.code)) return null;
    throw error;
  });
}

/**
 * The public URL a proof must have been made for: RFC 9449 section 4.3 compares without query and fragment.
 */
export function credentialsOf(
  publicUrl: string,
  req: { method: string; originalUrl: string; get(name: string): string | undefined },
): Credentials {
  return {
    authorization: req.get('authorization'),
    dpop: req.get('dpop'),
    method: req.method,
    url: publicUrl + req.originalUrl.split('?', 1)[0],
  };
}
