/**
 * OpenID Connect Client-Initiated Backchannel Authentication, poll mode: an OAuth client asks for a task and
 * for one capability that a person must approve, and polls the token endpoint until they have. It is a
 * session that sleeps, its grant, and the handle that wakes it: nothing is kept besides.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import { fieldWords } from '../core/field-words.ts';
import type { Reason } from '../core/vocabulary.ts';
import type { GrantDeps } from '../grants/request-grant.ts';
import { grantReads, requestGrant } from '../grants/request-grant.ts';
import { readSession } from '../sessions/authenticate.ts';
import { endSession } from '../sessions/end-session.ts';
import { clientPrincipal, type ExchangeDeps, openFor } from '../sessions/exchange-token.ts';
import { type OneTime, proofOnce, takeShown } from '../sessions/one-time.ts';
import type { OpenedSession } from '../sessions/opened-session.ts';
import { type SleepDeps, sleepSession } from '../sessions/sleep.ts';
import { takeOnce } from '../sessions/take-once.ts';
import { type SleepingGrant, sleepingGrant, wakeSession } from '../sessions/wake.ts';
import { isTarget, refuseProof, refuseUntaken, targets } from './oauth-parameters.ts';
import { noSecrets } from './oauth-words.ts';
import { type Operation, operation } from './operation.ts';
import { grantDetail, jsonText, taskDetail } from './task-detail.ts';
import { line, zodFaults } from './text.ts';
import type { CibaPoll } from './token-endpoint.ts';

export interface CibaDeps extends ExchangeDeps, SleepDeps {
  grants: GrantDeps;
}

/** How often a client may poll, in seconds. */
const interval = 5;

const details = z
  .array(z.discriminatedUnion('type', [taskDetail, grantDetail]))
  .length(2, 'must have two elements: one of type task, one of type grant')
  .refine(
    (all) => new Set(all.map(({ type }) => type)).size === 2,
    'must have one element of type task, one of type grant',
  );

const body = z.looseObject({
  scope: z
    .string()
    .max(1000)
    .optional()
    .describe('`openid`, and nothing else: `authorization_details` says what is asked for.'),
  audience: targets.optional().describe('This broker’s issuer; may be repeated.'),
  resource: targets.optional().describe('The same (RFC 8707).'),
  client_id: z.string().max(320).optional(),
  client_assertion_type: z.string().max(200).optional(),
  client_assertion: z.string().min(1).max(20_000).optional(),
  client_secret: z.string().optional().describe('Nobody has one here: refused.'),
  authorization_details: z
    .string()
    .max(16_384)
    .meta(jsonText(['Task', 'Grant']))
    .describe('JSON text: one element of type `task`, one of type `grant`.'),
  login_hint: line(320)
    .optional()
    .describe('Required by the standard. Who may decide the manifest says; nobody is chosen by it.'),
  binding_message: line(500).optional().describe('Shown to whoever decides, as the agent’s own words.'),
  requested_expiry: z
    .string()
    .regex(/^[1-9][0-9]{0,6}$/)
    .optional()
    .describe('Seconds; less where the manifest says so (`envelope.sleep`).'),
});

export function cibaOperations(deps: CibaDeps): Operation[] {
  return [
    operation({
      method: 'post',
      path: '/oauth/bc-authorize',
      needsClock: true,
      summary: 'Ask for a task and a capability that a person must approve (CIBA, poll mode)',
      tag: 'Sessions',
      access: 'none',
      bodyType: 'form',
      repeatable: ['audience', 'resource'],
      body,
      responses: {
        200: {
          description: 'A person is asked; poll the token endpoint with `auth_req_id`',
          schema: z.object({ auth_req_id: z.string(), expires_in: z.int(), interval: z.int() }),
        },
      },
      errors: [
        'invalid_request',
        'invalid_client',
        'invalid_authorization_details',
        'invalid_target',
        'invalid_scope',
        'invalid_dpop_proof',
        'access_denied',
        'locked',
        'rate_limited',
        'unavailable',
      ],
      handle: async ({ body: asked, header, requestId, address }) => {
        if (asked.client_secret !== undefined || header('authorization') !== undefined) throw noSecrets();
        refuseUntaken(asked, ['scope', 'authorization_details', 'audience', 'resource']);
        refuseProof(header('dpop'), 'the poll that collects the session brings it');
        if (asked.scope !== undefined && asked.scope !== 'openid')
          throw new WritError('invalid_scope', {
            detail: 'The scope is openid: authorization_details says what is asked for.',
          });
        if (
          [asked.audience, asked.resource]
            .flat()
            .some((target) => target !== undefined && !isTarget(target, deps.issuer))
        )
          throw new WritError('invalid_target');
        if (asked.login_hint === undefined) throw fault('login_hint', 'is missing');
        const { task, grant } = readDetails(asked.authorization_details);
        const client = await clientPrincipal(deps, {
          clientAssertionType: asked.client_assertion_type,
          clientAssertion: asked.client_assertion,
          clientId: asked.client_id,
        });
        const opened = await openFor(deps, { task, scope: null, proof: null, resume: undefined, requestId }, client);
        try {
          const caller = { sessionId: opened.id, agent: opened.agent, jkt: null, replay: null };
          const now = deps.clock.now();
          const session = await readSession(deps.store, caller, now, grantReads(deps.grants, grant.capability, null));
          await requestGrant(
            deps.grants,
            session,
            {
              capability: grant.capability,
              params: grant.params,
              ttlSeconds: grant.ttl_seconds,
              justification: asked.binding_message ?? null,
              credentialJwk: null,
              onlyToApprove: true,
              address: address ?? null,
            },
            null,
            requestId,
          );
          const seconds = asked.requested_expiry === undefined ? null : Math.max(60, Number(asked.requested_expiry));
          const { until, resume } = await sleepSession(deps, session, seconds, requestId);
          const expiresIn = Math.floor((until.getTime() - now.getTime()) / 1000);
          return { status: 200, body: { auth_req_id: resume, expires_in: expiresIn, interval } };
        } catch (error) {
          // Nobody would ever hold it.
          await endSession(deps, {
            sessionId: opened.id,
            reason: 'ended_by_agent',
            actor: opened.agent,
            requestId,
            now: deps.clock.now(),
          });
          throw inOAuth(error);
        }
      },
    }),
  ];
}

