/** One request as its approver sees it. Pure: rows in, tree out. */
import { type ComponentChildren, h, type JSX } from 'preact';
import { passkeyFields } from '../../broker/console/passkeys-page.ts';
import { forWhom, forWhomFact, startedByFact } from '../../broker/console/people.ts';
import { Foreign, Moment, notice } from '../../broker/console/shell.ts';
import { ago, bare, clamp, duration, prettyJson, visible } from '../../broker/console/text.ts';
import { aboutSession, isQuestion } from '../../broker/core/questions.ts';
import type { ReviewBlockerCode } from '../../broker/core/reasons.ts';
import type { JsonObject, PlanDescription } from '../../broker/core/vocabulary.ts';
import { type Identity, personRef } from '../../broker/people/identity.ts';
import type { PasskeyState } from '../../broker/people/passkeys/passkey-state.ts';
import { needsName } from '../../broker/people/passkeys/relying-party.ts';
import type { GrantAbout } from '../contract.ts';
import type { EarlierApproval, TermProgress } from '../eligibility.ts';
import { type Level, type Outcome, type Part, reasonMax, type ShownChallenge } from '../review.ts';
import type { ApprovalView, EarlierGrant, LeaseEnd } from './load.ts';
import { membersCard } from './members-card.ts';
import { asks, callCard, choices, hasLifetime, withholdFields } from './questions.ts';
import { result, statusTag } from './words.ts';

export interface ApprovalPage {
  grant: ApprovalView;
  about: GrantAbout;
  description: PlanDescription;
  /** Values of the call that it is about; null = it is about none, or they are not kept any more. */
  callArguments: JsonObject | null;
  earlier: EarlierGrant[];
  outcome: Outcome | null;
  lease: LeaseEnd | null;
  /** What the agent was last given of this capability, in words; null = nothing yet. */
  lastGiven: { summary: string[]; ttlSeconds: number; at: Date } | null;
  /** What has changed since it was approved; null where nothing was, or has. */
  changed: StateChange | null;
  /** This person gave an approval that they can take back. */
  mayWithdraw: boolean;
  /** This person may approve the next ones like it ahead of time. */
  mayApproveAhead: boolean;
  csrf: string;
  now: Date;
  /** Shortest lifetime the approver may narrow to. */
  minTtlSeconds: number;
  /** Why this person may not approve; null when they may. Denying is theirs all the same. */
  bar: string | null;
  /** Whether the reader has one to sign with; null = it is approved without. */
  passkey: PasskeyState | null;
  /** What to show having read it by; until when a wrong answer bars; null = it is approved without. */
  challenge: ShownChallenge | Date | null;
  /** Of several permissions at once: what has become of each. */
  members: readonly { id: string; status: string }[];
  /** Whose approvals it needs, and which it has. */
  approvals: TermProgress<EarlierApproval>[];
  /** What the approver may leave out. */
  parts: Part[];
  /** What may be lowered. */
  levels: Level[];
  /** Why the form just sent was not taken, and what it said. */
  fault?: { message: string; reason: string } | undefined;
}

/** Lines that are there no more, and those that are there now. */
export interface StateChange {
  was: string[];
  now: string[];
}

const justificationMax = 500;

/** Lifetimes offered for narrowing, as far as they are shorter than the plan's. */
const steps = [60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600];

export function approvalPage(page: ApprovalPage): JSX.Element {
  const { grant } = page;
  const whom = forWhom(grant);
  return h('div', { 'data-state': stateOf(grant), 'data-live': `/approvals/${grant.id}` }, [
    h(
      'p',
      { class: 'kicker' },
      open(page) ? `Your decision is asked for · tier ${grant.tier}` : `Request · tier ${grant.tier}`,
    ),
    h('h1', null, asks(grant)),
    h('p', { class: 'lede' }, [
      ...(hasLifetime(grant)
        ? [isQuestion(grant.capability) ? 'Within ' : 'For ', h('b', null, duration(grant.plan.ttl_seconds)), ', to']
        : ['It is to']),
      ' do the task ',
      h('b', null, h(Foreign, { text: grant.task_type })),
      ...(whom === null ? ['. The session names no person it acts for.'] : [' on behalf of ', ...whom, '.']),
    ]),
    open(page) ? null : h('p', null, statusTag(grant.status, grant.reason)),
    page.fault === undefined ? null : h('p', { class: 'fault', role: 'alert' }, page.fault.message),
    changedSince(page),
    open(page) ? h('a', { class: 'button jump', href: '#decide' }, `${timeLeft(page)} left to decide`) : null,
    // The verdict stands before the history in reading order: on a phone the way to it is short.
    h('div', { class: 'columns' }, [
      h('div', null, [
        callCard(grant, page.callArguments),
        membersCard(grant, page.members) ?? permission(page),
        asking(page),
        words(grant),
      ]),
      h(
        'div',
        { class: 'aside', id: 'decide' },
        open(page) ? verdict(page) : result(page.grant, page.outcome, page.lease),
        takeBack(page),
        page.mayApproveAhead
          ? h(
              'p',
              null,
              h('a', { class: 'button', href: `/approvals/${grant.id}/ahead` }, 'Approve the next ones like this'),
            )
          : null,
      ),
      lately(page),
    ]),
    open(page) ? actionBar(page) : null,
  ]);
}

