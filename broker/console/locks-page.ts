/** The page of locks: what stands, how far it has come, and the form that sets one. Pure. */
import { type ComponentChildren, h, type JSX } from 'preact';
import type { LockLevel, LockTarget } from '../core/vocabulary.ts';
import type { LockView } from '../locks/read-locks.ts';
import { reasonMax } from './admin-forms.ts';
import { Foreign } from './shell.ts';
import { ago, bare } from './text.ts';

export interface LocksPage {
  locks: LockView[];
  lockable: LockTarget[];
  csrf: string;
  /** Chosen already, by the link that led here. */
  chosen: LockTarget | null;
  now: Date;
  fault?: { message: string; reason: string } | undefined;
}

export function locksPage({ locks, lockable, csrf, chosen, now, fault }: LocksPage): JSX.Element {
  const standing = locks.filter(({ stands }) => stands);
  const earlier = locks.filter(({ stands }) => !stands);
  return h('div', null, [
    h('h1', null, 'Locks'),
    h(
      'p',
      { class: 'lede' },
      standing.length === 0
        ? 'Nothing is locked.'
        : `${standing.length === 1 ? 'One lock stands' : `${standing.length} locks stand`}.`,
    ),
    // In reading order the form stands first: whoever comes here in a hurry comes for it.
    h('div', { class: 'columns' }, [
      h('div', { class: 'aside' }, setForm(lockable, csrf, chosen, fault)),
      h('div', null, [
        ...standing.map((lock) => lockCard(lock, csrf, now)),
        earlier.length === 0
          ? null
          : h('section', { class: 'card' }, [
              h('h2', null, 'Lifted'),
              h(
                'ul',
                { class: 'leases' },
                earlier.map((lock) => h('li', null, told(lock, now))),
              ),
            ]),
      ]),
    ]),
  ]);
}

const groups: [level: LockLevel, title: string][] = [
  ['everything', 'Everything'],
  ['agent', 'An agent'],
  ['owner', 'All agents of an owner'],
  ['provider', 'A provider'],
  ['capability', 'A capability of an agent'],
];

/** A target as the form names it. */
export const targetText = ({ level, subject }: LockTarget): string => `${level} ${subject}`;

function setForm(
  lockable: LockTarget[],
  csrf: string,
  chosen: LockTarget | null,
  fault: LocksPage['fault'],
): JSX.Element {
  const options = (level: LockLevel) =>
    lockable
      .filter((target) => target.level === level)
      .map((target) =>
        h(
          'option',
          {
            value: targetText(target),
            selected: chosen !== null && targetText(chosen) === targetText(target),
          },
          level === 'everything' ? 'everything, for everybody' : target.subject,
        ),
      );
  return h('section', { class: 'card verdict' }, [
    h('h2', null, 'Stop now'),
    h('form', { method: 'post', action: '/locks' }, [
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      h('label', { for: 'target' }, 'What'),
      h('select', { id: 'target', name: 'target', required: true }, [
        h('option', { value: '', selected: chosen === null }, 'Choose'),
        ...groups.map(([level, title]) => h('optgroup', { label: title }, options(level))),
      ]),
      h('label', { for: 'reason' }, 'Why (kept on the record)'),
      h(
        'textarea',
        { id: 'reason', name: 'reason', rows: 2, maxLength: reasonMax, required: true },
        fault?.reason ?? '',
      ),
      fault === undefined ? null : h('p', { class: 'fault', role: 'alert' }, fault.message),
      h('button', { class: 'deny', type: 'submit' }, 'Lock it'),
    ]),
    h(
      'p',
      { class: 'small soft' },
      'It holds at once, in every process. Sessions under it end and their credentials are revoked. Another admin than you must lift it.',
    ),
  ]);
}

function lockCard(lock: LockView, csrf: string, now: Date): JSX.Element {
  return h('section', { class: 'card' }, [
    h('h2', null, whatOf(lock)),
    ...told(lock, now),
    lock.proven
      ? h('form', { method: 'post', action: `/locks/${lock.id}/lift` }, [
          h('input', { type: 'hidden', name: 'csrf', value: csrf }),
          h('label', { for: `why-${lock.id}` }, 'Why it may be lifted (another admin than the one who set it)'),
          h('textarea', { id: `why-${lock.id}`, name: 'reason', rows: 1, maxLength: reasonMax, required: true }),
          h('p', null, h('button', { type: 'submit' }, 'Lift it')),
        ])
      : h(
          'p',
          { class: 'fault' },
          'Its row was written or changed by somebody other than this broker. It stands all the same; lock it anew before another admin can lift it, and find out who changed the database.',
        ),
  ]);
}

function whatOf({ level, subject }: LockTarget): ComponentChildren {
  return level === 'everything' ? 'Everything' : [`The ${level} `, h(Foreign, { text: subject })];
}

function told(lock: LockView, now: Date): JSX.Element[] {
  const { sessions, leases } = lock;
  const counts: [number, string, string][] = [
    [sessions.ended, `session${sessions.ended === 1 ? '' : 's'} ended`, ''],
    [sessions.ending, 'still to end', 'wait'],
    [leases.waiting, 'waiting to be revoked', 'wait'],
    [leases.revoking, 'being revoked', 'wait'],
    [leases.not_provable_yet, 'ordered, not provable yet', 'wait'],
    [leases.revoked, 'revoked, proven', 'good'],
    [leases.expired, 'expired', 'good'],
  ];
  const shown = counts.filter(([count]) => count > 0);
  return [
    ...(lock.stands ? [] : [h('b', null, whatOf(lock))]),
    h('p', { class: 'small soft' }, [
      h(Foreign, { text: bare(lock.set_by) }),
      `, ${ago(new Date(lock.set_at), now)}: `,
      h(Foreign, { text: lock.reason, max: reasonMax }),
    ]),
    ...(lock.lifted_by === null
      ? []
      : [
          h('p', { class: 'small soft' }, [
            'Lifted by ',
            h(Foreign, { text: bare(lock.lifted_by) }),
            lock.lifted_at === null ? '' : `, ${ago(new Date(lock.lifted_at), now)}`,
            ': ',
            h(Foreign, { text: lock.lift_reason ?? '', max: reasonMax }),
          ]),
        ]),
    h(
      'p',
      null,
      shown.length === 0
        ? h('span', { class: 'tag' }, 'nothing lived under it')
        : shown.flatMap(([count, words, tone]) => [
            h('span', { class: `tag ${tone}`.trim() }, `${count} ${words}`),
            ' ',
          ]),
    ),
  ];
}
