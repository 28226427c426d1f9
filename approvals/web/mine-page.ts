/** What a person decided, newest first. Pure. */

import { h, type JSX } from 'preact';
import { Foreign, Moment } from '../../broker/console/shell.ts';
import { ago } from '../../broker/console/text.ts';
import { nameOfAsked } from '../../broker/core/questions.ts';
import { inputsOf } from './list-page.ts';
import type { OwnReview } from './load.ts';
import { statusTag } from './words.ts';

export function minePage(own: OwnReview[], now: Date): JSX.Element {
  const title = h('div', null, [
    h('h1', null, 'Decided by you'),
    h('p', null, h('a', { href: '/approvals/team' }, 'Decided in your teams’ name')),
  ]);
  if (own.length === 0) return h('div', null, [title, h('p', { class: 'lede' }, 'You have decided nothing yet.')]);
  const rows = own.map((one) =>
    h('tr', null, [
      h('td', null, [
        h('b', null, h(Foreign, { text: one.agent })),
        ': ',
        h(Foreign, { text: nameOfAsked(one.capability) }),
        h('br', null),
        h('span', { class: 'small soft' }, h(Foreign, { text: `${one.task_type} ${inputsOf(one)}` })),
      ]),
      h('td', null, [one.verdict === 'approve' ? 'Approved' : 'Denied', ' · ', statusTag(one.status, one.reason)]),
      h('td', { class: 'small soft' }, [h(Moment, { at: one.at }), ' · ', ago(one.at, now)]),
      h('td', { class: 'open' }, h('a', { class: 'button', href: `/approvals/${one.grant_id}` }, 'Look')),
    ]),
  );
  return h('div', null, [
    title,
    h('section', { class: 'card' }, [
      h('table', { class: 'stack' }, [
        h(
          'thead',
          null,
          h(
            'tr',
            null,
            ['Request', 'You said, and what became of it', 'When', ''].map((text) => h('th', { scope: 'col' }, text)),
          ),
        ),
        h('tbody', null, rows),
      ]),
    ]),
  ]);
}
