/** The pages of break-glass: what there is, the form that asks, and one of them. Pure. */
import { type ComponentChildren, h, type JSX } from 'preact';
import type { BreakGlassView } from '../break-glass/read-break-glasses.ts';
import type { PasskeyState } from '../people/passkeys/passkey-state.ts';
import { needsName } from '../people/passkeys/relying-party.ts';
import { reasonMax } from './admin-forms.ts';
import type { Breakable } from './breakable.ts';
import { passkeyFields } from './passkeys-page.ts';
import { Foreign, Moment } from './shell.ts';
import { bare, duration } from './text.ts';

export const incidentMax = 200;
export const wordsMax = 2000;

export interface Told {
  message: string;
}

export interface BreakGlassesPage {
  all: BreakGlassView[];
  breakable: Breakable[];
  longestSeconds: number;
  csrf: string;
  /** Whether this person may ask for one. */
  mayAsk: boolean;
  passkey: PasskeyState;
  fault?: Told | undefined;
}

export function breakGlassesPage({
  all,
  breakable,
  longestSeconds,
  csrf,
  mayAsk,
  passkey,
  fault,
}: BreakGlassesPage): JSX.Element {
  const now = all.filter(({ state }) => state !== 'reviewed' && state !== 'lapsed');
  const earlier = all.filter(({ state }) => state === 'reviewed' || state === 'lapsed');
  return h('div', null, [
    h('h1', null, 'Break the glass'),
    h(
      'p',
      { class: 'lede' },
      'Two people with passkeys have an agent given what its rules refuse, for a short time. Everybody on the alert list is told, and somebody else must review it.',
    ),
    mayAsk && now.length > 0 ? h('a', { class: 'button jump', href: '#ask' }, 'Ask for another') : null,
    h('div', { class: 'columns' }, [
      h('div', null, [
        now.length === 0 ? h('p', null, 'No glass is broken, and none is to be reviewed.') : null,
        ...now.map((one) =>
          card(one, h('p', null, h('a', { class: 'button', href: `/break-glass/${one.id}` }, 'Open'))),
        ),
        earlier.length === 0
          ? null
          : h('section', { class: 'card' }, [
              h('h2', null, 'Earlier'),
              h(
                'ul',
                { class: 'leases' },
                earlier.map((one) =>
                  h('li', null, [
                    h('a', { href: `/break-glass/${one.id}` }, [
                      h(Foreign, { text: one.agent }),
                      ': ',
                      incidentOf(one),
                    ]),
                    ' ',
                    stateTag(one),
                  ]),
                ),
              ),
            ]),
      ]),
      mayAsk
        ? h('div', { class: 'aside', id: 'ask' }, askForm({ breakable, longestSeconds, csrf, passkey, fault }))
        : null,
    ]),
  ]);
}

/** Why a person has no form that a passkey signs for; null = they can sign. */
function cannotSign(passkey: PasskeyState): JSX.Element | null {
  if (passkey === 'ready') return null;
  if (passkey === 'unavailable') return h('p', { class: 'fault' }, `A passkey must sign for this. ${needsName}`);
  return h('p', { class: 'fault' }, [
    'A passkey of yours must sign for this, and you have none here. ',
    h('a', { href: '/passkeys' }, 'Add one'),
    ', then come back.',
  ]);
}

