/**
 * The token endpoint (RFC 6749, 7523, 8693, 9396, 9449): opens a session for one task, or wakes one that
 * sleeps. Parameters that nobody knows are ignored (RFC 6749 section 3.2); those that would change what is
 * given, and are not understood, are refused.
 */
import { hash } from 'node:crypto';
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import { fieldWords } from '../core/field-words.ts';
import { networkOf } from '../core/network.ts';
import { recordableFaults } from '../grants/recordable.ts';
import { type CheckedProof, checkDpopProof } from '../identity/dpop.ts';
import { refusalReason } from '../identity/refusal.ts';
import { accessTokenType, type ExchangeDeps, exchangeToken, tokenExchange } from '../sessions/exchange-token.ts';
import type { OpenedSession } from '../sessions/opened-session.ts';
import type { SleepingGrant } from '../sessions/wake.ts';
import { cibaGrantType } from './ciba-grant-type.ts';
import { isTarget, refuseUntaken, targets } from './oauth-parameters.ts';
import { noSecrets, refuseUnproven } from './oauth-words.ts';
import { type Operation, operation } from './operation.ts';
import type { Refusals } from './refusals.ts';
import { jsonText, openedGrant, openedTask, taskDetail } from './task-detail.ts';
import { zodFaults } from './text.ts';

/** A poll, its proof verified for the token endpoint. */
export interface CibaPoll {
  authReqId: string | undefined;
  clientAssertionType: string | undefined;
  clientAssertion: string | undefined;
  clientId: string | undefined;
  proof: CheckedProof | null;
  requestId: string;
}

export interface TokenEndpointDeps extends ExchangeDeps {
  /** Every refusal is on the record, with a hash of the token and never the token. */
  refusals: Refusals;
  /** One poll of a client that asked for a person's decision (`ciba.ts`). */
  pollCiba(asked: CibaPoll): Promise<OpenedSession & { grant: SleepingGrant }>;
}

/** What `grant_type` may be. */
export const grantTypes: readonly string[] = [tokenExchange, 'client_credentials', cibaGrantType];

const taskDetails = z.array(taskDetail).length(1, 'must have exactly one element');

const token = z.string().min(1).max(20_000);

