/**
 * AuthZEN's Access Request and Approval Profile (draft 1): a denial that a person may lift is asked about
 * here, and answered with a task to wait on. The task is a grant, or the review of a tool call, by its id; an
 * approved one is no access: the same evaluation, with `context.approval`, decides anew.
 */
import { hash } from 'node:crypto';
import { z } from 'zod';
import { type Callback, mayCall, nameCallback } from '../../approvals/callbacks.ts';
import { type ErrorCode, WritError, type WritErrorOptions } from '../core/errors.ts';
import type { LongPoller } from '../core/long-poller.ts';
import { claimRequestKey } from '../grants/access-request-keys.ts';
import { cancelRequest } from '../grants/cancel-request.ts';
import { historyReads } from '../grants/history.ts';
import { decidedGrants } from '../grants/read-grant.ts';
import { grantReads, requestGrant } from '../grants/request-grant.ts';
import { readTask, type Task, waitForTask } from '../grants/task.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { type AuthzenDeps, accessRequestsPath } from './authzen-answers.ts';
import { capabilityType, checkSubject, evaluationBody } from './authzen-requests.ts';
import { capabilityRequest } from './capability-evaluation.ts';
import type { BoundDenial } from './denial-token.ts';
import { idempotencyKeyOf } from './idempotency-key.ts';
import { type Answer, type Call, mayNotAct, type Operation, operation } from './operation.ts';
import { idOf, inDigits, line, prose } from './text.ts';

const loose = z.looseObject({});
const submission = evaluationBody.extend({
  context: evaluationBody.shape.context
    .unwrap()
    .extend({
      justification: prose(2000).optional().describe('For people and for the record. Decides nothing.'),
      business_justification: prose(2000).optional().describe('The same.'),
    })
    .optional(),
  denial: z
    .looseObject({
      binding_token: line(4096).optional().describe('As it came with the denial. Required.'),
      expires_at: z.iso.datetime({ offset: true }).describe('The same.'),
      evaluation_id: line(256).optional().describe('The same.'),
    })
    .describe('The denial that is asked about.'),
  items: z.array(loose).optional().describe('Not taken: send one request for each denial.'),
  requested_access: loose.optional().describe('Not looked at: what is asked for is what was denied.'),
  callback: z
    .looseObject({
      endpoint: line(300).describe(
        'Where the outcome is posted. Its origin must be in `WRIT_ACCESS_REQUEST_CALLBACKS`.',
      ),
      state: line(256).optional().describe('Comes back as it is.'),
      events: z.array(line(32)).max(16).optional().describe('Statuses that are told; all, when left out.'),
    })
    .optional()
    .describe('Taken where the deployment names origins for it. The task is what counts.'),
  client: z.looseObject({ actor: z.looseObject({ id: line(256) }).optional() }).optional(),
});
type Submission = z.output<typeof submission>;

const taskSchema = z.object({
  task: z.object({
    id: z.string(),
    status: z.enum(['pending', 'approved', 'denied', 'expired', 'cancelled']),
    status_endpoint: z.string(),
    expires_at: z.string().optional(),
    links: z.object({ review: z.string(), cancel: z.string().optional() }).optional(),
    display: z.object({ title: z.string(), description: z.string() }),
  }),
  result: z
    .object({
      mode: z.literal('reevaluate'),
      approval: z.object({ id: z.string(), approved_at: z.string().optional(), approved_until: z.string() }),
    })
    .optional(),
});

const problemTypes: { readonly [code in ErrorCode]?: string } = {
  not_requestable: 'not_requestable',
  expired_denial: 'expired_denial',
  invalid_denial_binding: 'invalid_denial_binding',
  duplicate_request: 'duplicate_request',
  not_found: 'unknown_task',
  conflict: 'invalid_task_state',
};

/** How a task may end here, of the profile's events. */
const outcomes: readonly string[] = ['approved', 'denied', 'expired', 'cancelled'];

/** A problem with the profile’s own type ("Error Responses"). */
function problem(code: keyof typeof problemTypes, options: WritErrorOptions = {}): WritError {
  const type = `urn:openid:authzen:access-request:error:${problemTypes[code]}`;
  return new WritError(code, { ...options, extensions: { ...options.extensions, type } });
}

const refuse = (path: string, message: string) => new WritError('bad_request', { errors: [{ path, message }] });

