/**
 * AuthZEN Authorization API 1.0: every tool call of an agent is asked for here, and recorded. The subject is
 * the session's own agent, the action the tool, the resource what it touches; `context.arguments` are the
 * call's. A denial is an answer (200, `decision: false`), not an error.
 */
import { SignJWT } from 'jose';
import { z } from 'zod';
import { type ActionAnswer, actionReads, requestAction } from '../actions/request-action.ts';
import { errorTable, type FieldFault, WritError } from '../core/errors.ts';
import { approvedAction } from '../grants/task.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import {
  type AuthzenDeps,
  accessRequestsPath,
  type Decided,
  decisionSchema,
  type Failed,
  failedSchema,
} from './authzen-answers.ts';
import {
  callOf,
  capabilityType,
  checkSubject,
  type EvaluationBody,
  evaluationBody,
  evaluationsBody,
  oneOf,
  type Sent,
} from './authzen-requests.ts';
import { evaluateCapability, retrySeconds } from './capability-evaluation.ts';
import { type Operation, operation } from './operation.ts';
import { requestable } from './requestable.ts';

const answerOf = ({
  actionId,
  effect,
  reasons,
  policyIds,
  manifestVersion,
  approval,
  withheld,
}: ActionAnswer): Decided => ({
  decision: effect === 'allow',
  context: {
    id: actionId,
    effect,
    reasons,
    policy_ids: policyIds,
    manifest_version: manifestVersion,
    obligations: [],
    ...(approval === undefined
      ? {}
      : {
          approval: {
            id: approval.id,
            status: approval.status,
            ...(approval.decideBy === null ? {} : { decide_by: approval.decideBy.toISOString() }),
            url: approval.url,
          },
        }),
    ...(withheld === undefined ? {} : { withheld }),
  },
});

/** Only what the caller did wrong is an answer to one of several; a failure of ours is one to all. */
function failed(error: unknown): Failed {
  if (!(error instanceof WritError) || errorTable[error.code].status >= 500) throw error;
  const { status, title } = errorTable[error.code];
  const { detail, errors } = error;
  const fields = errors === undefined ? {} : { errors: errors.map(({ path, message }) => ({ path, message })) };
  return {
    decision: false,
    context: { effect: 'deny', error: { status, code: error.code, message: detail ?? title, ...fields } },
  };
}

/**
 * A tool call: decided, and on record. What an approval was given for is decided anew by it; one that is for
 * another call, or nobody's, counts for nothing, and the answer says so.
 */
async function evaluateCall(
  deps: AuthzenDeps,
  session: SessionFacts,
  body: EvaluationBody,
  sent: Sent,
  requestId: string,
): Promise<Decided> {
  const { actions, grants } = deps;
  const call = callOf(body, sent);
  const { approval } = body.context ?? {};
  const known = approval === undefined ? null : await approvedAction(grants.store, session.id, approval.id);
  const named = call.callId !== null || call.actionId !== null;
  const asked = named || known === null ? call : { ...call, actionId: known };
  let elsewhere = false;
  const answer = await requestAction(actions, session, asked, requestId).catch((error) => {
    if (named || known === null || !(error instanceof WritError) || error.code !== 'idempotency_mismatch') throw error;
    elsewhere = true;
    return requestAction(actions, session, call, requestId);
  });
  const plain = answerOf(answer);
  const waits = answer.effect === 'approve' && answer.approval !== undefined;
  const ask = waits
    ? await requestable(deps, session, body, {
        evaluationId: answer.actionId,
        grantId: answer.approval!.id,
        until: answer.approval!.decideBy,
        reasons: answer.reasons,
      })
    : {};
  const next = approval === undefined || plain.decision ? {} : afterApproval(answer, { known, elsewhere });
  return { ...plain, context: { ...plain.context, ...ask, ...next } };
}

/** Why a call was denied in spite of an approval, and what to do (the profile's "Completion Semantics"). */
function afterApproval(
  { effect, approval }: ActionAnswer,
  { known, elsewhere }: { known: string | null; elsewhere: boolean },
): Pick<Decided['context'], 'reason' | 'next_action' | 'retry_after'> {
  const afresh = effect === 'approve' ? 'request' : 'none';
  if (elsewhere) return { reason: 'out_of_scope', next_action: afresh };
  if (known === null) return { reason: 'approval_unverifiable', next_action: afresh };
  if (effect === 'approve' && approval?.status === 'pending')
    return { reason: 'grant_pending', next_action: 'retry', retry_after: retrySeconds };
  return { reason: approval === undefined ? 'policy_denied' : 'approval_expired', next_action: afresh };
}

const badRequest = (errors: FieldFault[]) => new WritError('bad_request', { errors });