export const tokenBody = z.looseObject({
  // Any text, so that another one is answered with RFC 6749's own `unsupported_grant_type`.
  grant_type: z.string().min(1).max(200).meta({ enum: grantTypes }),
  subject_token: token
    .optional()
    .describe('The platform’s OIDC token; for a child session, the parent’s session token.'),
  subject_token_type: z.string().max(200).optional(),
  requested_token_type: z.literal(accessTokenType).optional(),
  scope: z
    .string()
    .max(4096)
    .regex(/^[!#-[\]-~]+( [!#-[\]-~]+)*$/, 'must be names with one space between them')
    .optional()
    .describe('Names of capabilities: the same as `capabilities` of the task.'),
  client_id: z.string().max(320).optional(),
  client_assertion_type: z.string().max(200).optional(),
  client_assertion: token.optional(),
  client_secret: z.string().optional().describe('Nobody has one here: refused.'),
  actor_token: z.string().optional().describe('Refused: who acts is the agent itself.'),
  actor_token_type: z.string().optional().describe('Refused, as `actor_token`.'),
  audience: targets.optional().describe('This broker’s issuer; may be repeated.'),
  resource: targets.optional().describe('The same (RFC 8707).'),
  authorization_details: z
    .string()
    .max(16_384)
    .optional()
    .meta(jsonText(['Task']))
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
    .describe(
      'Thumbprint of the key that the token is bound to. Of a child it may be another key than that of the proof.',
    ),
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

/**
 * What a session was opened with, for whoever reads the answer (RFC 9396 section 7, RFC 6749 section 5.1).
 */
const openedSchema = tokenSchema.extend({
  scope: z
    .string()
    .optional()
    .describe('Names of the capabilities that the session may ask for; absent where there are none.'),
  authorization_details: z
    .array(z.discriminatedUnion('type', [openedTask, openedGrant]))
    .describe('The task as it holds, with its bounds; of a CIBA poll the grant that was approved, too.'),
});

export function tokenOperation(deps: TokenEndpointDeps): Operation {
  return operation({
    method: 'post',
    path: '/oauth/token',
    needsClock: true,
    busy: true,
    summary: 'Open a session for one task, or wake one that sleeps',
    tag: 'Sessions',
    access: 'none',
    bodyType: 'form',
    repeatable: ['audience', 'resource'],
    body: tokenBody,
    headers: { DPoP: 'A proof (RFC 9449) binds the session to its key.' },
    responses: { 200: { description: 'The session’s first token', schema: openedSchema } },
    errors: [
      'invalid_request',
      'invalid_grant',
      'invalid_client',
      'invalid_target',
      'invalid_scope',
      'invalid_authorization_details',
      'unsupported_grant_type',
      'authorization_pending',
      'slow_down',
      'expired_token',
      'access_denied',
      'invalid_dpop_proof',
      'locked',
      'owner_gone',
      'conflict',
      'rate_limited',
      'unavailable',
    ],
    handle: async ({ body, header, requestId, address }) => {
      try {
        refuseUnknown(body, header('authorization'));
        if (!grantTypes.includes(body.grant_type)) throw new WritError('unsupported_grant_type');
        refuseUntaken(body, takenOf(body.grant_type));
        if (body.client_assertion === undefined) refuseUnproven(body.client_id, deps.trust);
        if (
          [body.audience, body.resource].flat().some((target) => target !== undefined && !isTarget(target, deps.issuer))
        )
          throw new WritError('invalid_target');
        const isPoll = body.grant_type === cibaGrantType;
        const isNew = body.resume === undefined && !isPoll;
        const task = isNew ? parseTask(body.authorization_details ?? '') : null;
        for (const path of isNew ? [] : (['authorization_details', 'scope', 'dpop_jkt'] as const))
          if (body[path] !== undefined) throw fault(path, 'is not for a session that is there already');
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
          return tokenAnswer(woken, deps.heartbeat.seconds, [
            { type: 'grant', grant_id: grant.id, capability: grant.capability },
          ]);
        }
        const opened = await exchangeToken(deps, {
          grantType: body.grant_type,
          subjectToken: body.subject_token,
          subjectTokenType: body.subject_token_type,
          clientAssertionType: body.client_assertion_type,
          clientAssertion: body.client_assertion,
          clientId: body.client_id,
          scope: body.scope === undefined ? null : body.scope.split(' '),
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
        const { agent, errors } = error instanceof WritError ? error : { agent: null, errors: undefined };
        const presented = body.subject_token ?? body.client_assertion;
        await deps.refusals.record(networkOf(address), {
          chain: 'system',
          type: 'session.refused',
          requestId,
          ...(agent === null ? {} : { actor: agent }),
          payload: {
            code: error instanceof WritError ? error.code : 'internal',
            reason: refusalReason(error),
            token_sha256: presented === undefined ? null : hash('sha256', presented, 'hex'),
            ...(agent === null
              ? {}
              : { agent, errors: recordableFaults(errors ?? [], sentIn(body), await namesOf(deps, agent)) }),
          },
        });
        if (error instanceof WritError) error.recorded = true;
        throw error;
      }
    },
  });
}

const declaring = ['scope', 'authorization_details', 'dpop_jkt', 'resume', 'audience', 'resource'];

/** Of a client that says who it is, whatever else it asks for. */
function takenOf(grantType: string): string[] {
  if (grantType === tokenExchange) return [...declaring, 'subject_token', 'subject_token_type', 'requested_token_type'];
  // Of a session that is there the rest is refused with the reason.
  return grantType === cibaGrantType
    ? ['auth_req_id', 'scope', 'authorization_details', 'dpop_jkt', 'audience', 'resource']
    : [...declaring, 'requested_token_type'];
}

/** @throws WritError for what would change what is given, and is not understood here */
function refuseUnknown(body: z.output<typeof tokenBody>, authorization: string | undefined): void {
  if (authorization !== undefined || body.client_secret !== undefined) throw noSecrets();
  for (const path of ['actor_token', 'actor_token_type'] as const)
    if (body[path] !== undefined) throw fault(path, 'is not taken here: the agent acts itself');
}

/** Names of the agent’s manifest: they may stand in the record as they are. */
async function namesOf({ catalog }: Pick<ExchangeDeps, 'catalog'>, agent: string): Promise<{ [name: string]: true }> {
  const manifest = (await catalog.lastSeen(agent))?.compiled.manifest;
  if (manifest === undefined) return {};
  const inputs = Object.values(manifest.task_types).flatMap((type) => Object.keys(type.inputs));
  const names = [...Object.keys(manifest.task_types), ...Object.keys(manifest.capabilities), ...inputs];
  return Object.fromEntries(names.map((name) => [name, true as const]));
}

/** What the agent wrote itself. It was read before. */
const sentIn = ({ authorization_details: details, scope }: z.output<typeof tokenBody>): unknown => [
  details === undefined ? null : JSON.parse(details),
  scope?.split(' ') ?? null,
];

const fault = (path: string, message: string) => new WritError('invalid_request', { errors: [{ path, message }] });

const tokenAnswer = (
  { token, id, expiresAt, task, scope }: OpenedSession,
  heartbeatSeconds: number,
  more: { type: 'grant'; [member: string]: unknown }[] = [],
) => ({
  status: 200,
  headers: { Pragma: 'no-cache' },
  body: {
    ...token,
    issued_token_type: accessTokenType,
    // Its syntax has no empty list.
    ...(scope.length === 0 ? {} : { scope: scope.join(' ') }),
    authorization_details: [{ type: 'task', ...task, capabilities: scope }, ...more],
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
  const parsed = taskDetails.safeParse(value, { error: (issue) => fieldWords(issue) });
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

const polling: ReadonlySet<string> = new Set(['authorization_pending', 'slow_down']);
