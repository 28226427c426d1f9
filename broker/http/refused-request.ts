/**
 * Notes refused requests that leave no row of their own. Somebody without any authority can cause them, so
 * they are counted by network, or by session where the caller has one (see refusals.ts), and carry nothing
 * that the caller wrote: the route is ours, not the address that was sent.
 */
import { type ErrorCode, errorTable, WritError } from '../core/errors.ts';
import { networkOf } from '../core/network.ts';
import type { Refusals } from './refusals.ts';

/**
 * Refusals that tell of nothing: of a limit, of an agent that is early or asks twice, or of a session that is
 * over or locked, which its own end tells.
 */
const quiet: ReadonlySet<ErrorCode> = new Set([
  'rate_limited',
  'session_ended',
  'session_suspended',
  'session_asleep',
  'locked',
  'not_approved',
  'already_redeemed',
  'conflict',
  'precondition_failed',
  'precondition_required',
]);

export interface RefusedRequest {
  method: string;
  /** A route of ours. */
  route: string;
  address: string | undefined;
  requestId: string;
  /** Whose valid session token came with it; null = nobody's. */
  caller: { sessionId: string; agent: string } | null;
}

/** Never throws. */
export async function noteRefusedRequest(
  refusals: Pick<Refusals, 'note'>,
  request: RefusedRequest,
  refusal: unknown,
): Promise<void> {
  if (!(refusal instanceof WritError) || refusal.recorded || quiet.has(refusal.code)) return;
  if (errorTable[refusal.code].status >= 500) return;
  const { caller, route, requestId } = request;
  const from = networkOf(request.address);
  await refusals.note(caller?.sessionId ?? from, {
    chain: caller?.sessionId ?? 'system',
    type: 'request.refused',
    ...(caller === null ? {} : { actor: caller.agent }),
    requestId,
    payload: { code: refusal.code, method: methodOf(request.method), route, from },
  });
}

const methods = ['GET', 'POST', 'PUT', 'DELETE'] as const;
const methodOf = (sent: string) => methods.find((method) => method === sent) ?? 'OTHER';
