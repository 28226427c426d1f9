/** What the broker decided on one tool call, and how that is said to whoever made it. */
import { type DenialReason, WritError } from './errors.ts';

/**
 * What follows from a decision. Only `allow` lets the call be made; a text that this version does not know
 * forbids it, too.
 */
export type CallEffect = 'allow' | 'deny' | 'approve' | 'suspend' | 'downgrade' | 'terminate' | (string & {});

/** A person's part in a decision: of `approve` the consent to this very call, of `suspend` the review. */
export interface CallApproval {
  id: string;
  /** `pending`, `approved`, `denied`, or another end of a grant. */
  status: string;
  /** Undecided by then = denied. */
  decideBy?: Date;
  /** Where whoever decides signs in. The link alone grants nothing. */
  url?: string;
}

export interface CallDecision {
  /** The action on record; its outcome is reported under this id. */
  id: string;
  /** The host's own id of the call: asked again with it, the same call is the same action. */
  callId: string;
  effect: CallEffect;
  reasons: readonly DenialReason[];
  approval?: CallApproval;
  /** `downgrade`: what the session may not do any more, `tool:NAME` or `capability:NAME`. */
  withheld?: readonly string[];
}

/** Whether the call may be made. */
export const isAllowed = ({ effect }: CallDecision): boolean => effect === 'allow';

/**
 * Reads the answer of `/access/v1/evaluation`.
 * @throws WritError `bad_answer` where it contradicts itself or lacks what a decision has
 */
export function readDecision(body: unknown, callId: string): CallDecision {
  const { decision, context } = (body ?? {}) as { decision?: unknown; context?: { [name: string]: unknown } };
  const { id, effect, reasons, approval, withheld } = context ?? {};
  if (typeof decision !== 'boolean' || typeof id !== 'string')
    throw new WritError('bad_answer', 'The broker gave no decision');
  const named = typeof effect === 'string' ? effect : decision ? 'allow' : 'deny';
  if (decision !== (named === 'allow'))
    throw new WritError('bad_answer', `The broker decided ${decision} with the effect ${named}`);
  return {
    id,
    callId,
    effect: named,
    reasons: Array.isArray(reasons) ? (reasons as DenialReason[]) : [],
    ...(typeof approval === 'object' && approval !== null ? { approval: readApproval(approval) } : {}),
    ...(Array.isArray(withheld) ? { withheld: withheld.filter((one) => typeof one === 'string') } : {}),
  };
}

/**
 * Reads an approval as it stands in a decision, or the grant that it is.
 * @throws WritError `bad_answer`
 */
export function readApproval(wire: unknown): CallApproval {
  const {
    id,
    status,
    decide_by: decideBy,
    approval_url,
    url = approval_url,
  } = (wire ?? {}) as { [name: string]: unknown };
  if (typeof id !== 'string' || typeof status !== 'string')
    throw new WritError('bad_answer', 'The broker gave no approval to wait for');
  return {
    id,
    status,
    ...(typeof decideBy === 'string' ? { decideBy: new Date(decideBy) } : {}),
    ...(typeof url === 'string' ? { url } : {}),
  };
}

const consequence: { [effect: string]: string } = {
  approve: 'A person must agree to this very call first',
  suspend: 'The session is suspended, and its credentials are revoked, until a person has reviewed it',
  downgrade: 'The session goes on with less',
  terminate: 'The session has ended, and its credentials are revoked',
};

/** The decision in words for a model or a person: what was denied, why, what would pass, and what follows. */
export function explain(tool: string, decision: CallDecision): string {
  const { effect, reasons, approval, withheld = [] } = decision;
  // Several rules may give the same advice.
  const why = [...new Set(reasons.map((reason) => reason.advice ?? reason.code))].join(' ');
  const parts = [
    `The call of ${tool} was ${effect === 'approve' ? 'not made' : 'denied'}${why === '' ? '' : `: ${why}`}`,
  ];
  const follows = consequence[effect];
  if (follows !== undefined) parts.push(follows + (withheld.length > 0 ? `, without ${withheld.join(', ')}` : ''));
  if (approval?.url !== undefined) parts.push(`Who decides does it at ${approval.url}`);
  return parts.map((part) => (/[.!?]$/.test(part) ? part : `${part}.`)).join(' ');
}
