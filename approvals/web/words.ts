/** How a request came out, in words. Pure. */

import { h, type JSX } from 'preact';
import { Foreign, Moment } from '../../broker/console/shell.ts';
import { duration, moment, visible } from '../../broker/console/text.ts';
import { storedRevokeReasons, reasonWords as wordsOf } from '../../broker/core/reasons.ts';
import type { DecisionReason } from '../../broker/core/vocabulary.ts';
import { type Outcome, reasonMax } from '../review.ts';
import type { ApprovalView, LeaseEnd } from './load.ts';
import { questionOutcome } from './questions.ts';

const tones: Record<string, string> = {
  issued: 'good',
  approved: 'good',
  ended: 'good',
  denied: 'bad',
  failed: 'bad',
  pending: 'wait',
};
const statusWords: Record<string, string> = {
  pending: 'waiting',
  ended: 'granted, over',
  issued: 'granted',
  issuing: 'being issued',
};
const reasonWords: Record<string, string> = {
  timeout: 'nobody decided',
  not_redeemed: 'not collected',
  session_ended: 'session ended',
  owner_changed: 'owners changed',
  denied_by_approver: 'by a person',
  withdrawn: 'approval taken back',
  cancelled: 'by the agent itself',
  state_changed: 'changed too often',
  state_unreadable: 'its state unreadable',
  denied_lately: 'denied just before',
  asked_too_often: 'asked too often',
  locked: 'locked',
  manifest_narrowed: 'its manifest was narrowed',
} satisfies { [reason in DecisionReason]?: string };

export function statusTag(status: string, reason: string | null): JSX.Element {
  const word = statusWords[status] ?? visible(status);
  const why = status !== 'denied' ? '' : ` · ${reason === null ? 'by policy' : (reasonWords[reason] ?? 'by policy')}`;
  return h('span', { class: `tag ${tones[status] ?? ''}` }, word + why);
}

/** The card that stands where the forms were. */
export function result(grant: ApprovalView, outcome: Outcome | null, lease: LeaseEnd | null): JSX.Element {
  const [title, text] = questionOutcome(grant) ?? resultText(grant, lease);
  const who =
    outcome?.reviewer.name ?? outcome?.reviewer.email ?? outcome?.reviewer.username ?? outcome?.reviewer.subject;
  return h('section', { class: 'card verdict', 'aria-label': 'Outcome' }, [
    h('p', null, statusTag(grant.status, grant.reason)),
    h('h2', null, title),
    h('p', { class: 'soft' }, text),
    outcome === null || who === undefined
      ? null
      : h('p', { class: 'small' }, [
          outcome.verdict === 'approve' ? 'Approved by ' : 'Denied by ',
          h(Foreign, { text: who }),
          ' at ',
          h(Moment, { at: outcome.at }),
          '.',
        ]),
    outcome?.hasty_seconds == null
      ? null
      : h(
          'p',
          { class: 'small fault' },
          `Approved in ${duration(outcome.hasty_seconds)}, which is faster than this can be read${outcome.hasty_confirmed === true ? ', and confirmed after a warning' : ''}. That is on record.`,
        ),
    outcome?.reason == null ? null : h('blockquote', null, h(Foreign, { text: outcome.reason, max: reasonMax })),
    h('a', { class: 'button', href: `/sessions/${grant.session_id}` }, 'The session’s history'),
  ]);
}

/** A credential that ended early did not end because its time was over. */
function overText(lease: LeaseEnd | null): string {
  const issued = 'The credential was issued';
  if (lease === null) return `${issued}, and is over.`;
  const why = lease.revoke_reason;
  const when = lease.ended_at === null ? '' : ` (${moment(lease.ended_at)})`;
  if (why === null || why === 'expired') return `${issued}, and its time has ended${when}.`;
  const ended =
    lease.status === 'revoked' ? 'was revoked' : lease.status === 'revoking' ? 'is being revoked' : 'has ended';
  return `${issued}, and ${ended}${when}: ${wordsOf(storedRevokeReasons, why)}.`;
}

function resultText(grant: ApprovalView, lease: LeaseEnd | null): [title: string, text: string] {
  const lived = duration(grant.plan.ttl_seconds);
  switch (grant.status) {
    case 'approved':
      return [
        'Approved',
        `The agent may now collect the credential; its ${lived} begin then. If it does not, the approval lapses at ${moment(grant.decide_by ?? grant.requested_at)}.`,
      ];
    case 'issuing':
      return ['Approved', 'The credential is being made.'];
    case 'issued':
      return ['Approved and collected', `The agent has its credential, for ${lived} at most.`];
    case 'ended':
      return ['Over', overText(lease)];
    case 'failed':
      return ['No credential came of it', 'The provider did not mint it.'];
    case 'denied':
      if (grant.reason === 'timeout')
        return ['Denied: nobody decided in time', 'Undecided means denied. The agent has to ask again.'];
      if (grant.reason === 'session_ended')
        return ['Over', 'The session ended before the credential was collected. Nothing was granted.'];
      if (grant.reason === 'owner_changed')
        return [
          'Lapsed: its owners changed',
          'A newer manifest names other owners. The agent has to ask again, and they decide.',
        ];
      if (grant.reason === 'withdrawn')
        return ['Taken back', 'Whoever had approved it took that back before the agent collected it.'];
      if (grant.reason === 'cancelled')
        return ['Over', 'The agent took its request back before anybody had decided it. Nothing was granted.'];
      if (grant.reason === 'not_redeemed')
        return ['Lapsed', 'It was approved, but the agent did not collect it in time.'];
      return ['Denied', 'The agent was told so.'];
    default:
      return ['Too late', 'The time to decide is over, or the session has ended. Nothing was granted.'];
  }
}