/** It was approved, and what it is about has changed before the agent came: the difference first. */
function changedSince({ changed }: ApprovalPage): JSX.Element | null {
  if (changed === null) return null;
  const list = (title: string, lines: string[]) => [
    h('p', null, title),
    h(
      'ul',
      null,
      lines.map((text) => h('li', null, h(Foreign, { text, max: 600 }))),
    ),
  ];
  return h('section', { class: 'card', 'aria-label': 'What has changed' }, [
    h('h2', null, 'Approved before, and changed since'),
    h(
      'p',
      null,
      'When the agent came for it, what it is about was not as its approver had seen it. No earlier approval counts.',
    ),
    ...list('When it was approved:', changed.was),
    ...list('Now:', changed.now),
  ]);
}

/** What moves when somebody decides: where it is another, the page is read anew. */
export const stateOf = ({ status, plan_digest, approval_count }: ApprovalView): string =>
  `${status}.${approval_count}.${plan_digest}`;

/** At the foot of a small screen: what is decided is in reach, wherever the reader is. */
function actionBar(page: ApprovalPage): JSX.Element {
  const choice = choices(page.grant);
  return h('div', { class: 'bar' }, [
    mayApprove(page) ? approveHere(page) : null,
    h('a', { class: 'button', href: '#deny' }, `${choice.deny} …`),
  ]);
}

/** Where a sentence must be picked first, the way there. */
const approveHere = ({ grant, challenge }: ApprovalPage): JSX.Element =>
  challenge === null
    ? h('button', { class: 'approve', type: 'submit', form: 'approve' }, buttonText(choices(grant)))
    : h('a', { class: 'button', href: '#challenge' }, 'Approve …');

const mayApprove = ({ bar, passkey, challenge }: ApprovalPage): boolean =>
  bar === null && (passkey === null || passkey === 'ready') && !(challenge instanceof Date);

/** Why there is no Approve. */
function whyNot({ bar, passkey, challenge }: ApprovalPage): JSX.Element | null {
  if (bar !== null) return h('p', { class: 'fault' }, h(Foreign, { text: bar, max: 900 }));
  if (challenge instanceof Date)
    return h('p', { class: 'fault' }, [
      'You picked a sentence that this request does not say. Read it, and open this page again at ',
      h(Moment, { at: challenge }),
      ' to approve it. You may deny it now.',
    ]);
  if (passkey === 'unavailable') return h('p', { class: 'fault' }, `A passkey must sign for this. ${needsName}`);
  if (passkey !== 'none') return null;
  return h('p', { class: 'fault' }, [
    'A passkey of yours must sign for this, and you have none here. ',
    h('a', { href: '/passkeys' }, 'Add one'),
    ', then come back. You may deny it.',
  ]);
}

const buttonText = ({ approve, less }: { approve: string; less: string }) => [
  h('span', { class: 'whole' }, approve),
  h('span', { class: 'less' }, less),
];

/** Where an approval of the reader's own waits to be collected, or for others'. */
function takeBack({ grant, csrf, mayWithdraw }: ApprovalPage): JSX.Element | null {
  if (!mayWithdraw) return null;
  return h('form', { class: 'card', method: 'post', action: `/approvals/${grant.id}` }, [
    h('input', { type: 'hidden', name: 'csrf', value: csrf }),
    h('input', { type: 'hidden', name: 'verdict', value: 'withdraw' }),
    h('p', { class: 'small soft' }, 'You approved this, and the agent has not collected it.'),
    h('button', { class: 'deny', type: 'submit' }, 'Take your approval back'),
  ]);
}

function open({ grant, now }: ApprovalPage): boolean {
  return (
    grant.status === 'pending' &&
    grant.decide_by !== null &&
    grant.decide_by > now &&
    (grant.session_status === 'active' ||
      grant.session_status === 'asleep' ||
      (grant.capability === aboutSession && grant.session_status === 'suspended')) &&
    grant.session_expires_at > now
  );
}

