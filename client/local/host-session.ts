/**
 * What a host (the MCP guard, a coding agent's hook) does with a session: the same whether it holds the
 * session itself or reaches the process that does.
 */
import {
  type CallApproval,
  type CallableTool,
  type CallDecision,
  type CallReport,
  isAllowed,
  type Session,
  WritError,
} from '../index.ts';
import { keepRecent } from './recent.ts';
import { newReports } from './reports.ts';

export interface HostCall {
  tool: string;
  arguments: { [name: string]: unknown };
  /** The host's own id of the call. The same id and call again is the same action. */
  callId?: string;
  /** What prompted it: a reference or a digest, for the record. */
  promptedBy?: string;
  costUsd?: number;
}

export interface SessionStatus {
  sessionId: string;
  expiresAt: Date;
  /** Why it ended; null while it lives. */
  ended: string | null;
}

/** All of it throws WritError. */
export interface HostSession {
  status(): Promise<SessionStatus>;
  /** What the model may be shown. */
  tools(): Promise<CallableTool[]>;
  evaluate(call: HostCall): Promise<CallDecision>;
  /**
   * Takes the report; the next decision waits until the broker has it, and is refused as long as it does not.
   * @param call the action's id, or the call's own (`callId`) as `evaluate` was given it
   */
  finish(call: { id: string } | { callId: string }, report: CallReport): Promise<void>;
  /** A person's decision as it is now, or after so many seconds (60 at most). */
  approval(id: string, waitSeconds: number): Promise<CallApproval>;
  /** What the person said. @returns how many of the words are trusted */
  say(words: string): Promise<number>;
  /** Ends the session: everything it held is revoked. */
  end(): Promise<void>;
}

/** Calls whose id is remembered, for reports that name the host's own. */
const maxRemembered = 10_000;

/** A session of this process. */
export function hostSessionOf(session: Session): HostSession {
  let ended: string | null = null;
  void session.ended.then(({ reason }) => {
    ended = reason;
  });
  const actions = new Map<string, string>();
  const reports = newReports((id, report) => session.finish(id, report));
  const live = () => {
    if (ended !== null) throw new WritError('session_ended', `The session has ended (${ended})`);
  };
  return {
    status: async () => ({ sessionId: session.id, expiresAt: session.expiresAt, ended }),
    tools: async () => {
      live();
      return session.tools();
    },
    evaluate: async ({ tool, arguments: args, ...options }) => {
      live();
      await reports.delivered();
      const decision = await session.evaluate(tool, args, options);
      if (isAllowed(decision)) keepRecent(actions, decision.callId, decision.id, maxRemembered);
      return decision;
    },
    finish: async (call, report) => {
      const id = 'id' in call ? call.id : actions.get(call.callId);
      if (id === undefined) throw new WritError('not_found', 'No call with this id was allowed');
      reports.take(id, report);
    },
    approval: (id, waitSeconds) => session.approval(id, { waitSeconds }),
    say: async (words) => {
      live();
      return session.say(words);
    },
    end: async () => {
      await reports.ended();
      await session.end();
    },
  };
}
