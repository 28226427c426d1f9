/** `/v1/pre-approvals`: given by admins who are approvers too, withdrawn by any admin. */
import { z } from 'zod';
import { BoundsSchema } from '../../approvals/bounds.ts';
import { givePreApproval, mostUses, type PreApprovalDeps } from '../../approvals/give-pre-approval.ts';
import { type PreApprovalView, readPreApproval, readPreApprovals } from '../../approvals/read-pre-approvals.ts';
import { withdrawPreApproval } from '../../approvals/withdraw-pre-approval.ts';
import { WritError } from '../core/errors.ts';
import { codesOf, preApprovalEnds } from '../core/reasons.ts';
import { type Operation, operation } from './operation.ts';
import { idOf, inDigits, line } from './text.ts';

const preApprovalSchema = z.object({
  id: z.string(),
  agent: z.string(),
  task_type: z.string(),
  capability: z.string(),
  bounds: BoundsSchema.describe('What each parameter may be. One that is not named must not be there.'),
  max_uses: z.int(),
  max_ttl_seconds: z.int(),
  until: z.string(),
  from_grant: z.string().describe('The request that the next ones are like.'),
  reason: z.string(),
  given_by: z.string(),
  given_at: z.string(),
  state: z
    .enum(['stands', 'used_up', 'expired', 'not_proven', ...codesOf(preApprovalEnds)])
    .describe('Whether it approves anything; `not_proven`: its row was not written by this broker, so it does not.'),
  used: z.int(),
  uses: z
    .array(z.object({ number: z.int(), grant_id: z.string(), session_id: z.string(), at: z.string() }))
    .describe('The latest hundred, newest first.'),
});

export function preApprovalOperations(deps: PreApprovalDeps): Operation[] {
  const params = z.object({ id: idOf('pap') });
  const read = async (id: string) => viewOf(await readPreApproval(deps.store, id, deps.clock.now()));
  return [
    operation({
      method: 'post',
      path: '/v1/pre-approvals',
      needsClock: true,
      summary: 'Approve ahead of time the next requests like one that people approved',
      tag: 'Admin',
      access: 'admin',
      body: z.strictObject({
        grant_id: idOf('gnt').describe('A request that people approved, and that the caller could approve.'),
        bounds: BoundsSchema.describe('What each parameter may be. One that is not named must not be there.'),
        max_uses: z.int().min(1).max(mostUses),
        max_ttl_seconds: z.int().min(1).max(604_800).describe('A longer lifetime is shortened to it.'),
        until: z.iso.datetime().describe('At most `WRIT_PRE_APPROVAL_SECONDS` ahead.'),
        reason: line(400).describe('Why; on record, and in the reason of each approval.'),
      }),
      responses: { 201: { description: 'It stands', schema: preApprovalSchema } },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found', 'conflict'],
      handle: async ({ body, requestId }, _name, { identity }) => {
        // The bootstrap token says nothing of who holds it.
        if (identity === null) throw new WritError('forbidden', { detail: 'Only a signed-in person approves.' });
        const id = await givePreApproval(deps, {
          grantId: body.grant_id,
          giver: identity,
          bounds: body.bounds,
          maxUses: body.max_uses,
          maxTtlSeconds: body.max_ttl_seconds,
          until: new Date(body.until),
          reason: body.reason,
          requestId,
        });
        return { status: 201, body: await read(id), headers: { Location: `/v1/pre-approvals/${id}` } };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/pre-approvals',
      summary: 'What was approved ahead of time',
      tag: 'Admin',
      access: 'admin',
      query: z.strictObject({ limit: inDigits(z.int().min(1).max(100).default(20)) }),
      responses: {
        200: {
          description: 'Those that nothing ended first; youngest first',
          schema: z.object({ pre_approvals: z.array(preApprovalSchema) }),
        },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden'],
      handle: async ({ query }) => ({
        status: 200,
        body: {
          pre_approvals: (await readPreApprovals(deps.store, null, deps.clock.now(), query.limit)).map(viewOf),
        },
      }),
    }),
    operation({
      method: 'get',
      path: '/v1/pre-approvals/:id',
      summary: 'A pre-approval and its uses',
      tag: 'Admin',
      access: 'admin',
      params,
      responses: { 200: { description: 'The pre-approval', schema: preApprovalSchema } },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { id } }) => ({ status: 200, body: await read(id) }),
    }),
    operation({
      method: 'post',
      path: '/v1/pre-approvals/:id/withdraw',
      summary: 'Withdraw a pre-approval',
      tag: 'Admin',
      access: 'admin',
      params,
      responses: {
        200: {
          description: 'It approves nothing more, and what it approved and nobody has collected is denied',
          schema: preApprovalSchema,
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found', 'conflict'],
      handle: async ({ params: { id }, requestId }, _name, by) => {
        await withdrawPreApproval(deps, { id, by, isAdmin: true, requestId });
        return { status: 200, body: await read(id) };
      },
    }),
  ];
}

const viewOf = ({ giver: _giver, ended_at: _ended, until, given_at, ...view }: PreApprovalView) => ({
  ...view,
  until: until.toISOString(),
  given_at: given_at.toISOString(),
});
