/** What waits for a person, as a page and as a part of the home page. Pure. */
import { hash } from 'node:crypto';
import { h, type JSX } from 'preact';
import { forWhom } from '../../broker/console/people.ts';
import { Foreign, Moment } from '../../broker/console/shell.ts';
import { duration } from '../../broker/console/text.ts';
import type { DescribePlan } from '../contract.ts';
import type { ApprovalView } from './load.ts';
import { asks } from './questions.ts';

export interface WaitingForPerson {
  /** Most urgent first. */
  listed: ApprovalView[];
  /** How many more of an agent's requests wait than are listed; agents of which all are listed are absent. */
  more: ReadonlyMap<string, number>;
}

/** Changes when the list does: a request more or less, or one that somebody else approved meanwhile. */
export const listStateOf = ({ listed, more }: WaitingForPerson): string =>
  hash(
    'sha256',
    JSON.stringify([listed.map(({ id, approval_count }) => [id, approval_count]), [...more]]),
    'base64url',
  );

/** What waits for this person. */
export function listPage(waiting: WaitingForPerson, now: Date, describePlan: DescribePlan): JSX.Element {
  const count = [...waiting.more.values()].reduce((sum, more) => sum + more, waiting.listed.length);
  const live = { 'data-state': listStateOf(waiting), 'data-live': '/approvals' };
  if (count === 0)
    return h('div', live, [h('h1', null, 'Approvals'), h('p', { class: 'lede' }, 'Nothing waits for you.')]);
  return h('div', live, [
    h('h1', null, 'Approvals'),
    h('p', { class: 'lede' }, count === 1 ? 'One request waits for you.' : `${count} requests wait for you.`),
    h('section', { class: 'card' }, waitingTable(waiting, now, describePlan)),
  ]);
}

/** Also shown on the home page. */
export function waitingTable({ listed, more }: WaitingForPerson, now: Date, describePlan: DescribePlan): JSX.Element {
  const rows = listed.map((grant) =>
    h('tr', null, [
      h('td', null, [
        ...asks(grant),
        h('br', null),
        taskOfWaiting(grant),
        h('br', null),
        h('span', { class: 'small' }, h(Foreign, { text: firstLine(grant, describePlan), max: 200 })),
      ]),
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

/** The permission in a line; one that cannot be described now is still listed. */
function firstLine(grant: ApprovalView, describePlan: DescribePlan): string {
  try {
    const { summary } = describePlan(grant.plan);
    return summary.length > 1 ? `${summary[0]}, and ${summary.length - 1} more` : (summary[0] ?? '');
  } catch {
    return `of the provider ${grant.provider}, which is not switched on`;
  }
}

/** What its task is about, by the values of its inputs: at most three. */
export function inputsOf({ inputs }: Pick<ApprovalView, 'inputs'>): string {
  const shown = Object.entries(inputs).map(
    ([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return shown.length > 3 ? `${shown.slice(0, 3).join(', ')} …` : shown.join(', ');
}

function taskOfWaiting(grant: ApprovalView): JSX.Element {
  const whom = forWhom(grant);
  return h('span', { class: 'small soft' }, [
    h(Foreign, { text: grant.task_type }),
    whom === null ? null : [' for ', ...whom],
    ...(Object.keys(grant.inputs).length === 0 ? [] : [' (', h(Foreign, { text: inputsOf(grant) }), ')']),
    `, for ${duration(grant.plan.ttl_seconds)}, asked `,
    h(Moment, { at: grant.requested_at }),
  ]);
}
