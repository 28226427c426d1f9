/**
 * AuthZEN Authorization API 1.0: every tool call of an agent is asked for here, and recorded. The subject is
 * the session's own agent, the action the tool, the resource what it touches; `context.arguments` are the
 * call's. A denial is an answer (200, `decision: false`), not an error.
 */
import { z } from 'zod';
import { callableTools } from '../actions/callable-tools.ts';
import {
  type ActionAnswer,
  type ActionDeps,
  type ActionRequest,
  actionReads,
  requestAction,
} from '../actions/request-action.ts';
import { WritError } from '../core/errors.ts';
import { codesOf, decisionReasons } from '../core/reasons.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { callEffects } from '../decide/effects.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import { type Operation, operation } from './operation.ts';
import { idOf, line } from './text.ts';

const jsonObject = z.record(z.string(), z.unknown()) as unknown as z.ZodType<JsonObject>;

const subject = z
  .object({ type: line(64), id: line(256), properties: jsonObject.optional() })
  .describe('`{type: "agent", id}`: the session’s own agent, and nobody else.');
const action = z
  .object({ name: line(128), properties: jsonObject.optional() })
  .describe('The tool; its arguments may stand in `properties.arguments`.');
const resource = z
  .object({ type: line(64), id: line(512), properties: jsonObject.optional() })
  .describe('What the call touches. What decides is what the manifest makes of the arguments.');
const context = z
  .looseObject({
    arguments: jsonObject.optional().describe('Arguments of the call.'),
    call_id: line(256).optional().describe('The host’s own id: the same id and call again is the same action.'),
    action_id: idOf('act')
      .optional()
      .describe(
        'The action as which it was asked for before a person agreed to it, where the host has no id of its own.',
      ),
    cost_usd: z.number().min(0).max(1_000_000).optional().describe('What the call is expected to cost.'),
    prompted_by: line(256).optional().describe('What prompted it: a reference or a digest, for the record.'),
  })
  .describe('The call itself.');

const evaluationBody = z.object({ subject, action, resource, context: context.optional() });
const part = evaluationBody.partial();
const semantics = z.enum(['execute_all', 'deny_on_first_deny', 'permit_on_first_permit']);
/** Evaluations in one request, at most. */
const maxEvaluations = 100;
const evaluationsBody = part.extend({
  evaluations: z.array(part).max(maxEvaluations).optional().describe('Each takes what it leaves out from the top.'),
  options: z.looseObject({ evaluations_semantic: semantics.optional() }).optional(),
});

const decisionSchema = z.object({
  decision: z.boolean(),
  context: z.object({
    id: z.string().describe('The action: report its outcome to `/v1/actions/{id}/finish`.'),
    effect: z
      .enum(callEffects)
      .describe(
        '`approve`: a person must agree; wait for `approval`, and ask again. `downgrade`: the session lost what `withheld` names. `suspend`: it can do nothing until a person lifts that. `terminate`: it ended.',
      ),
    reasons: z.array(
      z.object({
        code: z.enum(codesOf(decisionReasons)),
        policy_id: z.string().optional(),
        path: z.string().optional(),
        advice: z.string().optional(),
      }),
    ),
    policy_ids: z.array(z.string()),
    manifest_version: z.int(),
    obligations: z.array(z.string()),
    approval: z
      .object({ id: z.string(), status: z.string(), decide_by: z.string().optional(), url: z.string() })
      .optional()
      .describe('What people are asked because of it: wait for it with `GET /v1/grants/{id}?wait=60`.'),
    withheld: z.array(z.string()).optional().describe('`tool:NAME` and `capability:NAME` that the session lost by it.'),
  }),
});

/** @throws WritError `bad_request` with the path of what is missing */
function callOf(body: z.output<typeof part>, path: string, address: string | undefined): ActionRequest {
  const missing = (['subject', 'action', 'resource'] as const).filter((name) => body[name] === undefined);
  if (body.action === undefined || missing.length > 0)
    throw new WritError('bad_request', {
      errors: missing.map((name) => ({ path: `${path}${name}`, message: 'is required' })),
    });
  const given = body.context ?? {};
  const inAction = body.action.properties?.arguments as JsonObject | undefined;
  // Which of two would the tool be called with?
  if (given.arguments !== undefined && inAction !== undefined)
    throw new WritError('bad_request', {
      errors: [{ path: `${path}action.properties.arguments`, message: 'is there in the context too' }],
    });
  const args = given.arguments ?? inAction ?? {};
  if (typeof args !== 'object' || args === null || Array.isArray(args))
    throw new WritError('bad_request', {
      errors: [{ path: `${path}action.properties.arguments`, message: 'must be an object' }],
    });
  return {
    tool: body.action.name,
    args,
    costMicroUsd: given.cost_usd === undefined ? null : Math.round(given.cost_usd * 1e6),
    callId: given.call_id ?? null,
    actionId: given.action_id ?? null,
    promptedBy: given.prompted_by ?? null,
    address: address ?? null,
  };
}