export function accessRequestOperations(deps: AuthzenDeps & { poller: LongPoller }): Operation[] {
  const { grants, issuer } = deps;
  const decided = decidedGrants(grants.store);
  const statusAt = (id: string) => `${issuer}${accessRequestsPath}/${id}`;

  const answerOf = (task: Task, status: number): Answer => ({
    status,
    body: viewOf(task, statusAt(task.id)),
    headers: {
      ...(status === 200 ? {} : { Location: statusAt(task.id) }),
      ...(task.status === 'pending' ? { 'Retry-After': '2' } : {}),
    },
  });

  return [
    operation({
      tag: 'Grants',
      access: 'session',
      dialect: 'authzen',
      needsClock: true,
      method: 'post',
      path: accessRequestsPath,
      summary: 'Ask a person to lift a denial (AuthZEN access request)',
      body: submission,
      headers: {
        'Idempotency-Key': 'The same key and body again is the same task; with another body it is refused.',
        'X-Request-ID': 'Sent back as it came.',
      },
      responses: {
        201: { description: 'The task, which is decided already', schema: taskSchema },
        202: { description: 'The task: wait on it', schema: taskSchema },
      },
      errors: [
        'bad_request',
        'not_requestable',
        'invalid_denial_binding',
        ...mayNotAct,
        'forbidden',
        'duplicate_request',
        'conflict',
        'expired_denial',
        'rate_limited',
        'unavailable',
      ],
      handle: async ({ body, header, address, requestId }, session) => {
        const callback = checkSubmission(deps, body, session);
        const denial = await boundDenial(deps, body, session);
        const key = idempotencyKeyOf(header);
        if (key !== null) await asOneRequest(() => claimRequestKey(grants.store, session, key, body));
        const id = denial.grantId ?? (await askForGrant(deps, body, denial, session, { key, address, requestId }));
        if (callback !== null) await asOneRequest(() => nameCallback(grants, session.id, id, callback));
        const task = await readTask(grants, session.id, id);
        if (task === null) throw problem('invalid_denial_binding');
        return answerOf(task, task.status === 'pending' ? 202 : 201);
      },
    }),
    operation({
      tag: 'Grants',
      access: 'session',
      dialect: 'authzen',
      method: 'get',
      path: `${accessRequestsPath}/:id`,
      summary: 'Read the task of an access request, or wait for its decision (AuthZEN)',
      query: z.strictObject({
        wait: inDigits(z.int().min(0).max(60).default(0)).describe(
          'Seconds to wait, at most, while the task is pending.',
        ),
      }),
      params: z.object({ id: line(256) }),
      headers: { 'X-Request-ID': 'Sent back as it came.' },
      responses: { 200: { description: 'The task', schema: taskSchema } },
      errors: [...mayNotAct, 'not_found', 'rate_limited'],
      liveness: 'ended_too',
      handle: async ({ params: { id }, query, signal }, session) => {
        const known = idOf('gnt').safeParse(id).success;
        const wait = { seconds: query.wait, signal, poller: deps.poller, decided };
        const task = known ? await waitForTask(grants, session.id, id, wait) : null;
        if (task === null) throw problem('not_found');
        return answerOf(task, 200);
      },
    }),
    operation({
      tag: 'Grants',
      access: 'session',
      dialect: 'authzen',
      method: 'post',
      path: `${accessRequestsPath}/:id/cancel`,
      summary: 'Take an access request back that nobody has decided (AuthZEN)',
      body: loose,
      bodyOptional: true,
      params: z.object({ id: line(256) }),
      headers: { 'X-Request-ID': 'Sent back as it came.' },
      responses: { 200: { description: 'The task, which is cancelled', schema: taskSchema } },
      errors: [...mayNotAct, 'not_found', 'conflict', 'rate_limited'],
      handle: async ({ params: { id }, requestId }, session) => {
        const known = idOf('gnt').safeParse(id).success;
        const done = known && (await cancelRequest(grants, session.id, id, requestId));
        const task = known ? await readTask(grants, session.id, id) : null;
        if (task === null) throw problem('not_found');
        if (!done) throw problem('conflict', { detail: 'It does not wait any more, or is not yours to take back.' });
        return answerOf(task, 200);
      },
    }),
  ];
}

/**
 * @returns the callback that is asked for
 * @throws WritError `forbidden`; `bad_request` for what would otherwise be silently left undone
 */