/** Against what the agent was last given of this capability: what is new, and what is gone. */
function difference({ grant, description, lastGiven }: ApprovalPage): JSX.Element | null {
  if (isQuestion(grant.capability)) return null;
  if (lastGiven === null)
    return h('p', { class: 'small soft' }, 'This agent was never given anything of this capability.');
  const [now, was] = [description.summary, lastGiven.summary];
  const changed = [
    ...now.filter((line) => !was.includes(line)).map((line) => ['new', line] as const),
    ...was.filter((line) => !now.includes(line)).map((line) => ['not any more', line] as const),
    ...(lastGiven.ttlSeconds === grant.plan.ttl_seconds
      ? []
      : [['lifetime', `${duration(grant.plan.ttl_seconds)}, before ${duration(lastGiven.ttlSeconds)}`] as const]),
  ];
  const since = ['it was last given (', h(Moment, { at: lastGiven.at }), ')'];
  if (changed.length === 0) return h('p', { class: 'small soft' }, ['The same as ', ...since, '.']);
  return h('div', { class: 'small difference' }, [
    h('p', { class: 'soft' }, ['Other than what ', ...since, ':']),
    h(
      'ul',
      null,
      changed.map(([how, line]) => h('li', null, [h('b', null, `${how}: `), h(Foreign, { text: line, max: 600 })])),
    ),
  ]);
}

function permission(page: ApprovalPage): JSX.Element {
  const { grant, about, description } = page;
  return h('section', { class: 'card' }, [
    h('h2', null, isQuestion(grant.capability) ? 'What you are asked' : 'What it will be able to do'),
    h(
      'ul',
      { class: 'powers' },
      description.summary.map((line) => h('li', null, h(Foreign, { text: line, max: 600 }))),
    ),
    difference(page),
    h('p', { class: 'revocability' }, [
      h('b', null, isQuestion(grant.capability) ? 'Afterwards. ' : 'Ending it early. '),
      h(Foreign, { text: description.revocability.text, max: 600 }),
    ]),
    h('details', null, [
      h(
        'summary',
        null,
        isQuestion(grant.capability)
          ? 'Exactly what a yes is to'
          : `Exactly as ${visible(grant.provider)} will be asked for it`,
      ),
      h('pre', { tabIndex: 0 }, h('bdi', null, prettyJson(grant.plan))),
      h('p', { class: 'small soft' }, ['Plan digest: ', h('code', null, grant.plan_digest)]),
    ]),
    about.capabilityDescription === undefined
      ? null
      : h('p', { class: 'small soft' }, [
          'The manifest says of this capability: ',
          h(Foreign, { text: about.capabilityDescription, max: 400 }),
        ]),
  ]);
}

function asking({ grant, about, now }: ApprovalPage): JSX.Element {
  const inputs = Object.entries(grant.inputs);
  return h('section', { class: 'card' }, [
    h('h2', null, 'Who asks, and for what'),
    h('dl', { class: 'facts' }, [
      fact('Agent', [
        h(Foreign, { text: grant.agent }),
        about.agentDescription === undefined ? null : described(about.agentDescription),
      ]),
      fact('Answers for it', h(Foreign, { text: about.owner })),
      fact('On behalf of', forWhomFact(grant)),
      fact('Started by', startedByFact(grant)),
      fact('Task', [
        h(Foreign, { text: grant.task_type }),
        about.taskDescription === undefined ? null : described(about.taskDescription),
      ]),
      ...inputs.map(([name, value]) => fact(visible(name), h('code', null, h(Foreign, { text: plain(value) })))),
      fact('Asked', [h(Moment, { at: grant.requested_at }), `, ${ago(grant.requested_at, now)}`]),
      fact('Session', h('a', { href: `/sessions/${grant.session_id}` }, grant.session_id)),
    ]),
  ]);
}

function words(grant: ApprovalView): JSX.Element {
  if (grant.justification === null || grant.justification.trim() === '') {
    return h('section', { class: 'card agent-words' }, h('h2', null, 'The agent gave no reason.'));
  }
  const { text, left } = clamp(visible(grant.justification.trim(), '\n'), justificationMax);
  return h('section', { class: 'card agent-words', 'aria-label': 'Written by the agent' }, [
    h('h2', null, 'The agent’s own words'),
    h(
      'p',
      { class: 'small soft' },
      'Written by the agent, checked by nobody, and no part of any rule. It may be wrong, or meant to persuade you.',
    ),
    h('blockquote', { dir: 'auto' }, h('bdi', null, text)),
    left === 0 ? null : h('p', { class: 'small soft' }, `${left} more characters are not shown.`),
  ]);
}

