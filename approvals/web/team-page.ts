/** What was decided in the name of a person's teams, in a day. Pure. */

import { h, type JSX } from 'preact';
import { Foreign, Moment } from '../../broker/console/shell.ts';
import { ago, bare } from '../../broker/console/text.ts';
import { nameOfAsked } from '../../broker/core/questions.ts';
import type { Decided, DecidedRequest, DecidedResult, Period } from '../decided.ts';
import { totals } from '../decided.ts';

const resultWords: { [result in DecidedResult]: string } = {
  approved: 'Approved',
  ahead: 'Approved ahead of time',
  denied: 'Denied',
  expired: 'Expired: nobody answered',
  lapsed: 'Lapsed',
  automatic: 'Given by policy',
};

/** @param decided of the names that the person answers to, and no others */
export function teamPage(decided: readonly Decided[], requests: readonly DecidedRequest[], period: Period, now: Date) {
  const before = new Date(period.from).toISOString();
  return h('div', null, [
    h('h1', null, 'Decided in your teams’ name'),
    h('p', { class: 'lede' }, [h(Moment, { at: period.from }), ' to ', h(Moment, { at: period.until }), '.']),
    ...(decided.length === 0 ? [h('p', null, 'Nothing was decided in that time in a name that is yours.')] : []),
    ...decided.map((one) => ofOwner(one)),
    ...(requests.length === 0 ? [] : [requestTable(requests, now)]),
    h('p', null, [
      h('a', { href: `/approvals/team?until=${encodeURIComponent(before)}` }, 'The day before'),
      ' · ',
      h('a', { href: '/approvals/mine' }, 'Decided by you'),
      ' · ',
      h('a', { href: '/approvals' }, 'What waits'),
    ]),
  ]);
}

function ofOwner({ owner, counts, people }: Decided): JSX.Element {
  const { approved, ahead, denied, expired, lapsed, automatic } = totals(counts);
  const asked = approved + ahead + denied + expired + lapsed;
  return h('section', { class: 'card' }, [
    h('h2', null, h(Foreign, { text: owner })),
    h(
      'p',
      null,
      `${asked} asked: ${approved} approved, ${ahead} approved ahead of time, ${denied} denied, ${expired} expired, ${lapsed} lapsed. ${automatic} given by policy, without asking anybody.`,
    ),
    table(
      ['Agent and capability', 'How it ended', 'How often'],
      counts
        .slice(0, 100)
        .map(({ agent, capability, result, count }) => [
          h('span', null, [
            h('b', null, h(Foreign, { text: agent })),
            ': ',
            h(Foreign, { text: nameOfAsked(capability) }),
          ]),
          resultWords[result],
          String(count),
        ]),
    ),
    ...(people.length === 0
      ? []
      : [
          table(
            ['Who answered', 'Approved', 'Denied', 'Faster than a person can read'],
            people
              .slice(0, 100)
              .map(({ name, approved, denied, hasty }) => [
                h(Foreign, { text: bare(name) }),
                String(approved),
                String(denied),
                String(hasty),
              ]),
          ),
        ]),
  ]);
}

function requestTable(requests: readonly DecidedRequest[], now: Date): JSX.Element {
  return h('section', { class: 'card' }, [
    h('h2', null, 'Each that people were asked about'),
    table(
      ['Request', 'How it ended', 'When', ''],
      requests.map(({ id, agent, capability, task_type, result, decided_at, by }) => [
        h('span', null, [
          h('b', null, h(Foreign, { text: agent })),
          ': ',
          h(Foreign, { text: nameOfAsked(capability) }),
          h('br', null),
          h('span', { class: 'small soft' }, h(Foreign, { text: task_type })),
        ]),
        h('span', null, [
          resultWords[result],
          ...(by.length === 0 ? [] : [' · ', h(Foreign, { text: by.map(bare).join(', ') })]),
        ]),
        h('span', { class: 'small soft' }, [h(Moment, { at: decided_at }), ' · ', ago(decided_at, now)]),
        h('a', { class: 'button', href: `/approvals/${id}` }, 'Look'),
      ]),
    ),
  ]);
}

function table(heads: readonly string[], rows: readonly (JSX.Element | string)[][]): JSX.Element {
  return h('table', { class: 'stack' }, [
    h(
      'thead',
      null,
      h(
        'tr',
        null,
        heads.map((text) => h('th', { scope: 'col' }, text)),
      ),
    ),
    h(
      'tbody',
      null,
      rows.map((cells) =>
        h(
          'tr',
          null,
          cells.map((cell) => h('td', null, cell)),
        ),
      ),
    ),
  ]);
}
