/** What somebody approved faster than it can be read: it counts when they confirm it here. Pure. */
import { h, type JSX } from 'preact';
import { passkeyFields } from '../../broker/console/passkeys-page.ts';
import { Foreign } from '../../broker/console/shell.ts';
import { duration } from '../../broker/console/text.ts';
import type { JsonObject } from '../../broker/core/vocabulary.ts';
import type { TooFast } from '../review.ts';
import type { ApprovalView } from './load.ts';
import { asks, callCard, choices, hasLifetime } from './questions.ts';

export interface WarningPage {
  grant: ApprovalView;
  warning: TooFast;
  /** What would be consented to, in the provider's words. */
  summary: string[];
  /** As on the page of the request. */
  callArguments: JsonObject | null;
  /** The form as it was sent. */
  sent: Record<string, unknown>;
  /** A passkey must sign for it. */
  passkey: boolean;
}

/** Not sent on: this page has its own. */
const own = new Set(['confirmation', 'warned', 'assertion', 'read']);

export function warningPage({ grant, warning, summary, callArguments, sent, passkey }: WarningPage): JSX.Element {
  const fields = Object.entries(sent).flatMap(([name, value]) =>
    own.has(name) ? [] : [value].flat().map((one) => [name, String(one)] as const),
  );
  const action = `/approvals/${grant.id}`;
  const signs = passkey ? { 'data-passkey': `${action}/passkey` } : {};
  return h('div', null, [
    h('p', { class: 'kicker' }, 'Not counted yet'),
    h('h1', null, `You decided after ${duration(warning.tookSeconds)}`),
    h('p', { class: 'lede' }, 'That is faster than this can be read. It counts only if you confirm it here.'),
    callCard(grant, callArguments),
    h('section', { class: 'card verdict', 'aria-label': 'Confirm your approval' }, [
      h('h2', null, asks(grant)),
      h('p', null, hasLifetime(grant) ? `This lets the agent, for ${duration(warning.plan.ttl_seconds)}:` : 'This is:'),
      h(
        'ul',
        { class: 'powers' },
        summary.map((line) => h('li', null, h(Foreign, { text: line, max: 600 }))),
      ),
      h('form', { id: 'approve', method: 'post', action, ...signs }, [
        fields.map(([name, value]) => h('input', { type: 'hidden', name, value })),
        h('input', { type: 'hidden', name: 'confirmation', value: warning.confirmation }),
        h('label', { class: 'choice' }, [
          h('input', { type: 'checkbox', name: 'read', value: 'yes', required: true }),
          ' I have read this now.',
        ]),
        passkey ? passkeyFields() : null,
        h('button', { class: 'approve', type: 'submit' }, choices({ ...grant, plan: warning.plan }).approve),
      ]),
      h('p', null, h('a', { href: action }, 'Back to the request')),
    ]),
  ]);
}
