/** `/v1/session`: look at it, keep it alive, end it. */
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import type { LongPoller } from '../core/long-poller.ts';
import { codesOf, endReasons } from '../core/reasons.ts';
import { endSession } from '../sessions/end-session.ts';
import { type HeartbeatDeps, heartbeat } from '../sessions/heartbeat.ts';
import { overview, readCursor, settledSessions } from '../sessions/overview.ts';
import { type SleepDeps, sleepSession } from '../sessions/sleep.ts';
import { type Operation, operation } from './operation.ts';
import { inDigits } from './text.ts';
import { tokenSchema } from './token-endpoint.ts';

export type SessionDeps = SleepDeps &
  HeartbeatDeps & {
    poller: LongPoller;
    /** Grants one session may ask for where its envelope names no number. */
    maxGrantsPerSession: number;
  };

const time = z.string();
const sessionStatus = z
  .enum(['active', 'suspended', 'asleep', 'ended'])
  .describe(
    '`suspended`: a rule stopped it; it can do nothing until a person lifts that. `asleep`: it holds nothing and can do nothing until its agent wakes it.',
  );
const leaseSchema = z.object({
  id: z.string(),
  grant_id: z.string(),
  provider: z.string(),
  status: z.enum(['issuing', 'active', 'revoking', 'revoked', 'expired', 'failed']),
  expires_at: time,
  ended_at: time.nullable(),
  evidence: z.record(z.string(), z.unknown()).nullable().describe('The provider’s word, or what a probe found.'),
});
export const overviewSchema = z.object({
  session: z.object({
    id: z.string(),
    agent: z.string(),
    task_type: z.string(),
    inputs: z.record(z.string(), z.unknown()),
    on_behalf_of: z.string().nullable().describe('Whom the run is for, `user:…`, as the platform vouches for it.'),
    declared_on_behalf_of: z
      .string()
      .nullable()
      .describe('The same in the agent’s own word, which nobody vouches for.'),
    started_by: z.string().nullable().describe('Who started the run, `user:…`, as the platform vouches for it.'),
    responsible: z
      .string()
      .nullable()
      .describe('`team:…` or `user:…` that the trust file names, and that counts as the starter.'),
    parent_id: z.string().nullable(),
    capabilities: z
      .array(z.string())
      .nullable()
      .describe('What a child session is narrowed to; null = all of the manifest’s.'),
    status: sessionStatus,
    end_reason: z.enum(codesOf(endReasons)).nullable(),
    opened_at: time,
    expires_at: time,
    ended_at: time.nullable(),
    grants_left: z.int().nullable(),
  }),
  grants: z.array(z.object({ id: z.string(), capability: z.string(), status: z.string(), requested_at: time })),
  leases: z.array(leaseSchema),
  next: z
    .string()
    .nullable()
    .describe('There is more: `after` of `GET /v1/session` for the next page. Null on the last one.'),
});

/** Grants, and leases, in one answer. */
const pageSize = { usual: 100, most: 500 };
const limit = inDigits(z.int().min(1).max(pageSize.most).default(pageSize.usual)).describe(
  'Grants, and leases, in one page at most.',
);

export function sessionOperations(deps: SessionDeps): Operation[] {
  const settled = settledSessions(deps.store);
  return [
    operation({
      method: 'get',
      path: '/v1/session',
      summary: 'The session, its grants and leases',
      tag: 'Sessions',
      access: 'session',
      query: z.strictObject({
        limit,
        after: z
          .string()
          .transform((text, context) => {
            const cursor = readCursor(text);
            if (cursor === null) context.addIssue('must be `next` of the page before');
            return cursor ?? z.NEVER;
          })
          .optional()
          .describe('`next` of the page before.'),
      }),
      responses: {
        200: {
          description: 'As it is now; also after its end, while the token has not expired',
          schema: overviewSchema,
        },
      },
      errors: ['bad_request', 'unauthenticated', 'invalid_dpop_proof'],
      liveness: 'ended_too',
      handle: async ({ query }, session) => ({
        status: 200,
        body: await overview(deps.store, session, deps.maxGrantsPerSession, { limit: query.limit, after: query.after }),
      }),
    }),
    operation({
      method: 'post',
      path: '/v1/session/heartbeat',
      needsClock: true,
      summary: 'The agent lives; its next token',
      tag: 'Sessions',
      access: 'session',
      responses: {
        200: {
          description: 'The next token; of a suspended session too, which can do nothing with it until it is lifted',
          schema: tokenSchema.omit({ issued_token_type: true, session_id: true }).extend({ status: sessionStatus }),
        },
      },
      errors: ['unauthenticated', 'invalid_dpop_proof', 'session_ended'],
      liveness: 'ended_too',
      handle: async (_call, session) => {
        const minted = await heartbeat(deps, session);
        return {
          status: 200,
          body: {
            ...minted,
            status: session.status,
            session_expires_at: session.expiresAt.toISOString(),
            heartbeat_seconds: deps.heartbeat.seconds,
          },
        };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/session/sleep',
      needsClock: true,
      summary: 'Let the session sleep while people decide',
      tag: 'Sessions',
      access: 'session',
      body: z.strictObject({
        seconds: z.int().min(60).max(604_800).optional().describe('At most; less where the manifest says so.'),
      }),
      bodyOptional: true,
      responses: {
        200: {
          description:
            'Asleep: what it held is being revoked, and what waits for people waits as long. Asked again, it gives another handle',
          schema: z.object({
            status: z.literal('asleep'),
            until: z.string().describe('It ends then, unless it is woken.'),
            resume: z
              .string()
              .describe(
                '`resume` of `POST /oauth/token`, with an identity of the same workload. Keep it with the grant’s id.',
              ),
          }),
        },
      },
      errors: [
        'bad_request',
        'unauthenticated',
        'invalid_dpop_proof',
        'session_ended',
        'session_suspended',
        'forbidden',
        'conflict',
      ],
      liveness: 'ended_too',
      handle: async ({ body, requestId }, session) => {
        if (session.status === 'ended' || session.status === 'suspended')
          throw new WritError(session.status === 'ended' ? 'session_ended' : 'session_suspended');
        const { until, resume } = await sleepSession(deps, session, body.seconds ?? null, requestId);
        return { status: 200, body: { status: 'asleep', until: until.toISOString(), resume } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/session/end',
      summary: 'End the session; everything it held is revoked',
      tag: 'Sessions',
      access: 'session',
      query: z.strictObject({
        wait: inDigits(z.int().min(0).max(60).default(0)).describe(
          'Seconds to wait, at most, until every lease is settled.',
        ),
        limit,
      }),
      responses: {
        200: {
          description: 'Ended, and the first page. Leases say how far their revocation is',
          schema: overviewSchema,
        },
      },
      errors: ['unauthenticated', 'invalid_dpop_proof', 'rate_limited'],
      liveness: 'ended_too',
      handle: async ({ query, requestId, signal }, session) => {
        const now = deps.clock.now();
        await endSession(deps, {
          sessionId: session.id,
          reason: 'ended_by_agent',
          actor: session.agent,
          requestId,
          now,
        });
        const ended = {
          ...session,
          status: 'ended' as const,
          endReason: session.endReason ?? 'ended_by_agent',
          endedAt: session.endedAt ?? now,
        };
        if (query.wait > 0 && (await settled([session.id])).length === 0) {
          const { id } = session;
          await deps.poller.wait({ poll: settled, id, sessionId: id, seconds: query.wait, signal });
        }
        return {
          status: 200,
          body: await overview(deps.store, ended, deps.maxGrantsPerSession, { limit: query.limit }),
        };
      },
    }),
  ];
}