export function authzenOperations(deps: AuthzenDeps): Operation[] {
  const { actions } = deps;
  const errors = [
    'bad_request',
    'unauthenticated',
    'forbidden',
    'session_ended',
    'session_suspended',
    'session_asleep',
    'locked',
    'idempotency_mismatch',
    'conflict',
    'unavailable',
  ] as const;

  const decideOn = async (body: EvaluationBody, session: SessionFacts, requestId: string, sent: Sent) => {
    checkSubject(body, session);
    if (body.resource.type === capabilityType) return evaluateCapability(deps, session, body, sent, requestId);
    return evaluateCall(deps, session, body, sent, requestId);
  };

  /** The three semantics of section 7.1.2. */
  const decideAll = async (
    body: z.output<typeof evaluationsBody>,
    session: SessionFacts,
    requestId: string,
    address: string | undefined,
    note: (refusal: WritError) => Promise<void>,
  ): Promise<(Decided | Failed)[]> => {
    const semantic = body.options?.evaluations_semantic ?? 'execute_all';
    const answers: (Decided | Failed)[] = [];
    for (const index of (body.evaluations ?? []).keys()) {
      let answer: Decided | Failed;
      try {
        const one = oneOf(body, index);
        if (Array.isArray(one)) throw badRequest(one);
        answer = await decideOn(one, session, requestId, { address, path: `evaluations[${index}].` });
      } catch (error) {
        answer = failed(error);
        await note(error as WritError);
      }
      answers.push(answer);
      if (semantic === 'deny_on_first_deny' && !answer.decision) break;
      if (semantic === 'permit_on_first_permit' && answer.decision) break;
    }
    return answers;
  };

  return [
    operation({
      tag: 'Actions',
      access: 'session',
      dialect: 'authzen',
      needsClock: true,
      method: 'post',
      path: '/access/v1/evaluation',
      busy: true,
      summary: 'May this tool be called now? (AuthZEN)',
      body: evaluationBody,
      headers: { 'X-Request-ID': 'Sent back as it came.' },
      responses: { 200: { description: 'The decision, on record', schema: decisionSchema } },
      errors: [...errors],
      reads: ({ body, address }, caller) =>
        body.resource.type === capabilityType ? {} : actionReads(actions, caller.agent, callOf(body, { address })),
      handle: async ({ body, requestId, address }, session) => ({
        status: 200,
        body: await decideOn(body, session, requestId, { address }),
      }),
    }),
    operation({
      tag: 'Actions',
      access: 'session',
      dialect: 'authzen',
      needsClock: true,
      method: 'post',
      path: '/access/v1/evaluations',
      summary: 'May these tools be called, one after another? (AuthZEN)',
      body: evaluationsBody,
      headers: { 'X-Request-ID': 'Sent back as it came.' },
      responses: {
        200: {
          description:
            'The decisions in the order asked, as far as the semantic goes; one decision where no list was sent',
          schema: z.union([
            z.object({ evaluations: z.array(z.union([decisionSchema, failedSchema])) }),
            decisionSchema,
          ]),
        },
      },
      errors: [...errors],
      handle: async ({ body, requestId, address }, session) => {
        if ((body.evaluations ?? []).length === 0) {
          const one = oneOf(body, 0);
          if (Array.isArray(one)) throw badRequest(one);
          return { status: 200, body: await decideOn(one, session, requestId, { address }) };
        }
        const refused = { method: 'POST', route: '/access/v1/evaluations', address, requestId };
        const caller = { sessionId: session.id, agent: session.agent };
        const note = (refusal: WritError) => deps.noteRefused({ ...refused, caller }, refusal);
        return { status: 200, body: { evaluations: await decideAll(body, session, requestId, address, note) } };
      },
    }),
    operation({
      method: 'get',
      path: '/.well-known/authzen-configuration',
      summary: 'Where the AuthZEN endpoints are',
      tag: 'Discovery',
      access: 'none',
      responses: { 200: { description: 'The endpoints', schema: z.looseObject({}) } },
      errors: [],
      handle: async () => ({
        status: 200,
        body: { ...metadataOf(deps), signed_metadata: await signedMetadata(deps) },
        headers: { 'Cache-Control': 'public, max-age=3600' },
      }),
    }),
  ];
}

const metadataOf = ({ issuer, callbackRules }: AuthzenDeps) => ({
  policy_decision_point: issuer,
  access_evaluation_endpoint: `${issuer}/access/v1/evaluation`,
  access_evaluations_endpoint: `${issuer}/access/v1/evaluations`,
  search_subject_endpoint: `${issuer}/access/v1/search/subject`,
  search_resource_endpoint: `${issuer}/access/v1/search/resource`,
  search_action_endpoint: `${issuer}/access/v1/search/action`,
  access_request_endpoint: `${issuer}${accessRequestsPath}`,
  jwks_uri: `${issuer}/.well-known/jwks.json`,
  capabilities: ['urn:openid:authzen:capability:access-request'],
  // The profile has no name for it: whoever does not know this member waits on the task.
  ...(callbackRules.origins.length === 0 ? {} : { access_request_callback_supported: true }),
});

/** The same as a JWT of the broker's (section 9.1.3). */
function signedMetadata(deps: AuthzenDeps): Promise<string> {
  const { ring, issuer, actions } = deps;
  const key = ring.current();
  return new SignJWT(metadataOf(deps))
    .setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid: key.kid })
    .setIssuer(issuer)
    .setIssuedAt(Math.floor(actions.clock.now().getTime() / 1000))
    .sign(key.privateKey);
}