function askForm({
  breakable,
  longestSeconds,
  csrf,
  passkey,
  fault,
}: Omit<BreakGlassesPage, 'all' | 'mayAsk'>): JSX.Element {
  if (breakable.length === 0)
    return h('section', { class: 'card' }, [
      h('h2', null, 'Ask'),
      h('p', null, 'No manifest in force marks a capability with break_glass, so there is nothing to ask for.'),
    ]);
  const bar = cannotSign(passkey);
  if (bar !== null) return h('section', { class: 'card' }, [h('h2', null, 'Ask'), bar]);
  const longest = Math.floor(longestSeconds / 60);
  return h('section', { class: 'card verdict' }, [
    h('h2', null, 'Ask'),
    h('form', { method: 'post', action: '/break-glass', 'data-passkey': '/break-glass/options' }, [
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      ...breakable.map(({ agent, capabilities }) =>
        h('fieldset', null, [
          h('legend', null, h(Foreign, { text: agent })),
          ...capabilities.map((name) =>
            h('label', { class: 'choice' }, [
              h('input', { type: 'checkbox', name: 'capability', value: `${agent}/${name}` }),
              ' ',
              h(Foreign, { text: name }),
            ]),
          ),
        ]),
      ),
      h('label', { for: 'session' }, 'For one session alone (its id; empty: for every session of the agent)'),
      h('input', { id: 'session', name: 'session', type: 'text', maxLength: 24, autocomplete: 'off' }),
      h('label', { for: 'incident' }, 'The incident, as your other systems name it'),
      h('input', {
        id: 'incident',
        name: 'incident',
        type: 'text',
        required: true,
        maxLength: incidentMax,
        autocomplete: 'off',
      }),
      h('label', { for: 'reason' }, 'Why (kept on the record, told to everybody on the list)'),
      h('textarea', { id: 'reason', name: 'reason', rows: 2, maxLength: reasonMax, required: true }),
      h('label', { for: 'minutes' }, `For how many minutes, at most ${longest}`),
      h('input', {
        id: 'minutes',
        name: 'minutes',
        type: 'number',
        min: 1,
        max: longest,
        value: longest,
        required: true,
      }),
      fault === undefined ? null : h('p', { class: 'fault', role: 'alert' }, fault.message),
      passkeyFields(),
      h('button', { class: 'deny', type: 'submit' }, 'Ask, with my passkey'),
    ]),
    h('p', { class: 'small soft' }, 'Nothing is given until another person has agreed, with a passkey of their own.'),
  ]);
}

export interface BreakGlassPage {
  one: BreakGlassView;
  csrf: string;
  /** Why this person may not agree; null = they may. Of one that waits. */
  notAgree: string | null;
  /** The same of reviewing one that is over. */
  notReview: string | null;
  passkey: PasskeyState;
  fault?: Told | undefined;
}

export function breakGlassPage({ one, csrf, notAgree, notReview, passkey, fault }: BreakGlassPage): JSX.Element {
  const waits = one.state === 'waiting';
  return h('div', null, [
    h('p', { class: 'kicker' }, h('a', { href: '/break-glass' }, 'Break the glass')),
    h('h1', null, incidentOf(one)),
    one.proven ? h('p', { class: 'lede' }, inOneSentence(one)) : null,
    fault === undefined ? null : h('p', { class: 'fault', role: 'alert' }, fault.message),
    one.proven
      ? null
      : h(
          'p',
          { class: 'fault' },
          'Its row was written or changed by somebody other than this broker. It gives nothing. Find out who changed the database.',
        ),
    h('div', { class: 'columns' }, [
      h('div', null, [card(one, null), usesCard(one)]),
      h('div', { class: 'aside' }, [
        waits ? agreeForm(one, csrf, notAgree, passkey) : null,
        waits || one.state === 'open' ? closeForm(one, csrf) : null,
        one.state === 'to_review' ? reviewForm(one, csrf, notReview) : null,
      ]),
    ]),
  ]);
}

/** What is read first: who lets which agent have what, and until when. */
function inOneSentence(one: BreakGlassView): ComponentChildren {
  const whose = [
    one.session === null ? 'every session of ' : 'one session of ',
    h('b', null, h(Foreign, { text: one.agent })),
  ];
  const what = h('b', null, listed(one.capabilities));
  const past = ', past the rules of its manifest and without anybody’s approval.';
  switch (one.state) {
    case 'waiting':
      return [person(one.asked_by), ' asks that ', whose, ' be given ', what, ` for ${duration(one.seconds)}`, past];
    case 'open':
      return [
        [person(one.asked_by), ' and ', person(one.agreed_by!), ' broke the glass: until ', time(one.expires_at), ', '],
        [whose, ' is given ', what, past],
      ];
    case 'to_review':
      return [
        'It is over. Meanwhile ',
        whose,
        ' could have ',
        what,
        '. Somebody who was neither of the two must review it.',
      ];
    case 'reviewed':
      return ['It is over, and reviewed. Meanwhile ', whose, ' could have ', what, '.'];
    case 'lapsed':
      return 'It never began: nothing was given by it.';
  }
}

