/** `/v1/admin`: sessions, leases, keys, the record. Manifests are in `manifests.ts`. */

import { z } from 'zod';
import { recordedArguments } from '../actions/recorded-arguments.ts';
import { eventTypes } from '../audit/events.ts';
import { timeline } from '../audit/timeline.ts';
import { verifyAudit } from '../audit/verify.ts';
import { WritError } from '../core/errors.ts';
import { codesOf, storedRevokeReasons } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { Seal } from '../keys/seal.ts';
import { listLeases } from '../leases/list-leases.ts';
import { revokeByAdmin } from '../leases/order-revocation.ts';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import { type Operation, operation } from './operation.ts';
import { idOf, line, next, page } from './text.ts';

export interface AdminDeps extends EndSessionDeps {
  clock: Clock;
  ring: KeyRing;
  seal: Seal;
  keyLeadSeconds: number;
}

const why = z.strictObject({
  reason: line(500).optional().describe('Why; on record, and shown to whoever may see the session.'),
});

export function adminOperations(deps: AdminDeps): Operation[] {
  const { store } = deps;
  return [
    operation({
      method: 'post',
      path: '/v1/admin/sessions/:id/end',
      summary: 'End a session and revoke all it holds',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('ses') }),
      body: why,
      bodyOptional: true,
      responses: {
        200: {
          description: 'Ended; `leases` are on their way to revocation',
          schema: z.object({ ended: z.boolean(), leases: z.array(z.string()) }),
        },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { id }, body, requestId }, admin) => {
        if ((await store.prisma.session.findUnique({ where: { id }, select: { id: true } })) === null)
          throw new WritError('not_found');
        const now = deps.clock.now();
        return {
          status: 200,
          body: await endSession(deps, {
            sessionId: id,
            reason: 'ended_by_admin',
            actor: admin,
            because: body.reason,
            requestId,
            now,
          }),
        };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/sessions/:id/events',
      summary: 'The record of a session',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('ses') }),
      query: page,
      responses: {
        200: {
          description: 'Events in order',
          schema: z.object({
            events: z.array(z.looseObject({ seq: z.int(), at: z.string(), type: z.enum(eventTypes) })),
          }),
        },
      },
      errors: ['unauthenticated', 'forbidden'],
      handle: async ({ params: { id }, query }) => ({
        status: 200,
        body: { events: await timeline(store, id, query.after, query.limit) },
      }),
    }),
    operation({
      method: 'get',
      path: '/v1/admin/actions/:id/arguments',
      summary:
        'The arguments of a tool call, where its manifest has them recorded in full; who reads them is on record',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('act') }),
      responses: { 200: { description: 'The arguments', schema: z.object({ arguments: z.looseObject({}) }) } },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { id }, requestId }, admin) => ({
        status: 200,
        body: { arguments: await recordedArguments(deps, id, { name: admin, requestId }) },
      }),
    }),
    operation({
      method: 'get',
      path: '/v1/admin/leases',
      summary: 'Leases by state',
      tag: 'Admin',
      access: 'admin',
      query: z.strictObject({
        status: z.enum(['issuing', 'active', 'revoking', 'revoked', 'expired', 'failed']).default('revoking'),
        after: idOf('lse').optional().describe('`next` of the page before.'),
        limit: page.shape.limit,
      }),
      responses: {
        200: {
          description: 'Oldest first',
          schema: z.object({
            leases: z.array(
              z.looseObject({ id: z.string(), revoke_reason: z.enum(codesOf(storedRevokeReasons)).nullable() }),
            ),
            next,
          }),
        },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden'],
      handle: async ({ query: { status, after, limit } }) => {
        const rows = await listLeases(store, status, after ?? '', limit + 1);
        const leases = rows.slice(0, limit);
        return { status: 200, body: { leases, next: rows.length > limit ? leases.at(-1)!.id : null } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/leases/:id/revoke',
      summary: 'Revoke one lease',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('lse') }),
      body: why,
      bodyOptional: true,
      responses: { 202: { description: 'On its way', schema: z.object({ id: z.string(), status: z.string() }) } },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { id }, body, requestId }, admin) => {
        const order = { leaseId: id, actor: admin, because: body.reason, requestId, now: deps.clock.now() };
        const status = await revokeByAdmin(deps, order);
        return { status: 202, body: { id, status } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/keys/rotate',
      summary: 'Bring in a new signing key',
      tag: 'Admin',
      access: 'admin',
      responses: {
        200: { description: 'Published now; signs after the lead time', schema: z.object({ kid: z.string() }) },
      },
      errors: ['unauthenticated', 'forbidden'],
      handle: async (_call, admin) => ({
        status: 200,
        body: { kid: await deps.ring.rotate(deps.keyLeadSeconds, admin) },
      }),
    }),
    operation({
      method: 'post',
      path: '/v1/admin/keys/:kid/withdraw',
      summary: 'Withdraw a signing key at once',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ kid: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/) }),
      responses: {
        200: {
          description: 'Out of the JWKS; whatever it signed is refused. `signs` is the key that signs now',
          schema: z.object({ kid: z.string(), signs: z.string() }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { kid }, requestId }, admin) => {
        const signs = await deps.ring.withdraw(kid, admin, requestId);
        if (signs === null) throw new WritError('not_found');
        return { status: 200, body: { kid, signs } };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/audit/verify',
      summary: 'Recompute every chain of the record',
      tag: 'Admin',
      access: 'admin',
      responses: {
        200: {
          description: '`broken` names the first row that does not hold',
          schema: z.object({
            chains: z.int(),
            rows: z.int(),
            broken: z.looseObject({ chain: z.string(), seq: z.int(), what: z.string() }).nullable(),
          }),
        },
      },
      errors: ['unauthenticated', 'forbidden'],
      handle: async () => ({ status: 200, body: await verifyAudit(store) }),
    }),
  ];
}
