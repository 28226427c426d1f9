/** An admin ends one lease: the same state, the same path as every other end. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Statement, Store } from '../store/open.ts';
import { onceAnswered, startRevoking } from './transitions.ts';

const orderStatement: Statement = {
  name: 'lease_order_revocation',
  text: `
    WITH l AS (
${startRevoking({ where: 'id = $1::text', reason: revokeReason('admin'), dueAt: onceAnswered('$2::timestamptz', '$5::int') })}
      RETURNING id, grant_id, session_id
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('lease.revoking'), actor: '$3::text', grant: 'grant_id', lease: 'id', request: '$4::text', payload: `json_build_object('reason', ${revokeReason('admin')})` }, 'l')}
    )
    SELECT id FROM l`,
};

/**
 * @returns the lease's state now: `revoking`, or whatever it had come to before
 * @throws WritError `not_found`
 */
export async function revokeByAdmin(
  deps: { store: Store; mintDeadlineSeconds: number; notify(): void },
  input: { leaseId: string; actor: string; requestId: string | null; now: Date },
): Promise<string> {
  await deps.store.run(orderStatement, [
    input.leaseId,
    input.now,
    input.actor,
    input.requestId,
    deps.mintDeadlineSeconds,
  ]);
  const lease = await deps.store.prisma.lease.findUnique({ where: { id: input.leaseId }, select: { status: true } });
  if (lease === null) throw new WritError('not_found');
  if (lease.status === 'revoking') deps.notify();
  return lease.status;
}
