/**
 * The searches of the AuthZEN Authorization API 1.0 (section 8): who may do it, what it may be done to, what
 * may be done. They answer for the session that asks, from the manifest in force and the session's history,
 * and write nothing.
 *
 * What a manifest leaves open cannot be listed. `context.complete` says whether the results are all there
 * are; `context.reasons` what they lack.
 */
import canonicalize from 'canonicalize';
import { z } from 'zod';
import { callableTools } from '../actions/callable-tools.ts';
import type { ActionDeps } from '../actions/request-action.ts';
import { passes, passesSoFar, wouldDecide } from '../actions/would-decide.ts';
import { WritError } from '../core/errors.ts';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import { toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { looksAtResource, type Touched, touchedResources } from '../manifests/touched-resources.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import {
  actionSchema,
  argumentsOfResource,
  callOf,
  contextSchema,
  isOwn,
  resourceSchema,
  subjectSchema,
} from './authzen-requests.ts';
import { mayNotAct, type Operation, operation } from './operation.ts';
import { line } from './text.ts';

/** Results in one answer, at most, and how many are looked at for it. */
const mostResults = 500;

const page = z
  .looseObject({
    token: line(512).optional().describe('`next_token` of the answer before.'),
    limit: z.int().min(0).optional().describe(`Results at most; never more than ${mostResults} come.`),
  })
  .describe('Which part of the results.');
type Page = z.output<typeof page>;

const gap = z.object({
  code: z.enum(['not_own_subject', 'entity_unknown', 'argument_free', 'too_many']),
  path: z.string().optional(),
});
type Gap = z.output<typeof gap>;

const answerSchema = <T extends z.ZodType>(result: T) =>
  z.object({
    page: z.object({ next_token: z.string().describe('Empty at the end.'), count: z.int() }),
    context: z.object({
      complete: z.boolean().describe('Whether nothing else would be a result.'),
      reasons: z.array(gap).describe('What the results lack.'),
    }),
    results: z.array(result),
  });
const entitySchema = z.object({ type: z.string(), id: z.string() });
type Entity = z.output<typeof entitySchema>;

interface Found<Result> {
  results: Result[];
  gaps: Gap[];
}

/** Members whose `id` is what is searched for: it is ignored (sections 8.4 and 8.5). */
const subjectType = z.looseObject({ type: line(64) }).describe('Of this type; an `id` is ignored.');
const resourceType = resourceSchema.partial({ id: true }).describe('Of this type; an `id` is ignored.');

const bodies = {
  subject: z.object({
    subject: subjectType,
    action: actionSchema,
    resource: resourceSchema,
    context: contextSchema.optional(),
    page: page.optional(),
  }),
  resource: z.object({
    subject: subjectSchema,
    action: actionSchema,
    resource: resourceType,
    context: contextSchema.optional(),
    page: page.optional(),
  }),
  action: z.object({
    subject: subjectSchema,
    resource: resourceSchema,
    context: contextSchema.optional(),
    page: page.optional(),
  }),
};

export function authzenSearchOperations(deps: ActionDeps): Operation[] {
  const search = <Body extends { page?: Page | undefined }, Result>(
    name: 'subject' | 'resource' | 'action',
    summary: string,
    body: z.ZodType<Body>,
    result: z.ZodType<Result>,
    find: (body: Body, session: SessionFacts, address: string | undefined) => Promise<Found<Result>>,
  ): Operation =>
    operation({
      tag: 'Actions',
      access: 'session',
      dialect: 'authzen',
      needsClock: true,
      method: 'post',
      path: `/access/v1/search/${name}`,
      summary,
      body,
      headers: { 'X-Request-ID': 'Sent back as it came.' },
      responses: { 200: { description: 'What was found', schema: answerSchema(result) } },
      errors: ['bad_request', ...mayNotAct, 'unavailable'],
      handle: async ({ body: asked, address }, session) => {
        const query = { name, session: session.id, asked: { ...asked, page: undefined } };
        const from = startOf(asked.page ?? {}, query, deps);
        const { results, gaps } = await find(asked, session, address);
        const shown = results.slice(from.offset, from.offset + from.limit);
        const next = from.offset + shown.length;
        const token = next < results.length ? tokenOf({ ...from, offset: next }, query, deps) : '';
        return {
          status: 200,
          body: {
            page: { next_token: token, count: shown.length },
            context: { complete: gaps.length === 0, reasons: gaps },
            results: shown,
          },
        };
      },
    });

  return [
    search('subject', 'Who may do it? (AuthZEN)', bodies.subject, entitySchema, (body, session, address) =>
      subjectsFor(deps, body, session, address),
    ),
    search('resource', 'What may it be done to? (AuthZEN)', bodies.resource, entitySchema, (body, session, address) =>
      resourcesFor(deps, body, session, address),
    ),
    search(
      'action',
      'Which tools may be called now? (AuthZEN)',
      bodies.action,
      z.object({ name: z.string() }),
      (body, session, address) => actionsFor(deps, body, session, address),
    ),
  ];
}

/**
 * The session itself, under each of its names, where its call would be allowed. Of others nothing is told.
 */