function agreeForm({ id }: BreakGlassView, csrf: string, notAgree: string | null, passkey: PasskeyState): JSX.Element {
  const bar = notAgree === null ? cannotSign(passkey) : h('p', null, notAgree);
  if (bar !== null) return h('section', { class: 'card' }, [h('h2', null, 'Agree'), bar]);
  return h('section', { class: 'card verdict' }, [
    h('h2', null, 'Agree'),
    h('p', null, 'From then on it is given that, in your name too. Everybody on the alert list is told.'),
    h('form', { method: 'post', action: `/break-glass/${id}/agree`, 'data-passkey': `/break-glass/${id}/options` }, [
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      passkeyFields(),
      h('button', { class: 'deny', type: 'submit' }, 'Break the glass, with my passkey'),
    ]),
  ]);
}

function closeForm({ id, state }: BreakGlassView, csrf: string): JSX.Element {
  const [title, button, then] =
    state === 'waiting'
      ? ['Refuse', 'Refuse it', 'Then nobody can agree to it any more.']
      : ['Close', 'Close it', 'At once, in every process; what was given by it is revoked.'];
  return h('section', { class: 'card' }, [
    h('h2', null, title),
    h('form', { method: 'post', action: `/break-glass/${id}/close` }, [
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      h('label', { for: 'why' }, 'Why (kept on the record)'),
      h('textarea', { id: 'why', name: 'reason', rows: 2, maxLength: reasonMax, required: true }),
      h('button', { type: 'submit' }, button),
    ]),
    h('p', { class: 'small soft' }, then),
  ]);
}

function reviewForm({ id }: BreakGlassView, csrf: string, notReview: string | null): JSX.Element {
  if (notReview !== null) return h('section', { class: 'card' }, [h('h2', null, 'Review'), h('p', null, notReview)]);
  return h('section', { class: 'card verdict' }, [
    h('h2', null, 'Review'),
    h('form', { method: 'post', action: `/break-glass/${id}/review` }, [
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      h('label', { for: 'words' }, 'What happened, whether it was right, what follows (kept on the record)'),
      h('textarea', { id: 'words', name: 'words', rows: 5, maxLength: wordsMax, required: true }),
      h('button', { type: 'submit' }, 'It is reviewed'),
    ]),
  ]);
}

function card(one: BreakGlassView, more: ComponentChildren): JSX.Element {
  const facts: [string, ComponentChildren][] = [
    ['For', one.session === null ? 'every session of it' : h('a', { href: `/sessions/${one.session}` }, one.session)],
    ['What', listed(one.capabilities)],
    ['Incident', incidentOf(one)],
    ['Why', h(Foreign, { text: one.reason, max: reasonMax })],
    ['For how long', duration(one.seconds)],
    ['Asked by', [person(one.asked_by), ', ', time(one.asked_at)]],
    ...(one.agreed_by === null
      ? []
      : [['Agreed by', [person(one.agreed_by), ', ', time(one.agreed_at)]] as [string, ComponentChildren]]),
    ...(one.ended_how === null
      ? []
      : ([['Ended', [endWords[one.ended_how] ?? one.ended_how, ' ', endedBy(one), time(one.ended_at)]]] as [
          string,
          ComponentChildren,
        ][])),
    ...(one.end_words === null
      ? []
      : ([['Said then', h(Foreign, { text: one.end_words, max: reasonMax })]] as [string, ComponentChildren][])),
    ...(one.reviewed_by === null
      ? []
      : ([
          ['Reviewed by', [person(one.reviewed_by), ', ', time(one.reviewed_at)]],
          ['Review', h(Foreign, { text: one.review ?? '', max: wordsMax })],
        ] as [string, ComponentChildren][])),
  ];
  return h('section', { class: 'card' }, [
    h('h2', null, [h(Foreign, { text: one.agent }), ' ', stateTag(one)]),
    h(
      'dl',
      { class: 'facts' },
      facts.flatMap(([name, value]) => [h('dt', null, name), h('dd', null, value)]),
    ),
    more,
  ]);
}

