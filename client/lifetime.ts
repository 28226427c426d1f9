/** Tracks whether a session is live, as far as this process knows. Ended is final. */
import { WritError } from './errors.ts';

/** The broker's end reasons, or what this process saw. */
export type EndReason =
  | 'ended_by_agent'
  | 'token_revoked'
  | 'heartbeat_missed'
  | 'envelope_spent'
  | 'parent_ended'
  | 'ended_by_admin'
  | 'ended_by_rule'
  /** It sleeps, and goes on elsewhere. */
  | 'asleep'
  | 'slept_too_long'
  | 'locked'
  | 'unknown'
  | (string & {});

export interface SessionEnd {
  reason: EndReason;
}

export interface Lifetime {
  /** Resolves at the session's end, whoever ended it. Never rejects. */
  ended: Promise<SessionEnd>;
  /** Aborted at the same moment, with a WritError `session_ended`; hand it to whatever must stop then. */
  signal: AbortSignal;
  /** The first reason stays. */
  end(reason: EndReason): void;
}

export function newLifetime(): Lifetime {
  const controller = new AbortController();
  let settle: (end: SessionEnd) => void = () => {};
  const ended = new Promise<SessionEnd>((resolve) => {
    settle = resolve;
  });
  return {
    ended,
    signal: controller.signal,
    end: (reason) => {
      if (controller.signal.aborted) return;
      settle({ reason });
      controller.abort(new WritError('session_ended', `The session has ended (${reason})`));
    },
  };
}
