/**
 * Authenticates every request to a session's operations: token and proof, then replay and liveness. The mount
 * goes through it for every operation with `access: 'session'`, so that no handler can forget a part of it.
 */
import type { Request } from 'express';
import type { WritError } from '../core/errors.ts';
import { networkOf } from '../core/network.ts';
import type { Clock } from '../core/vocabulary.ts';
import { checkDpopProof } from '../identity/dpop.ts';
import {
  authenticate,
  type Caller,
  type Credentials,
  readSession,
  type SessionFacts,
  type SessionReads,
} from '../sessions/authenticate.ts';
import { heard } from '../sessions/heartbeat.ts';
import type { SessionTokens } from '../sessions/session-token.ts';
import type { Store } from '../store/open.ts';
import { misuseReason, type Refusals } from './refusals.ts';

export interface SessionDoor {
  /** Token and proof. @throws WritError `unauthenticated`, `invalid_dpop_proof` */
  identify(req: Request): Promise<Caller>;
  /**
   * Replay and liveness, in one statement that reads what the operation wants to know, too. The call counts
   * as a heartbeat.
   * @throws WritError `unauthenticated`, `invalid_dpop_proof` (used before), `session_ended`
   */
  admit(caller: Caller, reads: SessionReads, endedToo: boolean): Promise<SessionFacts>;
  /**
   * Puts on the record that a session's token came without a proof that holds.
   * @throws WritError `rate_limited`
   */
  recordMisuse(req: Request, refusal: WritError, requestId: string): Promise<void>;
}

export interface SessionDoorDeps {
  store: Store;
  clock: Clock;
  tokens: SessionTokens;
  refusals: Refusals;
  /** Public URL of the broker: what a proof must have been made for. */
  url: string;
  heartbeat: { seconds: number; misses: number };
}

export function sessionDoor(deps: SessionDoorDeps): SessionDoor {
  const { store, clock, tokens, refusals, url } = deps;
  return {
    identify: (req) => authenticate(credentialsOf(url, req), tokens, checkDpopProof, clock),
    admit: async (caller, reads, endedToo) => {
      const session = await readSession(store, caller, clock.now(), { ...reads, allowEnded: endedToo });
      await heard(deps, session);
      return session;
    },
    recordMisuse: async (req, refusal, requestId) => {
      const sent = credentialsOf(url, req);
      const { sessionId } = await tokens.verify(sent.authorization?.split(' ')[1] ?? '');
      await refusals.record(sessionId, {
        chain: sessionId,
        type: 'session.misused',
        requestId,
        payload: { reason: misuseReason(refusal, sent), from: networkOf(req.ip) },
      });
    },
  };
}

/**
 * The public URL a proof must have been made for: RFC 9449 section 4.3 compares without query and fragment.
 */
function credentialsOf(
  publicUrl: string,
  req: { method: string; originalUrl: string; get(name: string): string | undefined },
): Credentials {
  return {
    authorization: req.get('authorization'),
    dpop: req.get('dpop'),
    method: req.method,
    url: publicUrl + req.originalUrl.split('?', 1)[0],
  };
}