/**
 * One poll of the token endpoint.
 * @throws WritError `authorization_pending`, `slow_down`, `access_denied`, `expired_token`, `invalid_grant` …
 */
export async function pollCiba(deps: CibaDeps, asked: CibaPoll): Promise<OpenedSession & { grant: SleepingGrant }> {
  const { authReqId: handle, proof, requestId } = asked;
  if (handle === undefined) throw fault('auth_req_id', 'is missing');
  const principal = await clientPrincipal(deps, asked);
  const grant = await sleepingGrant(deps.store, principal, handle);
  if (grant === null) throw new WritError('invalid_grant', { detail: 'There is no such request of this client.' });
  const once: OneTime[] = [...principal.shown, ...proofOnce(proof)];
  const burn = () => takeShown(deps.store, once);
  const now = deps.clock.now();
  if (grant.sessionEnded || (grant.status === 'denied' && grant.reason === 'timeout')) {
    await burn();
    throw new WritError('expired_token');
  }
  if (grant.status === 'denied' || grant.status === 'failed') {
    await burn();
    await endSession(deps, {
      sessionId: grant.sessionId,
      reason: 'ended_by_agent',
      actor: principal.agent,
      requestId,
      now,
    });
    throw new WritError('access_denied');
  }
  if (grant.status === 'pending') {
    await burn();
    const turn = Math.floor(now.getTime() / (interval * 1000));
    const polled = createHash('sha256').update(handle).digest('hex');
    const first = await takeOnce(deps.store, `ciba:${polled}:${turn}`, new Date(now.getTime() + 2 * interval * 1000));
    throw new WritError(first ? 'authorization_pending' : 'slow_down', { retryAfterSeconds: interval });
  }
  const woken = await wakeSession(deps, { principal, handle, jkt: proof?.jkt ?? null, once, requestId });
  return { ...woken, grant };
}

function readDetails(text: string) {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuseDetails([{ path: 'authorization_details', message: 'is not JSON' }]);
  }
  const parsed = details.safeParse(value, { error: (issue) => fieldWords(issue) });
  if (!parsed.success) throw refuseDetails(zodFaults(parsed.error.issues, 'authorization_details'));
  const task = parsed.data.find((one) => one.type === 'task') as z.output<typeof taskDetail>;
  const grant = parsed.data.find((one) => one.type === 'grant') as z.output<typeof grantDetail>;
  const { task_type, inputs, on_behalf_of, envelope, capabilities } = task;
  return {
    grant,
    task: {
      ...(task_type === undefined ? {} : { task_type }),
      inputs,
      on_behalf_of: on_behalf_of ?? null,
      envelope,
      capabilities: capabilities ?? null,
    },
  };
}

/** What the broker says of a request, in the words of the standard (section 13). */
function inOAuth(error: unknown): unknown {
  if (!(error instanceof WritError)) return error;
  const { detail, errors, extensions } = error;
  if (error.code === 'denied') {
    const reasons = (extensions.reasons ?? []) as Reason[];
    return new WritError('access_denied', {
      detail: reasons.map(({ code }) => code).join(', '),
      extensions: { reasons },
    });
  }
  if (error.code === 'bad_request') return refuseDetails(errors ?? []);
  if (error.code === 'forbidden' || error.code === 'not_requestable')
    return new WritError('invalid_request', { ...(detail === undefined ? {} : { detail }) });
  return error;
}

const refuseDetails = (errors: { path: string; message: string }[]) =>
  new WritError('invalid_authorization_details', { errors });
const fault = (path: string, message: string) => new WritError('invalid_request', { errors: [{ path, message }] });
