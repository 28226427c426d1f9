/** Audit events in plain words. Pure; an event type without words of its own is shown by its name, never left out. */
import type { JsonObject } from '../core/vocabulary.ts';
import { duration } from './text.ts';

/** An audit event as the timeline reads it. */
export interface TimelineEvent {
  seq: number;
  at: Date;
  type: string;
  actor: string;
  grant_id: string | null;
  lease_id: string | null;
  payload: JsonObject;
}

export interface EventWords {
  /** good: granted or safely ended; bad: refused or failed; wait: somebody must act; plain: the rest. */
  tone: 'good' | 'bad' | 'wait' | 'plain';
  /** One sentence. Parts taken from the event are foreign text: show it as such. */
  text: string;
}

const endReasons: Record<string, string> = {
  ended_by_agent: 'the agent said it was done',
  token_revoked: 'its token was revoked',
  heartbeat_missed: 'its heartbeat was missed',
  envelope_spent: 'its time was over',
  parent_ended: 'its parent session ended',
  ended_by_admin: 'an admin ended it',
};

const reasonWords: Record<string, string> = {
  timeout: 'nobody decided in time',
  not_redeemed: 'the agent did not collect it in time',
  session_ended: 'the session ended',
  denied_by_approver: 'an approver said no',
  party: 'nobody decides on their own request',
  not_an_approver: 'not one of the approvers',
};

/**
 * @param nameOf what the grant or lease is called: its capability
 */
export function describeEvent(event: TimelineEvent, nameOf: (event: TimelineEvent) => string): EventWords {
  const { payload, actor } = event;
  const what = nameOf(event);
  const why = reasonOf(payload);
  const because = why === null ? '' : `: ${why}`;
  switch (event.type) {
    case 'session.opened': {
      const forWhom = text(payload.on_behalf_of);
      return {
        tone: 'plain',
        text: `${actor} opened the session${forWhom === null ? '' : ` on behalf of ${forWhom}`}.`,
      };
    }
    case 'session.ended':
      return { tone: 'plain', text: `The session ended${endReason(payload)}.` };
    case 'grant.requested':
      return { tone: 'plain', text: `${actor} asked for ${what}.` };
    case 'grant.pending':
      return { tone: 'wait', text: `${actor} asked for ${what}; a person must decide.` };
    case 'grant.approved':
      return { tone: 'good', text: `${actor} approved ${what}${lifetime(payload)}.` };
    case 'grant.denied':
      return actor.startsWith('user:')
        ? {
            tone: 'bad',
            text: `${actor} denied ${what}${text(payload.reason) === null ? '' : `: “${text(payload.reason)}”`}.`,
          }
        : { tone: 'bad', text: `${what} was denied${because}.` };
    case 'grant.allowed':
      return { tone: 'good', text: `Policy allowed ${what}${lifetime(payload)}.` };
    case 'grant.issuing':
    case 'grant.redeemed':
      return { tone: 'plain', text: `The agent collects ${what}.` };
    case 'grant.issued':
      return { tone: 'good', text: `${what} was granted${lifetime(payload)}.` };
    case 'grant.failed':
      return { tone: 'bad', text: `${what} could not be granted${because}.` };
    case 'grant.ended':
      return { tone: 'plain', text: `${what} ended${because}.` };
    case 'review.refused':
      return { tone: 'bad', text: `${actor} tried to decide on ${what} and was refused${because}.` };
    case 'lease.issuing':
      return { tone: 'plain', text: `A credential for ${what} is about to be made.` };
    case 'lease.issued':
    case 'lease.active':
      return { tone: 'good', text: `A credential for ${what} was issued${lifetime(payload)}.` };
    case 'lease.withheld':
      return { tone: 'bad', text: `A credential for ${what} was made too late and was not delivered${because}.` };
    case 'lease.failed':
      return { tone: 'bad', text: `No credential for ${what}: the provider did not mint it.` };
    case 'lease.revoking':
      return { tone: 'plain', text: `The credential for ${what} is being revoked${because}.` };
    case 'lease.settling':
      return {
        tone: 'wait',
        text: `The credential for ${what} is denied at the provider; the denial takes a moment to reach everywhere.`,
      };
    case 'lease.revoke_failed':
      return { tone: 'bad', text: `Revoking the credential for ${what} failed; it is being tried again.` };
    case 'lease.revoked':
      return { tone: 'good', text: `The credential for ${what} is dead, on the provider’s word.` };
    case 'lease.expired':
      return { tone: 'good', text: `The credential for ${what} has expired at the provider.` };
    default:
      return { tone: 'plain', text: `${event.type.replaceAll(/[._]/g, ' ')}${because}` };
  }
}

function endReason(payload: JsonObject): string {
  const code = text(payload.reason);
  return code === null ? '' : `: ${endReasons[code] ?? code}`;
}

function reasonOf(payload: JsonObject): string | null {
  const [first] = Array.isArray(payload.reasons) ? payload.reasons : [];
  const listed = typeof first === 'object' && first !== null && !Array.isArray(first) ? text(first.code) : null;
  const code = text(payload.refused_because) ?? text(payload.reason) ?? listed;
  return code === null ? null : (reasonWords[code] ?? code.replaceAll('_', ' '));
}

function lifetime(payload: JsonObject): string {
  return typeof payload.ttl_seconds === 'number' ? ` for ${duration(payload.ttl_seconds)}` : '';
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