async function subjectsFor(
  deps: ActionDeps,
  body: z.output<typeof bodies.subject>,
  session: SessionFacts,
  address: string | undefined,
): Promise<Found<Entity>> {
  const { type } = body.subject;
  const own = [session.agent, session.id].map((id) => ({ type, id })).filter((one) => isOwn(one, session));
  const call = callOf(body, { address });
  const answers = own.length === 0 ? [] : await wouldDecide(deps, session, () => [call]);
  return { results: answers.some(mayBe(body)) ? own : [], gaps: [{ code: 'not_own_subject' }] };
}

/** A tool alone is asked about without its arguments; anything else as it stands. */
const mayBe = ({
  resource,
  context,
}: {
  resource: Entity;
  context?: { arguments?: JsonObject | undefined } | undefined;
}) => (resource.type === 'tool' && context?.arguments === undefined ? passesSoFar : passes);
async function resourcesFor(
  deps: ActionDeps,
  body: z.output<typeof bodies.resource>,
  session: SessionFacts,
  address: string | undefined,
): Promise<Found<Entity>> {
  if (!isOwn(body.subject, session)) return { results: [], gaps: [{ code: 'not_own_subject' }] };
  const { type } = body.resource;
  const tool = body.action.name;
  const call = callOf({ ...body, resource: { type: 'tool', id: tool } }, { address });
  if (type === 'tool') {
    const answers = await wouldDecide(deps, session, () => [call]);
    return { results: answers.filter(passesSoFar).map(() => ({ type, id: tool })), gaps: [] };
  }
  const gaps: Gap[] = [];
  const answers = await wouldDecide(deps, session, (manifest) => {
    const touched = touchedBy(manifest, body, call.args, session);
    if (!touched.complete) {
      const { because, path } = touched;
      gaps.push({ code: because, ...(path === undefined ? {} : { path }) });
      return [];
    }
    return touched.resources.map(({ id, args }) => ({ ...call, args: args as JsonObject, id }));
  });
  return { results: answers.filter(passesSoFar).map(({ call: { id } }) => ({ type, id })), gaps };
}

/** @param args of the call, as far as they are known */
function touchedBy(
  manifest: Manifest,
  { action, resource, context }: Pick<z.output<typeof bodies.resource>, 'action' | 'resource' | 'context'>,
  args: JsonObject,
  session: SessionFacts,
): Touched {
  const tool = toolOf(manifest, action.name);
  if (tool === undefined) return { complete: true, resources: [] };
  const bare = context?.arguments === undefined && action.properties?.arguments === undefined;
  const { type, properties } = resource;
  const known = bare && looksAtResource(tool) ? argumentsOfResource({ type, properties }, action) : args;
  return touchedResources(tool, session.task.inputs, type, known);
}

/** Every tool that may be called on the resource; on the session or a server as such, every tool. */
async function actionsFor(
  deps: ActionDeps,
  body: z.output<typeof bodies.action>,
  session: SessionFacts,
  address: string | undefined,
): Promise<Found<{ name: string }>> {
  if (!isOwn(body.subject, session)) return { results: [], gaps: [{ code: 'not_own_subject' }] };
  const { type, id } = body.resource;
  if (['agent', 'session', 'identity', 'mcp_server'].includes(type)) {
    const tools = await callableTools(deps, session, address ?? null);
    return { results: tools.map(({ name }) => ({ name })), gaps: [] };
  }
  const gaps: Gap[] = [];
  const answers = await wouldDecide(deps, session, (manifest) =>
    Object.keys(manifest.tools ?? {}).flatMap((name) => {
      const asked = { ...body, action: { name } };
      if (type === 'tool') return name === id ? [callOf(asked, { address })] : [];
      const touched = touchedBy(manifest, asked, {}, session);
      const there = touched.complete ? touched.resources.filter((one) => one.id === id) : [];
      return [
        callOf(asked, { address }),
        ...there.map(({ args }) => ({ ...callOf(asked, { address }), args: args as JsonObject })),
      ];
    }),
  );
  const names = answers.filter(mayBe(body)).map(({ call }) => call.tool);
  return { results: [...new Set(names)].map((name) => ({ name })), gaps };
}

interface Start {
  offset: number;
  limit: number;
}

/**
 * Where the page begins. @throws WritError `bad_request` for a token of another search or session, or none
 * of ours
 */
function startOf({ token, limit }: Page, query: object, { digest }: ActionDeps): Start {
  const most = Math.min(limit ?? mostResults, mostResults);
  if (token === undefined) return { offset: 0, limit: most };
  const [, offset, before] = /^(\d{1,6})\.(\d{1,3})\./.exec(token) ?? [];
  const start = { offset: Number(offset), limit: Number(before) };
  if (offset === undefined || tokenOf(start, query, { digest }) !== token)
    throw refuse('page.token', 'is not of this search');
  if (limit !== undefined && most !== start.limit) throw refuse('page.limit', 'must stay as it was');
  return start;
}

/** Bound to everything that must stay as it was (section 8.2). */
function tokenOf({ offset, limit }: Start, query: object, { digest }: Pick<ActionDeps, 'digest'>): string {
  return `${offset}.${limit}.${digest(canonicalize({ query, offset, limit } as Json)!)}`;
}

const refuse = (path: string, message: string) => new WritError('bad_request', { errors: [{ path, message }] });
