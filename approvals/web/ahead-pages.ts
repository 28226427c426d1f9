/** What is approved ahead of time, as people see it. Pure. */
import { h, type JSX } from 'preact';
import { Foreign, Moment } from '../../broker/console/shell.ts';
import { ago, bare, duration } from '../../broker/console/text.ts';
import { preApprovalEnds, reasonWords } from '../../broker/core/reasons.ts';
import type { Json } from '../../broker/core/vocabulary.ts';
import type { Bound } from '../bounds.ts';
import type { GrantUnderReview } from '../eligibility.ts';
import type { PreApprovalView } from '../read-pre-approvals.ts';

const lifetimes = [300, 900, 1800, 3600, 4 * 3600, 12 * 3600];

export interface AheadForm {
  grant: GrantUnderReview;
  /** Longest lifetime of its credentials. */
  longest: number;
  days: number[];
  csrf: string;
  summary: string[];
  fault?: string | undefined;
}

export function aheadForm({ grant, longest, days, csrf, summary, fault }: AheadForm): JSX.Element {
  const ttl = Math.min(grant.plan.ttl_seconds, longest);
  const offered = [...new Set([ttl, ...lifetimes.filter((one) => one < longest), longest])].sort((a, b) => a - b);
  return h('div', null, [
    h('p', { class: 'kicker' }, 'Approve ahead of time'),
    h('h1', null, ['The next ones like this of ', h(Foreign, { text: grant.agent })]),
    h('p', { class: 'lede' }, [
      'When it asks for ',
      h('b', null, h(Foreign, { text: grant.capability })),
      ' in the task ',
      h('b', null, h(Foreign, { text: grant.task_type })),
      ' again, within what you say here, it is approved in your name and nobody is asked. You are told each time.',
    ]),
    h(
      'ul',
      { class: 'powers' },
      summary.map((line) => h('li', null, h(Foreign, { text: line, max: 600 }))),
    ),
    fault === undefined ? null : h('p', { class: 'fault', role: 'alert' }, h(Foreign, { text: fault, max: 600 })),
    h('form', { class: 'card verdict', method: 'post', action: `/approvals/${grant.id}/ahead` }, [
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      h('h2', null, 'Its parameters'),
      ...Object.entries(grant.params).flatMap(([name, value]) => paramField(name, value)),
      Object.keys(grant.params).length === 0 ? h('p', { class: 'soft' }, 'It has none.') : null,
      h('label', { for: 'max_uses' }, 'How many times'),
      h('input', { id: 'max_uses', name: 'max_uses', type: 'number', min: 1, max: 1000, value: 1, required: true }),
      h('label', { for: 'max_ttl_seconds' }, 'Each for at most'),
      h(
        'select',
        { id: 'max_ttl_seconds', name: 'max_ttl_seconds' },
        offered.map((one) => h('option', { value: one, selected: one === ttl }, duration(one))),
      ),
      h('label', { for: 'days' }, 'Until'),
      h(
        'select',
        { id: 'days', name: 'days' },
        days.map((one) => h('option', { value: one }, `${one} ${one === 1 ? 'day' : 'days'} from now`)),
      ),
      h('label', { for: 'reason' }, 'Why (kept on the record)'),
      h('textarea', { id: 'reason', name: 'reason', rows: 2, maxLength: 400, required: true }),
      h('button', { class: 'approve', type: 'submit' }, 'Approve ahead of time'),
      h(
        'p',
        { class: 'small soft' },
        'It never counts for a run that acts for you or that you started, nor after you have left the group, nor once the manifest says something else of this. You, or an admin, can withdraw it at any time.',
      ),
    ]),
  ]);
}

function paramField(name: string, value: Json): JSX.Element[] {
  const plain = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  const kinds: [string, string][] = [
    ['equals', 'exactly this'],
    ...(plain ? [['one_of', 'one of (comma between them)'] as [string, string]] : []),
    ...(typeof value === 'string' ? [['prefix', 'anything under (ends with / : . - or _)'] as [string, string]] : []),
    ...(typeof value === 'number' ? [['range', 'from … to …'] as [string, string]] : []),
  ];
  const shown = plain ? String(value) : JSON.stringify(value);
  return [
    h('label', { for: `kind.${name}` }, [
      h(Foreign, { text: name }),
      ': ',
      h('code', null, h(Foreign, { text: shown, max: 300 })),
    ]),
    h(
      'select',
      { id: `kind.${name}`, name: `kind.${name}` },
      kinds.map(([kind, words]) => h('option', { value: kind }, words)),
    ),
    ...(kinds.length === 1
      ? []
      : [
          h('input', {
            type: 'text',
            name: `text.${name}`,
            'aria-label': `What ${name} may be`,
            value: shown,
            maxLength: 1000,
          }),
        ]),
  ];
}

