/** What whoever answers for an agent may stop, signed in as themselves. An admin may do the same here. */
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import { revokeByAdmin } from '../leases/order-revocation.ts';
import { type LockDeps, setLock } from '../locks/set-lock.ts';
import { type Identity, personRef } from '../people/identity.ts';
import { endSession } from '../sessions/end-session.ts';
import { type Operation, operation } from './operation.ts';
import { idOf, line } from './text.ts';

export type OwnerDeps = LockDeps &
  Parameters<typeof revokeByAdmin>[0] & {
    /** Admins, and the owner by the manifest in force. */
    mayStop: (person: Identity, agent: string) => Promise<boolean>;
  };

const why = z.strictObject({ reason: line(500).describe('Why; on record.') });

export function ownerOperations(deps: OwnerDeps): Operation[] {
  /** @throws WritError `not_found`: what is somebody else’s looks as if it were not there */
  const mustBeTheirs = async (person: Identity, agent: string | undefined): Promise<string> => {
    if (agent === undefined || !(await deps.mayStop(person, agent))) throw new WritError('not_found');
    return agent;
  };
  const errors = ['bad_request', 'unauthenticated', 'forbidden', 'not_found'] as const;
  return [
    operation({
      method: 'post',
      path: '/v1/sessions/:id/end',
      summary: 'End a session of an agent that one answers for',
      tag: 'Sessions',
      access: 'person',
      params: z.object({ id: idOf('ses') }),
      body: why,
      responses: {
        200: {
          description: 'Ended; `leases` are on their way to revocation',
          schema: z.object({ ended: z.boolean(), leases: z.array(z.string()) }),
        },
      },
      errors: [...errors],
      handle: async ({ params: { id }, body: { reason }, requestId }, { identity }) => {
        const session = await deps.store.prisma.session.findUnique({ where: { id }, select: { agent: true } });
        await mustBeTheirs(identity, session?.agent);
        return {
          status: 200,
          body: await endSession(deps, {
            sessionId: id,
            reason: 'ended_by_admin',
            actor: personRef(identity),
            because: reason,
            requestId,
            now: deps.clock.now(),
          }),
        };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/leases/:id/revoke',
      summary: 'Revoke one lease of an agent that one answers for',
      tag: 'Sessions',
      access: 'person',
      params: z.object({ id: idOf('lse') }),
      body: why,
      responses: { 202: { description: 'On its way', schema: z.object({ id: z.string(), status: z.string() }) } },
      errors: [...errors],
      handle: async ({ params: { id }, body: { reason }, requestId }, { identity }) => {
        const lease = await deps.store.prisma.lease.findUnique({ where: { id }, select: { agent: true } });
        await mustBeTheirs(identity, lease?.agent);
        const order = { leaseId: id, actor: personRef(identity), because: reason, requestId, now: deps.clock.now() };
        return { status: 202, body: { id, status: await revokeByAdmin(deps, order) } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/agents/:agent/lock',
      summary: 'Stop an agent that one answers for: its sessions end, and it opens no more',
      tag: 'Sessions',
      access: 'person',
      params: z.object({ agent: z.string().max(63) }),
      body: why,
      responses: {
        200: { description: 'It stands; admins lift it', schema: z.object({ id: z.string() }) },
      },
      errors: [...errors, 'unavailable'],
      handle: async ({ params, body: { reason }, requestId }, { identity }) => {
        const agent = await mustBeTheirs(identity, params.agent);
        const admin = { name: personRef(identity), identity };
        return {
          status: 200,
          body: { id: await setLock(deps, { level: 'agent', subject: agent }, { reason, admin, requestId }) },
        };
      },
    }),
  ];
}
