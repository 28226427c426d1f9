/** Whether a session token is alive, for whoever holds it or asks about it (RFC 7009, RFC 7662). */
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import { readSession, type SessionFacts } from '../sessions/authenticate.ts';
import type { SessionClaims, SessionTokens } from '../sessions/session-token.ts';
import type { Store } from '../store/open.ts';

export interface LiveTokenDeps {
  store: Store;
  clock: Clock;
  tokens: SessionTokens;
}

/** Why a token that holds is not active. */
const idle: ReadonlySet<string> = new Set([
  'session_ended',
  'session_suspended',
  'session_asleep',
  'locked',
  'unauthenticated',
]);

/**
 * Null when it is no current token of ours, its session may do nothing, or its key was withdrawn. A failed
 * lookup throws instead: it must not be reported as inactive.
 */
export async function liveToken(
  { store, clock, tokens }: LiveTokenDeps,
  presented: string,
): Promise<{ claims: SessionClaims; session: SessionFacts } | null> {
  try {
    const claims = await tokens.verify(presented);
    return { claims, session: await readSession(store, { ...claims, replay: null }, clock.now()) };
  } catch (error) {
    if (error instanceof WritError && idle.has(error.code)) return null;
    throw error;
  }
}