function lately({ earlier, now }: ApprovalPage): JSX.Element {
  if (earlier.length === 0) {
    return h('section', { class: 'card' }, [
      h('h2', null, 'Lately'),
      h('p', { class: 'soft' }, 'This agent has asked for nothing before.'),
    ]);
  }
  const rows = earlier.map((other) =>
    h('tr', null, [
      h('td', null, [h(Foreign, { text: other.capability }), h('br', null), taskOf(other)]),
      h('td', null, statusTag(other.status, other.reason)),
      h('td', { class: 'small soft' }, [h(Moment, { at: other.requested_at }), ' · ', ago(other.requested_at, now)]),
    ]),
  );
  return h('section', { class: 'card' }, [
    h('h2', null, 'What this agent was granted and denied lately'),
    h('table', { class: 'stack' }, [
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          ['Asked for', 'Outcome', 'When'].map((title) => h('th', { scope: 'col' }, title)),
        ),
      ),
      h('tbody', null, rows),
    ]),
  ]);
}

function taskOf(other: EarlierGrant): JSX.Element {
  const whom = forWhom(other);
  return h('span', { class: 'small soft' }, [
    h(Foreign, { text: other.task_type }),
    whom === null ? null : [' for ', ...whom],
  ]);
}

function timeLeft({ grant, now }: ApprovalPage): string {
  return duration(((grant.decide_by ?? now).getTime() - now.getTime()) / 1000);
}

function verdict(page: ApprovalPage): JSX.Element {
  const { grant, csrf, now, minTtlSeconds, fault } = page;
  const choice = choices(grant);
  const whole = grant.plan.ttl_seconds;
  const shorter = steps.filter((step) => step < whole && step >= minTtlSeconds).reverse();
  const by = grant.decide_by ?? now;
  const signs = page.passkey === null ? {} : { 'data-passkey': `/approvals/${grant.id}/passkey` };
  const form = (kind: 'approve' | 'deny', fields: ComponentChildren) =>
    h('form', { id: kind, method: 'post', action: `/approvals/${grant.id}`, ...(kind === 'approve' ? signs : {}) }, [
      h('input', { type: 'hidden', name: 'shown_at', value: now.toISOString() }),
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      h('input', { type: 'hidden', name: 'plan_digest', value: grant.plan_digest }),
      h('input', { type: 'hidden', name: 'verdict', value: kind }),
      fields,
    ]);
  return h('section', { class: 'card verdict', 'aria-label': 'Your decision' }, [
    h('p', { class: 'deadline' }, [
      h('strong', null, `${timeLeft(page)} left`),
      h('span', { class: 'soft' }, ['Undecided at ', h(Moment, { at: by }), ` ${choice.undecided}.`]),
    ]),
    approvalsSoFar(page.approvals),
    whyNot(page),
    mayApprove(page)
      ? form('approve', [
          withholdFields(grant),
          partFields(page.parts, page.levels),
          ...(hasLifetime(grant)
            ? [
                h('label', { for: 'ttl' }, 'For how long'),
                h('select', { id: 'ttl', name: 'ttl_seconds' }, [
                  h('option', { value: whole, selected: true, class: 'as-asked' }, `${duration(whole)} (as asked)`),
                  ...shorter.map((step) => h('option', { value: step }, `only ${duration(step)}`)),
                ]),
              ]
            : []),
          page.challenge === null || page.challenge instanceof Date ? null : challengeFields(page.challenge),
          page.passkey === null ? null : signing(),
          h('button', { class: 'approve', type: 'submit' }, buttonText(choice)),
        ])
      : null,
    form('deny', [
      h('label', { for: 'reason' }, 'Why not (a reason is needed; the agent sees it)'),
      h(
        'textarea',
        { id: 'reason', name: 'reason', rows: 2, maxLength: reasonMax, required: true },
        fault?.reason ?? '',
      ),
      h('button', { class: 'deny', type: 'submit' }, choice.deny),
    ]),
  ]);
}

/** One of the sentences stands above on this page. */
const challengeFields = ({ token, options }: ShownChallenge) =>
  h('fieldset', { class: 'challenge', id: 'challenge' }, [
    h('legend', null, 'Before you approve: which of these does this request say?'),
    h('input', { type: 'hidden', name: 'challenge', value: token }),
    options.map(({ value, sentence }) =>
      h('label', { class: 'choice' }, [
        h('input', { type: 'radio', name: 'sentence', value, required: true }),
        ' ',
        h(Foreign, { text: sentence, max: 600 }),
      ]),
    ),
  ]);

