/**
 * What differs on the pages where people are not asked for one credential, but for several at once, about a
 * tool call, or about a session that a rule froze or narrowed. Pure.
 */
import { type ComponentChildren, h, type JSX } from 'preact';
import { Foreign } from '../../broker/console/shell.ts';
import { clamp, visible } from '../../broker/console/text.ts';
import type { ArgumentOrigin, BatchPermission, CallPermission, LiftPermission } from '../../broker/core/questions.ts';
import { aboutSession, isBatch, membersLeft } from '../../broker/core/questions.ts';
import type { Json, JsonObject } from '../../broker/core/vocabulary.ts';
import type { ApprovalView } from './load.ts';

type Asked = Pick<ApprovalView, 'agent' | 'capability' | 'plan'>;

const callOf = ({ plan }: Asked): CallPermission | null =>
  plan.provider === 'call' ? (plan.permission as unknown as CallPermission) : null;
const liftOf = ({ plan, capability }: Asked): LiftPermission | null =>
  plan.provider === 'session' && capability === aboutSession ? (plan.permission as unknown as LiftPermission) : null;

export const batchOf = ({ plan, capability }: Asked): BatchPermission | null =>
  isBatch(capability) ? (plan.permission as unknown as BatchPermission) : null;

/** What is asked, as a line: who wants what. */
export function asks(grant: Asked): ComponentChildren[] {
  const call = callOf(grant);
  const lift = liftOf(grant);
  const agent = h('b', null, h(Foreign, { text: grant.agent }));
  if (call !== null) return [agent, ' wants to call ', h('b', null, h(Foreign, { text: call.tool }))];
  if (lift !== null)
    return [
      lift.because === 'suspend' ? 'A rule stopped ' : 'A rule took something from ',
      agent,
      ' when it asked for ',
      h(Foreign, { text: nameOf(lift.asked) }),
    ];
  const batch = batchOf(grant);
  if (batch !== null) return [agent, ' asks for ', h('b', null, `${batch.members.length} permissions at once`)];
  return [agent, ' asks for ', h('b', null, h(Foreign, { text: grant.capability }))];
}

/** `tool:shell` → the tool shell */
const nameOf = (asked: string): string => asked.replace(/^(tool|capability):/, 'the $1 ');

const originWords: { [Origin in ArgumentOrigin]: string } = {
  task: 'from the task’s inputs',
  'person or manifest': 'from the person, the manifest or a trusted tool',
  'output of a tool': 'first seen in what a tool returned',
  agent: 'from nobody but the agent',
};

/** Characters of one argument that are shown. */
const argumentMax = 2000;

/**
 * The call, or what a session asked for when a rule stopped it, with its arguments; null where it is about a
 * credential.
 * @param values of the arguments; null when they are not kept any more
 */
export function callCard(grant: Asked, values: JsonObject | null): JSX.Element | null {
  const asked = callOf(grant) ?? liftOf(grant);
  if (asked === null) return null;
  const origins = 'origins' in asked ? asked.origins : {};
  const parts = Object.keys(values ?? asked.arguments).map((name) => {
    const origin = origins[name];
    return h('div', { class: 'argument' }, [
      h('p', null, [
        h('b', null, h('code', null, h(Foreign, { text: name, max: 100 }))),
        origin === undefined
          ? null
          : h(
              'span',
              { class: origin === 'output of a tool' ? 'small fault' : 'small soft' },
              ` · ${originWords[origin]}`,
            ),
      ]),
      values === null ? h('p', { class: 'soft' }, 'The value is not kept any more.') : shownValue(values[name] ?? null),
    ]);
  });
  return h('section', { class: 'card' }, [
    h('h2', null, callOf(grant) === null ? 'What it asked for' : 'The call'),
    ...(parts.length === 0 ? [h('p', { class: 'soft' }, 'Without arguments.')] : parts),
    h(
      'p',
      { class: 'small soft' },
      callOf(grant) === null
        ? 'Names and values were chosen by the agent.'
        : 'Names and values were chosen by the agent. A yes is to this very call, once.',
    ),
  ]);
}

