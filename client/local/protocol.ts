/**
 * What is said through the socket: one JSON object a line. A request is `{id, method, params}`; its answer
 * `{id, result}` or `{id, error: {code, message}}`. Answers come in any order. Described in README.md.
 */
import type { CallApproval, CallDecision } from '../decision.ts';

/** Bytes of one line, both ways. A broker takes calls and reports of 64 kB. */
export const maxLineBytes = 1024 * 1024;
/** Requests of one connection under way at once; one more is answered with `busy`. */
export const maxInFlight = 64;
/** Seconds that one request may wait for a person; more is waited by asking again. */
export const maxWaitSeconds = 60;

export const methods = ['status', 'tools', 'evaluate', 'finish', 'approval', 'say', 'end'] as const;
export type Method = (typeof methods)[number];

export interface LocalRequest {
  id: number | string;
  method: Method;
  params: { [name: string]: unknown };
}

export interface LocalAnswer {
  id: number | string | null;
  result?: unknown;
  error?: { code: string; message: string };
}

/** A decision in the broker's words; `readDecision` reads it. */
export const decisionWire = ({ id, callId, effect, reasons, approval, withheld }: CallDecision) => ({
  decision: effect === 'allow',
  context: {
    id,
    call_id: callId,
    effect,
    reasons,
    ...(approval === undefined ? {} : { approval: approvalWire(approval) }),
    ...(withheld === undefined ? {} : { withheld }),
  },
});

/** An approval in the broker's words; `readApproval` reads it. */
export const approvalWire = ({ id, status, decideBy, url }: CallApproval) => ({
  id,
  status,
  ...(decideBy === undefined ? {} : { decide_by: decideBy.toISOString() }),
  ...(url === undefined ? {} : { approval_url: url }),
});