function checkSubmission({ callbackRules }: AuthzenDeps, body: Submission, session: SessionFacts): Callback | null {
  checkSubject(body, session);
  if (body.items !== undefined) throw refuse('items', 'is not taken: send one request for each denial');
  const { callback } = body;
  if (callback !== undefined && callbackRules.origins.length === 0)
    throw refuse('callback', 'is not taken: wait on the task');
  if (callback !== undefined && !mayCall(callback.endpoint, callbackRules))
    throw refuse('callback.endpoint', 'is no address that this deployment calls back');
  // "MUST reject submissions whose claimed chain cannot be verified": a session’s token says who acts.
  const { actor } = body.client ?? {};
  if (actor !== undefined && (actor.id !== session.agent || actor.act !== undefined))
    throw refuse('client.actor', 'must be the agent of this session');
  if (callback === undefined) return null;
  const { endpoint, state = null, events } = callback;
  return { endpoint, state, events: events?.filter((event) => outcomes.includes(event)) ?? null };
}

/** The denial, once it is proven to be one of ours, of this session, of this very request, and fresh. */
async function boundDenial({ denials, grants }: AuthzenDeps, body: Submission, session: SessionFacts) {
  const { binding_token: token, expires_at: expiresAt, evaluation_id: evaluationId } = body.denial;
  const { subject, resource, action, context } = body;
  const asked = { subject, resource, action, context };
  const denial = token === undefined ? null : await denials.verify(token, asked, expiresAt);
  if (denial === null || denial.sessionId !== session.id) throw problem('invalid_denial_binding');
  if (evaluationId !== undefined && evaluationId !== denial.evaluationId) throw problem('invalid_denial_binding');
  if (denial.expiresAt <= grants.clock.now()) throw problem('expired_denial');
  return denial;
}

/** @throws WritError a problem of the profile's: it was another submission that had this key, or this task */
async function asOneRequest(take: () => Promise<void>): Promise<void> {
  try {
    await take();
  } catch (error) {
    throw error instanceof WritError && error.code === 'idempotency_mismatch' ? problem('duplicate_request') : error;
  }
}

/**
 * Makes the request for the capability, or finds it: without an Idempotency-Key, one denial is asked about
 * once.
 * @returns the grant’s id
 */
async function askForGrant(
  { grants }: AuthzenDeps,
  body: Submission,
  denial: BoundDenial,
  session: SessionFacts,
  { key, address, requestId }: { key: string | null } & Pick<Call<unknown, unknown, unknown>, 'address' | 'requestId'>,
): Promise<string> {
  if (body.resource.type !== capabilityType) throw problem('not_requestable');
  const { capability, params, ttlSeconds } = capabilityRequest(body);
  const justification = body.context?.justification ?? body.context?.business_justification ?? null;
  const named = key === null ? `denial ${denial.jti}` : `access request ${key}`;
  const idempotencyKey = `sha256:${hash('sha256', named, 'hex')}`;
  const known = await rereadSession(grants.store, session, grants.clock.now(), {
    ...grantReads(grants, capability, idempotencyKey),
    ...(await historyReads(grants, session.agent, capability, params, address ?? null)),
  });
  const request = {
    capability,
    params,
    ttlSeconds,
    justification,
    credentialJwk: null,
    onlyToApprove: true,
    address: address ?? null,
  } as const;
  try {
    const answer = await requestGrant(grants, known, request, idempotencyKey, requestId);
    return answer.outcome === 'repeated' ? answer.grantId : answer.grant.id;
  } catch (error) {
    if (!(error instanceof WritError)) throw error;
    const { recorded, extensions } = error;
    const instead =
      error.code === 'denied'
        ? problem('not_requestable', { detail: 'It is denied by now.', extensions })
        : error.code === 'not_requestable'
          ? problem('not_requestable', { detail: error.message })
          : error.code === 'idempotency_mismatch'
            ? problem('duplicate_request')
            : error;
    instead.recorded = recorded;
    throw instead;
  }
}

function viewOf(task: Task, statusEndpoint: string): z.output<typeof taskSchema> {
  const { id, status, expiresAt, reviewUrl, cancellable, title, description, approval } = task;
  return {
    task: {
      id,
      status,
      status_endpoint: statusEndpoint,
      ...(expiresAt === null ? {} : { expires_at: expiresAt.toISOString() }),
      ...(reviewUrl === null
        ? {}
        : { links: { review: reviewUrl, ...(cancellable ? { cancel: `${statusEndpoint}/cancel` } : {}) } }),
      display: { title, description },
    },
    ...(approval === null
      ? {}
      : {
          result: {
            mode: 'reevaluate',
            approval: {
              id,
              ...(approval.at === null ? {} : { approved_at: approval.at.toISOString() }),
              approved_until: approval.until.toISOString(),
            },
          },
        }),
  };
}