function shownValue(value: Json): JSX.Element {
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
  const { text: shown, left } = clamp(visible(text, '\n'), argumentMax);
  return h('div', null, [
    h('pre', { tabIndex: 0 }, h('bdi', null, shown)),
    left === 0 ? null : h('p', { class: 'small fault' }, `${left} more characters are not shown.`),
  ]);
}

/** What the buttons say; `less` where the approver chose less than was asked for. */
export function choices(grant: Asked): { approve: string; less: string; deny: string; undecided: string } {
  const lift = liftOf(grant);
  if (callOf(grant) !== null)
    return {
      approve: 'Let it make this call',
      less: 'Let it make this call, in less time',
      deny: 'Deny',
      undecided: 'means denied',
    };
  if (lift?.because === 'suspend')
    return {
      approve: 'Let it go on',
      less: 'Let it go on with less',
      deny: 'End the session',
      undecided: 'means that the session ends',
    };
  if (lift !== null)
    return {
      approve: 'Give it back',
      less: 'Give a part of it back',
      deny: 'Leave it so',
      undecided: 'means that it stays so',
    };
  const batch = batchOf(grant);
  if (batch !== null)
    return {
      approve: `Approve all ${membersLeft(batch).length}`,
      less: 'Approve the others',
      deny: 'Deny all',
      undecided: 'means that all are denied',
    };
  return { approve: 'Approve exactly this', less: 'Approve less, as chosen', deny: 'Deny', undecided: 'means denied' };
}

/** What an approver may leave out, each by itself; null where there is no such thing. */
export function withholdFields(grant: Asked): JSX.Element | null {
  const batch = batchOf(grant);
  if (batch !== null) return takeOutFields(batch);
  const lift = liftOf(grant);
  if (lift === null) return null;
  const offered = [...new Set([...lift.could, ...lift.took])].slice(0, 200);
  return h('fieldset', null, [
    h('legend', null, 'It must do without'),
    offered.map((name) =>
      h('label', { class: 'choice' }, [
        h('input', { type: 'checkbox', name: 'withhold', value: name, checked: lift.withhold.includes(name) }),
        ' ',
        h(Foreign, { text: nameOf(name) }),
      ]),
    ),
  ]);
}

function takeOutFields(batch: BatchPermission): JSX.Element {
  return h('fieldset', null, [
    h('legend', null, 'Deny only these'),
    membersLeft(batch).map((member) =>
      h('label', { class: 'choice' }, [
        h('input', { type: 'checkbox', name: 'withhold', value: member.grant }),
        ' ',
        `${batch.members.indexOf(member) + 1}. `,
        h(Foreign, { text: member.capability }),
      ]),
    ),
  ]);
}

/** Whether a lifetime can be chosen: of a session that goes on, and of several permissions, none can. */
export const hasLifetime = (grant: Asked): boolean => liftOf(grant) === null && batchOf(grant) === null;

/** How it came out, where that differs from a credential's. */
export function questionOutcome(
  grant: Asked & { status: string; reason: string | null },
): [title: string, text: string] | null {
  const lift = liftOf(grant);
  if (callOf(grant) !== null) {
    if (grant.status === 'approved') return ['Approved', 'The agent may make this call now, once.'];
    if (grant.status === 'ended') return ['Approved and made', 'The call was allowed.'];
    return null;
  }
  if (batchOf(grant) !== null) {
    if (grant.status === 'approved')
      return ['Approved', 'The agent collects each by itself; what became of it stands beside it.'];
    if (grant.status === 'ended') return ['Approved, and over', 'What became of each stands beside it.'];
    if (grant.reason === 'withdrawn') return ['Taken back', 'What the agent had not collected by then is denied.'];
    return null;
  }
  if (lift === null) return null;
  if (grant.status === 'ended') {
    const without = lift.withhold.map(nameOf).join(', ');
    return ['Lifted', without === '' ? 'The session goes on.' : `The session goes on, without ${without}.`];
  }
  if (grant.status !== 'denied') return null;
  return lift.because === 'suspend'
    ? ['Not lifted', 'The session has ended.']
    : ['Left as it was', 'The session goes on with less.'];
}
