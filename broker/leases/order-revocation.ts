/** Orders the revocation of one lease: the same state, the same path as every other end. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { revokeReason } from '../core/reasons.ts';
import type { LeaseStatus } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { onceAnswered, startRevoking } from './transitions.ts';

export interface OrderDeps {
  store: Store;
  /** How long after its intent a mint may still answer. */
  mintDeadlineSeconds: number;
  /** Notifies whoever revokes. */
  notify(): void;
}

interface RevocationOrder {
  leaseId: string;
  actor: string;
  /** An admin's own words. */
  because?: string | undefined;
  requestId: string | null;
  now: Date;
}

/** @param reason SQL of the revoke reason: `revokeReason('…')` */
const orderStatement = (name: string, reason: string, from?: readonly LeaseStatus[]): Statement => ({
  name,
  text: `
    WITH l AS (
${startRevoking({ where: 'id = $1::text', reason, dueAt: onceAnswered('$2::timestamptz', '$5::int'), ...(from === undefined ? {} : { from }) })}
      RETURNING id, grant_id, session_id
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('lease.revoking'), actor: '$3::text', grant: 'grant_id', lease: 'id', request: '$4::text', payload: `json_strip_nulls(json_build_object('reason', ${reason}, 'because', $6::text))` }, 'l')}
    )
    SELECT id FROM l`,
});
const byAdmin = orderStatement('lease_order_revocation', revokeReason('admin'));
// While it is `issuing`, nobody knows of an answer: that ends with its own deadline, and its grant with it.
const undelivered = orderStatement('lease_undelivered', revokeReason('not_delivered'), ['active']);

/**
 * An admin ends it.
 * @returns the lease's state now: `revoking`, or whatever it had come to before
 * @throws WritError `not_found`
 */
export async function revokeByAdmin(deps: OrderDeps, order: RevocationOrder): Promise<string> {
  await run(deps, byAdmin, order);
  const where = { id: order.leaseId };
  const lease = await deps.store.prisma.lease.findUnique({ where, select: { status: true } });
  if (lease === null) throw new WritError('not_found');
  if (lease.status === 'revoking') deps.notify();
  return lease.status;
}

/** Ends a credential that was minted and that nobody has. */
export async function revokeUndelivered(deps: OrderDeps, order: Omit<RevocationOrder, 'actor'>): Promise<void> {
  await run(deps, undelivered, { ...order, actor: 'system' });
  deps.notify();
}

const run = (deps: OrderDeps, statement: Statement, { leaseId, now, actor, requestId, because }: RevocationOrder) =>
  deps.store.run(statement, [leaseId, now, actor, requestId, deps.mintDeadlineSeconds, because ?? null]);