/** Nobody asks for another: the token says who calls. @throws WritError `forbidden` */
function checkSubject(body: z.output<typeof part>, session: SessionFacts): void {
  const { type, id } = body.subject ?? { type: '', id: '' };
  if (!((type === 'agent' && id === session.agent) || (type === 'session' && id === session.id)))
    throw new WritError('forbidden', { detail: 'The subject must be the agent of this session.' });
}

const answerOf = ({ actionId, effect, reasons, policyIds, manifestVersion, approval, withheld }: ActionAnswer) => ({
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

/** The caller's own id of the request is sent back, as the standard asks (section 10.1.3). */
function echoed(header: (name: string) => string | undefined): { headers: Record<string, string> } {
  const id = header('x-request-id');
  return { headers: id !== undefined && /^[\x21-\x7e]{1,255}$/.test(id) ? { 'X-Request-ID': id } : {} };
}

export function authzenOperations(deps: ActionDeps, issuer: string): Operation[] {
  const errors = [
    'bad_request',
    'unauthenticated',
    'forbidden',
    'session_ended',
    'session_suspended',
    'idempotency_mismatch',
    'conflict',
    'unavailable',
  ] as const;
  return [
    operation({
      tag: 'Actions',
      access: 'session',
      needsClock: true,
      method: 'post',
      path: '/access/v1/evaluation',
      busy: true,
      summary: 'May this tool be called now? (AuthZEN)',
      body: evaluationBody,
      headers: { 'X-Request-ID': 'Sent back as it came.' },
      responses: { 200: { description: 'The decision, on record', schema: decisionSchema } },
      errors: [...errors],
      reads: ({ body, address }, caller) => actionReads(deps, caller.agent, callOf(body, '', address)),
      handle: async ({ body, header, address, requestId }, session) => {
        checkSubject(body, session);
        const answer = await requestAction(deps, session, callOf(body, '', address), requestId);
        return { status: 200, body: answerOf(answer), ...echoed(header) };
      },
    }),
    operation({
      tag: 'Actions',
      access: 'session',
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
          schema: z.union([z.object({ evaluations: z.array(decisionSchema) }), decisionSchema]),
        },
      },
      errors: [...errors],
      handle: async ({ body, header, address, requestId }, session) => {
        const { evaluations = [], options, ...defaults } = body;
        const semantic = options?.evaluations_semantic ?? 'execute_all';
        const asked = (evaluations.length === 0 ? [{}] : evaluations).map((one) => ({ ...defaults, ...one }));
        const calls = asked.map((one, index) =>
          callOf(one, evaluations.length === 0 ? '' : `evaluations.${index}.`, address),
        );
        for (const one of asked) checkSubject(one, session);
        const answers: ReturnType<typeof answerOf>[] = [];
        for (const call of calls) {
          const answer = answerOf(await requestAction(deps, session, call, requestId));
          answers.push(answer);
          if (semantic === 'deny_on_first_deny' && !answer.decision) break;
          if (semantic === 'permit_on_first_permit' && answer.decision) break;
          if (answer.context.effect === 'terminate' || answer.context.effect === 'suspend') break;
        }
        const single = evaluations.length === 0;
        return { status: 200, body: single ? answers[0] : { evaluations: answers }, ...echoed(header) };
      },
    }),
    operation({
      tag: 'Actions',
      access: 'session',
      needsClock: true,
      method: 'post',
      path: '/access/v1/search/action',
      summary: 'Which tools may be called now? (AuthZEN)',
      body: z.looseObject({ subject }),
      headers: { 'X-Request-ID': 'Sent back as it came.' },
      responses: {
        200: { description: 'The actions', schema: z.object({ results: z.array(z.object({ name: z.string() })) }) },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'session_ended', 'session_suspended', 'unavailable'],
      handle: async ({ body, header, address }, session) => {
        checkSubject(body, session);
        const tools = await callableTools(deps, session, address ?? null);
        return { status: 200, body: { results: tools.map(({ name }) => ({ name })) }, ...echoed(header) };
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
        body: {
          policy_decision_point: issuer,
          access_evaluation_endpoint: `${issuer}/access/v1/evaluation`,
          access_evaluations_endpoint: `${issuer}/access/v1/evaluations`,
          search_action_endpoint: `${issuer}/access/v1/search/action`,
        },
        headers: { 'Cache-Control': 'public, max-age=3600' },
      }),
    }),
  ];
}
