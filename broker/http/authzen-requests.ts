/**
 * What the AuthZEN Authorization API 1.0 takes, as a call of a tool. Pure.
 *
 * `action` is the tool. Its arguments are `context.arguments`, or `action.properties.arguments`. Without
 * either, they are the properties of the action, which the standard calls its parameters (section 5.3.1);
 * and where the resource is something else than the tool itself, its properties too, and `resource`, its type
 * and id. A client that knows nothing of tools can so be told of anything that a manifest says about
 * arguments.
 */
import { z } from 'zod';
import type { ActionRequest } from '../actions/request-action.ts';
import { type FieldFault, WritError } from '../core/errors.ts';
import { fieldWords } from '../core/field-words.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import { idOf, line, microUsd, usd, zodFaults } from './text.ts';

const jsonObject = z.record(z.string(), z.unknown()) as unknown as z.ZodType<JsonObject>;
const type = line(64);
const resourceId = line(2048);

// Members that the standard does not know are ignored (section 10.1.1), and bound all the same by what is
// signed over the whole.
export const subjectSchema = z
  .looseObject({ type, id: line(256), properties: jsonObject.optional() })
  .describe('`{type: "agent", id}`: the session’s own agent, and nobody else. What `properties` say decides nothing.');
export const actionSchema = z
  .looseObject({ name: line(128), properties: jsonObject.optional() })
  .describe('The tool; its arguments may stand in `properties.arguments`.');
export const resourceSchema = z
  .looseObject({ type, id: resourceId, properties: jsonObject.optional() })
  .describe('What the call touches; `{type: "tool", id}` is the tool itself.');
export const contextSchema = z
  .looseObject({
    arguments: jsonObject
      .optional()
      .describe(
        'Arguments of the call. Left out, they are the properties of the action; where the resource is no tool, its properties too, and `resource`.',
      ),
    call_id: line(256).optional().describe('The host’s own id: the same id and call again is the same action.'),
    action_id: idOf('act')
      .optional()
      .describe(
        'The action as which it was asked for before a person agreed to it, where the host has no id of its own.',
      ),
    cost_usd: usd.optional().describe('What the call is expected to cost.'),
    prompted_by: line(256).optional().describe('What prompted it: a reference or a digest, for the record.'),
    ttl_seconds: z.int().min(1).max(604_800).optional().describe('Of a capability: the lifetime asked for.'),
    approval: z
      .looseObject({ id: line(128) })
      .optional()
      .describe('The approval that an access request came to, as it was given.'),
  })
  .describe('The call itself.');

export const evaluationBody = z.object({
  subject: subjectSchema,
  action: actionSchema,
  resource: resourceSchema,
  context: contextSchema.optional(),
});
export type EvaluationBody = z.output<typeof evaluationBody>;

export const semantics = z.enum(['execute_all', 'deny_on_first_deny', 'permit_on_first_permit']);
/** Evaluations in one request, at most. */
const maxEvaluations = 100;
const byDefault = z.unknown().optional();
export const evaluationsBody = z.object({
  subject: byDefault.describe('As in `/access/v1/evaluation`, for evaluations that have none of their own.'),
  action: byDefault.describe('The same.'),
  resource: byDefault.describe('The same.'),
  context: byDefault.describe('The same.'),
  evaluations: z
    .array(z.looseObject({}))
    .max(maxEvaluations)
    .optional()
    .describe('Each as in `/access/v1/evaluation`; a member that it leaves out is taken from the top, whole.'),
  options: z.looseObject({ evaluations_semantic: semantics.optional() }).optional(),
});

const parts = ['subject', 'action', 'resource', 'context'] as const;

/**
 * One of several evaluations, with what it leaves out taken from the top (section 7.1.1): whole members,
 * never their parts.
 * @returns its faults, each at the path where it was written
 */