const signing = () => [
  h('p', { class: 'small soft' }, 'Your passkey signs for exactly what you choose here.'),
  passkeyFields(),
];

/** A tick for each member of each list, all set: what is not ticked is left out. And what may be lowered. */
function partFields(parts: Part[], levels: Level[]): JSX.Element | null {
  if (parts.length + levels.length === 0) return null;
  const choices = [
    ...(parts.length === 0 ? [] : [`${parts.length} parts`]),
    ...(levels.length === 0 ? [] : [`${levels.length} ${levels.length === 1 ? 'level' : 'levels'}`]),
  ];
  return h('details', { class: 'parts' }, [
    h('summary', null, `Approve less of it: ${choices.join(', ')}`),
    ...[...Map.groupBy(parts, ({ list }) => list)].map(([list, members]) =>
      h('fieldset', null, [
        h('legend', null, h(Foreign, { text: list })),
        members.map(({ pointer, text }) =>
          h('label', { class: 'choice' }, [
            h('input', { type: 'hidden', name: 'part', value: pointer }),
            h('input', { type: 'checkbox', name: 'keep', value: pointer, checked: true }),
            ' ',
            h(Foreign, { text, max: 300 }),
          ]),
        ),
      ]),
    ),
    ...levels.map(levelField),
  ]);
}

/** A choice of lower steps, or a field for a longer text. */
function levelField(level: Level, index: number): JSX.Element {
  const id = `level-${index}`;
  const { pointer, name, now, steps, begins } = level;
  return h('fieldset', { class: 'level' }, [
    h('label', { for: id }, [h(Foreign, { text: name }), ', now ', h(Foreign, { text: now, max: 300 })]),
    steps !== undefined
      ? h('select', { id, name: `lower${pointer}` }, [
          h('option', { value: '', selected: true, class: 'as-asked' }, 'as asked'),
          ...steps.map(({ key, text }) => h('option', { value: key }, `only: ${text}`)),
        ])
      : h('input', {
          id,
          name: `lower${pointer}`,
          type: 'text',
          value: '',
          // The button says what is chosen by whether this is shown.
          placeholder: 'as asked',
          maxLength: 1024,
          autocomplete: 'off',
          'aria-describedby': `${id}-how`,
        }),
    ...(steps !== undefined
      ? []
      : [
          h('p', { class: 'small soft', id: `${id}-how` }, [
            'Empty: as asked. Or a longer one',
            ...(begins === '' ? [''] : [', which begins with ', h(Foreign, { text: begins ?? '', max: 300 })]),
            ', to the letter, without patterns.',
          ]),
        ]),
  ]);
}

/** `1 of 2 approvals given, by … at …`; null where one person's is enough, whoever decides. */
export function approvalsSoFar(approvals: TermProgress<EarlierApproval>[]): JSX.Element | null {
  if (approvals.every(({ needed, from }) => needed === 1 && from === null)) return null;
  return h('ul', { class: 'small approvals' }, [
    approvals.map(({ needed, from, given }) =>
      h('li', null, [
        h('b', null, `${given.length} of ${needed} ${needed === 1 ? 'approval' : 'approvals'} given`),
        ...given.flatMap(({ reviewer, at }, index) => [
          index === 0 ? ', by ' : ' and ',
          h(Foreign, { text: bare(personRef(reviewer)) }),
          ' at ',
          h(Moment, { at }),
        ]),
        '. ',
        from === null
          ? 'Nobody says who started this run, so two people must approve it.'
          : ['Of ', ...from.flatMap((name, index) => [index === 0 ? '' : ', ', h(Foreign, { text: name })]), '.'],
      ]),
    ),
  ]);
}

/** The page of somebody who may not even see it: nothing of the plan, the task or the agent. */
export function barredPage(code: ReviewBlockerCode, person: Identity): JSX.Element {
  if (code === 'party')
    return notice(
      'Somebody else must decide this',
      'The session is said to act for you. Nobody approves their own request, whatever their role.',
    );
  const groups =
    person.groupsUnknown === true
      ? ' Your identity provider named no groups of yours at this sign-in, so no team’s requests are shown to you; an admin can change what it releases (WRIT_OIDC_GROUPS_CLAIM).'
      : '';
  return notice(
    'This is not yours to decide',
    `Only the owner of the agent or of the capability sees and decides this request.${groups}`,
  );
}

function fact(name: string, value: ComponentChildren): JSX.Element[] {
  return [h('dt', null, name), h('dd', null, value)];
}

function described(text: string): JSX.Element {
  return h('div', { class: 'small soft' }, h(Foreign, { text, max: 400 }));
}

function plain(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
