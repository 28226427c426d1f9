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
  readSession,
  type SessionFacts,
  type SessionReads,
} from '../sessions/authenticate.ts';
import type { SessionTokens } from '../sessions/session-token.ts';
import type { Store } from '../store/open.ts';
import { credentialsOf } from './oauth.ts';
import { misuseReason, type Refusals } from './refusals.ts';

export interface SessionDoor {
  /** Token and proof. @throws WritError `unauthenticated`, `invalid_dpop_proof` */
  identify(req: Request): Promise<Caller>;
  /**
   * Replay and liveness, in one statement that reads what the operation wants to know, too.
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
}

export function sessionDoor({ store, clock, tokens, refusals, url }: SessionDoorDeps): SessionDoor {
  return {
    identify: (req) => authenticate(credentialsOf(url, req), tokens, checkDpopProof, clock),
    admit: (caller, reads, endedToo) => readSession(store, caller, clock.now(), { ...reads, allowEnded: endedToo }),
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