export function oneOf(
  { evaluations = [], ...top }: z.output<typeof evaluationsBody>,
  index: number,
): EvaluationBody | FieldFault[] {
  const own = evaluations[index] ?? {};
  const whole = Object.fromEntries(
    parts.flatMap((name) => {
      if (Object.hasOwn(own, name)) return [[name, own[name]]];
      return top[name] === undefined ? [] : [[name, top[name]]];
    }),
  );
  const parsed = evaluationBody.safeParse(whole, { error: (issue) => fieldWords(issue) });
  if (parsed.success) return parsed.data;
  return parsed.error.issues.flatMap((issue) => {
    const from = String(issue.path[0]) as (typeof parts)[number];
    const atTop = !Object.hasOwn(own, from) && top[from] !== undefined;
    return zodFaults([issue], atTop || evaluations.length === 0 ? '' : `evaluations[${index}]`);
  });
}

const refuse = (path: string, message: string): WritError =>
  new WritError('bad_request', { errors: [{ path, message }] });

/** Resources of this type are capabilities of the manifest. */
export const capabilityType = 'capability';

/** What COAZ-MCP calls every tool call; the tool is the resource then. */
const coazCall = 'tools/call';

/** Where a request was sent from, and where in its body an evaluation is: empty, or `evaluations[3].`. */
export interface Sent {
  address: string | undefined;
  path?: string;
}

/**
 * The tool and the arguments.
 * @throws WritError `bad_request` where it can be read in two ways, with the path
 */
export function callOf(
  { action, resource, context = {} }: Omit<EvaluationBody, 'subject'>,
  { address, path = '' }: Sent,
): ActionRequest {
  if (resource.type === 'tool' && action.name !== coazCall && resource.id !== action.name)
    throw refuse(`${path}resource.id`, 'is another tool than action.name');
  return {
    tool: resource.type === 'tool' ? resource.id : action.name,
    args: argumentsIn({ action, resource, context }, path),
    costMicroUsd: context.cost_usd === undefined ? null : microUsd(context.cost_usd),
    callId: context.call_id ?? null,
    actionId: context.action_id ?? null,
    promptedBy: context.prompted_by ?? null,
    address: address ?? null,
  };
}

/** @throws WritError `bad_request` where they are no object, or there twice */
export function argumentsIn(
  { action, resource, context = {} }: Omit<EvaluationBody, 'subject'>,
  path = '',
): JsonObject {
  const inAction = action.properties?.arguments;
  // Which of two would the tool be called with?
  if (context.arguments !== undefined && inAction !== undefined)
    throw refuse(`${path}action.properties.arguments`, 'is there in the context too');
  if (context.arguments !== undefined) return context.arguments;
  if (inAction !== undefined) {
    if (typeof inAction === 'object' && inAction !== null && !Array.isArray(inAction)) return inAction;
    throw refuse(`${path}action.properties.arguments`, 'must be an object');
  }
  return ['tool', capabilityType].includes(resource.type)
    ? { ...action.properties }
    : argumentsOfResource(resource, action, path);
}

/** @param resource without an id where it is searched for */
export function argumentsOfResource(
  { type, id, properties = {} }: { type: string; id?: string; properties?: JsonObject | undefined },
  action: EvaluationBody['action'],
  path = '',
): JsonObject {
  const said = action.properties ?? {};
  for (const name of Object.keys(said))
    if (Object.hasOwn(properties, name))
      throw refuse(`${path}action.properties.${name}`, 'is there in the resource too');
  for (const [part, own] of [
    ['resource', properties],
    ['action', said],
  ] as const)
    if (Object.hasOwn(own, 'resource'))
      throw refuse(`${path}${part}.properties.resource`, 'is the name of the resource itself');
  return { ...properties, ...said, resource: id === undefined ? { type } : { type, id } };
}

/** The subject as a session may call itself: its agent (`identity` in COAZ), or itself. */
export const isOwn = ({ type, id }: { type: string; id: string }, session: SessionFacts): boolean =>
  type === 'session' ? id === session.id : (type === 'agent' || type === 'identity') && id === session.agent;

/** Nobody asks for another: the token says who calls. @throws WritError `forbidden` */
export function checkSubject({ subject }: EvaluationBody, session: SessionFacts): void {
  if (!isOwn(subject, session))
    throw new WritError('forbidden', { detail: 'The subject must be the agent of this session.' });
}