const states: Record<PreApprovalView['state'], [tone: string, words: string]> = {
  stands: ['good', 'stands'],
  used_up: ['', 'used up'],
  expired: ['', 'its time is over'],
  not_proven: ['bad', 'not written by this broker: it approves nothing'],
  withdrawn: ['bad', reasonWords(preApprovalEnds, 'withdrawn')],
  giver_signed_off: ['bad', reasonWords(preApprovalEnds, 'giver_signed_off')],
  group_lost: ['bad', reasonWords(preApprovalEnds, 'group_lost')],
  terms_changed: ['bad', reasonWords(preApprovalEnds, 'terms_changed')],
};
const stateTag = ({ state }: PreApprovalView) =>
  h('span', { class: `tag ${states[state][0]}`.trim() }, states[state][1]);

export function preApprovalsPage(given: PreApprovalView[], now: Date): JSX.Element {
  const title = h('h1', null, 'Approved ahead of time');
  if (given.length === 0)
    return h('div', null, [
      title,
      h(
        'p',
        { class: 'lede' },
        'Nothing. On the page of a request that was approved you can approve the next ones like it.',
      ),
    ]);
  const rows = given.map((one) =>
    h('tr', null, [
      h('td', null, [
        h('b', null, h(Foreign, { text: one.agent })),
        ': ',
        h(Foreign, { text: one.capability }),
        h('br', null),
        h('span', { class: 'small soft' }, [
          h(Foreign, { text: one.task_type }),
          ' · ',
          h(Foreign, { text: bare(one.given_by) }),
          `, ${ago(one.given_at, now)}`,
        ]),
      ]),
      h('td', null, [stateTag(one), ` ${one.used} of ${one.max_uses} used`]),
      h('td', { class: 'small soft' }, ['until ', h(Moment, { at: one.until })]),
      h('td', { class: 'open' }, h('a', { class: 'button', href: `/pre-approvals/${one.id}` }, 'Look')),
    ]),
  );
  const head = ['What', 'How far', 'Until', ''].map((text) => h('th', { scope: 'col' }, text));
  return h('div', null, [
    title,
    h(
      'section',
      { class: 'card' },
      h('table', { class: 'stack' }, [h('thead', null, h('tr', null, head)), h('tbody', null, rows)]),
    ),
  ]);
}

export function preApprovalPage(given: PreApprovalView, now: Date, csrf: string): JSX.Element {
  return h('div', null, [
    h('p', { class: 'kicker' }, 'Approved ahead of time'),
    h('h1', null, [h(Foreign, { text: given.agent }), ': ', h(Foreign, { text: given.capability })]),
    h('p', null, stateTag(given)),
    h('section', { class: 'card' }, [
      h('dl', { class: 'facts' }, [
        ...fact('Task', h(Foreign, { text: given.task_type })),
        ...Object.entries(given.bounds).flatMap(([name, bound]) =>
          fact(name, h(Foreign, { text: boundWords(bound), max: 600 })),
        ),
        ...fact('Times', `${given.used} of ${given.max_uses} used`),
        ...fact('Each for', `at most ${duration(given.max_ttl_seconds)}`),
        ...fact('Until', h(Moment, { at: given.until })),
        ...fact('Given by', [h(Foreign, { text: bare(given.given_by) }), `, ${ago(given.given_at, now)}`]),
        ...fact('Why', h(Foreign, { text: given.reason, max: 500 })),
        ...fact('Like', h('a', { href: `/approvals/${given.from_grant}` }, given.from_grant)),
      ]),
    ]),
    given.state === 'stands'
      ? h('form', { class: 'card', method: 'post', action: `/pre-approvals/${given.id}` }, [
          h('input', { type: 'hidden', name: 'csrf', value: csrf }),
          h('p', { class: 'small soft' }, 'What it approved and nobody has collected is denied with it.'),
          h('button', { class: 'deny', type: 'submit' }, 'Withdraw it'),
        ])
      : null,
    h('section', { class: 'card' }, [
      h('h2', null, 'Used for'),
      given.uses.length === 0
        ? h('p', { class: 'soft' }, 'Nothing yet.')
        : h(
            'ul',
            { class: 'leases' },
            given.uses.map((use) =>
              h('li', null, [
                `${use.number}: `,
                h('a', { href: `/approvals/${use.grant_id}` }, use.grant_id),
                ' ',
                h(Moment, { at: new Date(use.at) }),
              ]),
            ),
          ),
    ]),
  ]);
}

const fact = (name: string, value: JSX.Element | string | (JSX.Element | string)[]) => [
  h('dt', null, h(Foreign, { text: name })),
  h('dd', null, value),
];

function boundWords(bound: Bound): string {
  if ('equals' in bound) return typeof bound.equals === 'string' ? bound.equals : JSON.stringify(bound.equals);
  if ('one_of' in bound) return `one of ${bound.one_of.join(', ')}`;
  if ('prefix' in bound) return `anything under ${bound.prefix}`;
  return `from ${bound.min} to ${bound.max}`;
}
