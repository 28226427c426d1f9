/** `/v1/actions` and `/v1/tools`: how calls came out, and what a model may be shown. */
import { z } from 'zod';
import { callableTools } from '../actions/callable-tools.ts';
import { finishAction, finishReads, type Report } from '../actions/finish-action.ts';
import { type ReportedCall, reportCalls, type SnapshotDeps, snapshotFor } from '../actions/report-calls.ts';
import type { ActionDeps } from '../actions/request-action.ts';
import { sayWords } from '../actions/say-words.ts';
import { WritError } from '../core/errors.ts';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { mayNotAct, type Operation, operation } from './operation.ts';
import { idOf, line, microUsd, prose, usd } from './text.ts';

/** Any value: the body was JSON. A schema that refers to itself does not fit into the API’s document. */
const json = z.unknown() as unknown as z.ZodType<Json>;

const report = z.strictObject({
  outcome: z.enum(['response', 'error']).describe('`error`: the tool failed, or was not called after all.'),
  labels: z
    .array(z.string().regex(/^[a-z][a-z0-9_.-]{0,62}$/, 'must be a label'))
    .max(16)
    .default([])
    .describe('Labels of what came back, beyond those that the manifest gives the tool.'),
  cost_usd: usd
    .optional()
    .describe('What the call really cost: budgets count it in place of the estimate. Without it the estimate stands.'),
  entities: z
    .array(line(512))
    .max(16)
    .default([])
    .describe(
      'What the call turned out to touch, named as the manifest’s `entity` names it (`order:42`): rules that compare by `entity` see it, and `labels` stick to it. It lets nothing pass.',
    ),
  output: prose(48_000)
    .optional()
    .describe('What came back: looked at for the values that first appear in it, and not kept.'),
  output_truncated: z.boolean().default(false).describe('Whether `output` is only its beginning.'),
  structured: json
    .optional()
    .describe(
      'The same as JSON (`structuredContent` of MCP): values in fields that the manifest trusts may be used as destinations. Not kept.',
    ),
  output_digest: z
    .string()
    .regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hexadecimal digits')
    .optional()
    .describe('Digest of what came back, for the record.'),
});

const reportOf = ({
  outcome,
  labels,
  output,
  structured,
  output_truncated,
  output_digest,
  cost_usd,
  entities,
}: z.output<typeof report>): Report => ({
  outcome,
  labels,
  costMicroUsd: cost_usd === undefined ? null : microUsd(cost_usd),
  entities,
  output: output ?? null,
  structured: structured ?? null,
  truncated: output_truncated,
  outputDigest: output_digest ?? null,
});

/** Reports in one request, at most. */
const maxReports = 100;

/** @returns the code of what is wrong with this one; null = it is on record */
async function finishOrSay(
  deps: ActionDeps,
  admitted: SessionFacts,
  id: string,
  one: Report,
  requestId: string | null,
): Promise<string | null> {
  try {
    const reads = await finishReads(deps, admitted.agent, id, one);
    const session = await rereadSession(deps.store, admitted, deps.clock.now(), reads);
    await finishAction(deps, session, id, one, requestId);
    return null;
  } catch (error) {
    if (error instanceof WritError && (error.code === 'not_found' || error.code === 'conflict')) return error.code;
    throw error;
  }
}

const finished = z.object({ id: z.string(), outcome: z.enum(['response', 'error']) });

const jsonObject = z.record(z.string(), z.unknown()) as unknown as z.ZodType<JsonObject>;

const reportedCall = report
  .omit({ outcome: true, labels: true })
  .extend({
    call_id: line(256).describe('The host’s own id of the call: reported twice, it is on record once.'),
    tool: line(128),
    arguments: jsonObject.describe('As the tool was called. Of each, type, digest and a preview are kept.'),
    made_at: z.iso.datetime({ offset: true }).describe('When it was made, by the host’s clock.'),
    prompted_by: line(256).optional().describe('What prompted it: a reference or a digest, for the record.'),
    outcome: z.enum(['response', 'error']).optional().describe('How it came out; may be reported later.'),
  })
  .describe('A call that was made without asking.');

const callOf = (one: z.output<typeof reportedCall>, address: string | undefined): ReportedCall => ({
  tool: one.tool,
  args: one.arguments,
  costMicroUsd: null,
  callId: one.call_id,
  promptedBy: one.prompted_by ?? null,
  address: address ?? null,
  madeAt: new Date(one.made_at),
  report: one.outcome === undefined ? null : reportOf({ ...one, outcome: one.outcome, labels: [] }),
});

