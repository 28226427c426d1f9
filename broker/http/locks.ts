/** `/v1/locks`: kill switches. One admin sets one; another lifts it. */
import { z } from 'zod';
import { lockLevels } from '../core/vocabulary.ts';
import { liftLock } from '../locks/lift-lock.ts';
import { readLock, readLocks } from '../locks/read-locks.ts';
import { type LockDeps, setLock } from '../locks/set-lock.ts';
import { type Operation, operation } from './operation.ts';
import { idOf, inDigits, line } from './text.ts';

const count = z.int().min(0);
const lockSchema = z.object({
  id: z.string(),
  level: z.enum(lockLevels),
  subject: z.string().describe('What is locked at that level; empty for everything.'),
  reason: z.string(),
  set_by: z.string(),
  set_at: z.string(),
  stands: z.boolean().describe('Whether it stops anything.'),
  proven: z
    .boolean()
    .describe(
      'False: its row, or that of its lift, was not written by this broker. It stands all the same; before it can be lifted, a signed-in admin sets it anew.',
    ),
  lifted_by: z.string().nullable(),
  lifted_at: z.string().nullable(),
  lift_reason: z.string().nullable(),
  sessions: z.object({
    ended: count,
    ending: count.describe('Still to be ended; they can do nothing any more.'),
  }),
  leases: z
    .object({
      waiting: count.describe('Their revocation has not begun.'),
      revoking: count,
      not_provable_yet: count.describe(
        'The provider took the order and its lag has not passed, or it has no order to take and the natural end has not come.',
      ),
      revoked: count.describe('Proven.'),
      expired: count,
      failed: count.describe('Nothing was minted.'),
    })
    .describe('Credentials that lived when it was set, by where they are now.'),
  done: z.boolean().describe('Nothing lives under it any more.'),
});

export function lockOperations(deps: LockDeps): Operation[] {
  return [
    operation({
      method: 'post',
      path: '/v1/locks',
      summary: 'Lock an agent, an owner, a capability, a provider, or everything',
      tag: 'Admin',
      access: 'admin',
      body: z.strictObject({
        level: z.enum(lockLevels),
        subject: line(400)
          .default('')
          .describe(
            'The agent’s name; the owner as the manifest writes it; the capability, of one agent as `AGENT/NAME`; the provider. Left out for everything.',
          ),
        reason: line(500).describe('Why; on record, and shown to admins only.'),
      }),
      responses: {
        200: {
          description:
            'It stands in every process, and what lives under it has been told to end. `sessions` and `leases` say how far that has come; read it again for more',
          schema: lockSchema,
        },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'unavailable'],
      handle: async ({ body: { level, subject, reason }, requestId }, _name, admin) => {
        const id = await setLock(deps, { level, subject }, { reason, admin, requestId });
        return { status: 200, body: await readLock(deps.store, id) };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/locks',
      summary: 'The latest locks, and how far each has come',
      tag: 'Admin',
      access: 'admin',
      query: z.strictObject({ limit: inDigits(z.int().min(1).max(100).default(20)) }),
      responses: {
        200: {
          description: 'Every one that stands, and the latest of the others; youngest first',
          schema: z.object({ locks: z.array(lockSchema) }),
        },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden'],
      handle: async ({ query: { limit } }) => ({ status: 200, body: { locks: await readLocks(deps.store, limit) } }),
    }),
    operation({
      method: 'get',
      path: '/v1/locks/:id',
      summary: 'A lock, and how far it has come',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('lck') }),
      responses: { 200: { description: 'The lock', schema: lockSchema } },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { id } }) => ({ status: 200, body: await readLock(deps.store, id) }),
    }),
    operation({
      method: 'post',
      path: '/v1/locks/:id/lift',
      summary: 'Lift a lock, as another admin than the one who set it',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('lck') }),
      body: z.strictObject({ reason: line(500).describe('Why; on record.') }),
      responses: { 200: { description: 'It stops nothing any more. What it ended stays ended', schema: lockSchema } },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found', 'conflict'],
      handle: async ({ params: { id }, body: { reason }, requestId }, _name, admin) => {
        await liftLock(deps, { id, reason, admin, requestId });
        return { status: 200, body: await readLock(deps.store, id) };
      },
    }),
  ];
}