const endWords: { [how: string]: string } = {
  expired: 'its time was over,',
  closed: 'closed',
  lapsed: 'nobody agreed in time,',
  refused: 'refused',
  signed_off: 'the identity provider signed one of the two off,',
};
const endedBy = ({ ended_how, ended_by }: BreakGlassView): ComponentChildren =>
  ended_how === 'closed' || ended_how === 'refused' ? ['by ', person(ended_by ?? ''), ', '] : '';
const listed = (names: readonly string[]) =>
  names.flatMap((name, at) => [at === 0 ? '' : ', ', h(Foreign, { text: name })]);
const person = (name: string) => h(Foreign, { text: bare(name) });
const time = (at: string | null) => (at === null ? null : h(Moment, { at: new Date(at) }));
const incidentOf = ({ incident }: BreakGlassView) => h(Foreign, { text: incident, max: incidentMax });

function stateTag(one: BreakGlassView): JSX.Element {
  const tag = (tone: string, ...words: ComponentChildren[]) => h('span', { class: `tag ${tone}`.trim() }, words);
  switch (one.state) {
    case 'waiting':
      return tag('wait', 'waits for another person until ', time(one.agree_by));
    case 'open':
      return tag('bad', 'open until ', time(one.expires_at));
    case 'to_review':
      return one.overdue ? tag('bad', 'review overdue since ', time(one.review_due_at)) : tag('wait', 'to be reviewed');
    case 'reviewed':
      return tag('good', 'reviewed');
    case 'lapsed':
      return tag('', 'never began');
  }
}

function usesCard({ uses, state }: BreakGlassView): JSX.Element | null {
  if (state === 'waiting' || state === 'lapsed') return null;
  return h('section', { class: 'card' }, [
    h('h2', null, 'What was given by it'),
    uses.length === 0
      ? h('p', { class: 'soft' }, 'Nothing.')
      : h(
          'ul',
          { class: 'leases' },
          uses.map((use) =>
            h('li', null, [
              h(Foreign, { text: use.capability }),
              ', ',
              time(use.at),
              ', in ',
              h('a', { href: `/sessions/${use.session}` }, use.session),
              ' ',
              h('span', { class: 'tag' }, use.lease_status ?? 'not minted'),
            ]),
          ),
        ),
  ]);
}

/** For the start page: what somebody should look at, and the way there; null = nothing is there to see. */
export function breakGlassLine(all: readonly BreakGlassView[], mayAsk: boolean): JSX.Element | null {
  const count = (holds: (one: BreakGlassView) => boolean) => all.filter(holds).length;
  const [waiting, open, review, overdue] = [
    count(({ state }) => state === 'waiting'),
    count(({ state }) => state === 'open'),
    count(({ state, overdue: late }) => state === 'to_review' && !late),
    count(({ overdue: late }) => late),
  ];
  const words = [
    ...(open > 0 ? [`The glass is broken${open > 1 ? `, ${open} times` : ''}.`] : []),
    ...(waiting > 0 ? ['Somebody asks to break the glass.'] : []),
    ...(overdue > 0
      ? [`${overdue === 1 ? 'A break-glass was' : `${overdue} break-glasses were`} not reviewed in time.`]
      : []),
    ...(review > 0 ? [`${review === 1 ? 'A break-glass is' : `${review} break-glasses are`} to be reviewed.`] : []),
  ];
  if (words.length > 0)
    return h('p', { class: 'fault', role: 'status' }, [
      `${words.join(' ')} `,
      h('a', { href: '/break-glass' }, 'Look'),
    ]);
  return mayAsk
    ? h(
        'p',
        { class: 'small' },
        h('a', { href: '/break-glass' }, 'Production burns and policy says no: break the glass'),
      )
    : null;
}
