/** A capability for as long as the session lives: a fresh grant whenever the last one is about to expire. */
import { type Clock, systemClock } from './clock.ts';
import type { CredentialOf, CredentialType } from './credentials.ts';
import { WritError } from './errors.ts';
import type { Grant, GrantOptions, GrantParams } from './grant.ts';
import type { Session } from './session.ts';

export interface RenewingOptions<T extends CredentialType> extends Omit<GrantOptions<T>, 'idempotencyKey' | 'signal'> {
  /**
   * A grant with less than this left is replaced. Default 60, and never more than a quarter of its lifetime.
   */
  marginSeconds?: number;
  clock?: Clock;
}

/**
 * A function that returns a grant with life left in it. Callers at the same time share one request. Each
 * renewal is a grant of its own: decided anew, counted, on record. After the session's end it throws
 * `session_ended`.
 *
 * @example
 * const files = renewing(session, 'read-customer-files', {}, { type: 'aws' });
 * (await files()).credential.accessKeyId;
 */
export function renewing<T extends CredentialType>(
  session: Pick<Session, 'grant' | 'signal'>,
  capability: string,
  params: GrantParams = {},
  { marginSeconds = 60, clock = systemClock, ...options }: RenewingOptions<T> = {},
): (again?: { forceRefresh?: boolean }) => Promise<Grant<CredentialOf<T>>> {
  let held: Grant<CredentialOf<T>> | null = null;
  let asking: Promise<Grant<CredentialOf<T>>> | null = null;

  const fresh = (grant: Grant<CredentialOf<T>>) =>
    grant.expiresAt.getTime() - clock.now().getTime() > Math.min(marginSeconds, grant.ttlSeconds / 4) * 1000;
  const ask = async () => {
    try {
      held = await session.grant<T>(capability, params, options as GrantOptions<T>);
      return held;
    } finally {
      asking = null;
    }
  };

  return async ({ forceRefresh = false } = {}) => {
    if (session.signal.aborted) {
      held = null;
      throw new WritError('session_ended', 'The session has ended, and with it what it was granted');
    }
    if (held !== null && !forceRefresh && fresh(held)) return held;
    asking ??= ask();
    return asking;
  };
}
