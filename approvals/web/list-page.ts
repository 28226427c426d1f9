/** What waits for a person, as a page and as a part of the home page. Pure. */
import { h, type JSX } from 'preact';
import { forWhom } from '../../broker/console/people.ts';
import { Foreign } from '../../broker/console/shell.ts';
import { duration } from '../../broker/console/text.ts';
import type { ApprovalView } from './load.ts';
import { asks } from './questions.ts';

export interface WaitingForPerson {
  /** Most urgent first. */
  listed: ApprovalView[];
  /** How many more of an agent's requests wait than are listed; agents of which all are listed are absent. */
  more: ReadonlyMap<string, number>;
}

/** What waits for this person. */
export function listPage(waiting: WaitingForPerson, now: Date): JSX.Element {
  const count = [...waiting.more.values()].reduce((sum, more) => sum + more, waiting.listed.length);
  if (count === 0)
    return h('div', null, [h('h1', null, 'Approvals'), h('p', { class: 'lede' }, 'Nothing waits for you.')]);
  return h('div', null, [
    h('h1', null, 'Approvals'),
    h('p', { class: 'lede' }, count === 1 ? 'One request waits for you.' : `${count} requests wait for you.`),
    h('section', { class: 'card' }, waitingTable(waiting, now)),
  ]);
}

/** Also shown on the home page. */
export function waitingTable({ listed, more }: WaitingForPerson, now: Date): JSX.Element {
  const rows = listed.map((grant) =>
    h('tr', null, [
      h('td', null, [...asks(grant), h('br', null), taskOfWaiting(grant)]),
      h(
        'td',
        { class: 'go' },
        h(
          'span',
          { class: 'tag wait' },
          `${duration(((grant.decide_by ?? now).getTime() - now.getTime()) / 1000)} left`,
        ),
      ),
      h('td', { class: 'open' }, h('a', { class: 'button', href: `/approvals/${grant.id}` }, 'Look')),
    ]),
  );
  const unlisted = [...more].map(([agent, count]) =>
    h(
      'tr',
      null,
      h('td', { class: 'small soft', colSpan: 3 }, [
        `and ${count} more of `,
        h(Foreign, { text: agent }),
        ', listed when those above are decided',
      ]),
    ),
  );
  return h('table', { class: 'stack' }, [
    h(
      'thead',
      null,
      h(
        'tr',
        null,
        ['Request', 'Time', ''].map((title) => h('th', { scope: 'col' }, title)),
      ),
    ),
    h('tbody', null, [...rows, ...unlisted]),
  ]);
}

function taskOfWaiting(grant: ApprovalView): JSX.Element {
  const whom = forWhom(grant);
  return h('span', { class: 'small soft' }, [
    h(Foreign, { text: grant.task_type }),
    whom === null ? null : [' for ', ...whom],
    `, for ${duration(grant.plan.ttl_seconds)}`,
  ]);
}