export function actionOperations(deps: SnapshotDeps): Operation[] {
  return [
    operation({
      tag: 'Actions',
      access: 'session',
      method: 'post',
      path: '/v1/actions/:id/finish',
      needsClock: true,
      busy: true,
      summary: 'Report how a tool call came out',
      params: z.object({ id: idOf('act') }),
      body: report,
      responses: { 200: { description: 'On record; the same report again changes nothing', schema: finished } },
      errors: ['bad_request', ...mayNotAct, 'not_found', 'conflict', 'unavailable'],
      reads: ({ params: { id }, body }, { agent }) => finishReads(deps, agent, id, reportOf(body)),
      handle: async ({ params: { id }, body, requestId }, session) => {
        await finishAction(deps, session, id, reportOf(body), requestId);
        return { status: 200, body: { id, outcome: body.outcome } };
      },
    }),
    operation({
      tag: 'Actions',
      access: 'session',
      method: 'post',
      path: '/v1/actions/finish',
      needsClock: true,
      summary: 'Report how several tool calls came out',
      body: z.strictObject({
        reports: z
          .array(report.extend({ id: idOf('act').describe('The call.') }))
          .min(1)
          .max(maxReports),
      }),
      responses: {
        200: {
          description: 'Of each report, in order, whether it is on record; and if not, why',
          schema: z.object({ reports: z.array(z.object({ id: z.string(), error: z.string().nullable() })) }),
        },
      },
      errors: ['bad_request', ...mayNotAct, 'unavailable'],
      handle: async ({ body, requestId }, session) => {
        const reports: { id: string; error: string | null }[] = [];
        for (const { id, ...one } of body.reports)
          reports.push({ id, error: await finishOrSay(deps, session, id, reportOf(one), requestId) });
        return { status: 200, body: { reports } };
      },
    }),
    operation({
      tag: 'Actions',
      access: 'session',
      liveness: 'ended_too',
      method: 'post',
      path: '/v1/actions/report',
      needsClock: true,
      summary: 'Report tool calls that were made on the strength of a snapshot',
      body: z.strictObject({
        snapshot: z.string().min(1).max(24_000).describe('The snapshot, as it was given.'),
        calls: z.array(reportedCall).min(1).max(maxReports),
      }),
      responses: {
        200: {
          description: 'Of each call, in order, the action on record, and what would have been decided',
          schema: z.object({
            reports: z.array(
              z.object({
                call_id: z.string(),
                id: z.string().nullable(),
                effect: z.string().nullable(),
                error: z.string().nullable(),
              }),
            ),
          }),
        },
      },
      errors: ['bad_request', 'unauthenticated', 'conflict', 'unavailable'],
      handle: async ({ body, requestId, address }, session) => {
        const calls = body.calls.map((one) => callOf(one, address));
        const answers = await reportCalls(deps, session, body.snapshot, calls, requestId);
        const reports = answers.map(({ callId, actionId, effect, error }) => ({
          call_id: callId,
          id: actionId,
          effect,
          error,
        }));
        return { status: 200, body: { reports } };
      },
    }),
    operation({
      tag: 'Actions',
      access: 'session',
      method: 'get',
      path: '/v1/tools/snapshot',
      needsClock: true,
      summary: 'What the session may call without asking, signed',
      responses: {
        200: {
          description:
            'A JWS of type `writ-snapshot+jwt` by a key of `/.well-known/jwks.json`, or null: then every call is asked for',
          schema: z.object({ snapshot: z.string().nullable(), expires_in: z.int().describe('Seconds.') }),
        },
      },
      errors: [...mayNotAct, 'unavailable'],
      handle: async (_call, session) => {
        const given = await snapshotFor(deps, session);
        return { status: 200, body: { snapshot: given?.snapshot ?? null, expires_in: given?.expiresIn ?? 0 } };
      },
    }),
    operation({
      tag: 'Actions',
      access: 'session',
      method: 'post',
      path: '/v1/session/words',
      needsClock: true,
      busy: true,
      summary: 'Report what the person said',
      body: z.strictObject({
        text: prose(48_000).describe(
          'The person’s own words, as the agent’s host received them, and never what a tool or the model wrote. Values that stand in them are trusted; the text is not kept.',
        ),
      }),
      responses: {
        200: {
          description: 'On record; the same words again change nothing',
          schema: z.object({ words: z.int().describe('How many of its words are trusted.') }),
        },
      },
      errors: ['bad_request', ...mayNotAct, 'conflict', 'unavailable'],
      handle: async ({ body, requestId }, session) => ({
        status: 200,
        body: { words: await sayWords(deps, session, body.text, requestId) },
      }),
    }),
    operation({
      tag: 'Actions',
      access: 'session',
      method: 'get',
      path: '/v1/tools',
      summary: 'The tools that the session may call now',
      responses: {
        200: {
          description: 'What its model may be shown; whether a call is allowed depends on its arguments too',
          schema: z.object({ tools: z.array(z.object({ name: z.string(), description: z.string().nullable() })) }),
        },
      },
      errors: [...mayNotAct, 'unavailable'],
      handle: async ({ address }, session) => ({
        status: 200,
        body: { tools: await callableTools(deps, session, address ?? null) },
      }),
    }),
  ];
}
