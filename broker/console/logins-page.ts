/** Who is signed in: since when, how, and how it is ended. Pure. */
import { h, type JSX } from 'preact';
import type { LiveLogin } from '../people/live-logins.ts';
import { reasonMax } from './admin-forms.ts';
import { personForm } from './person-form.ts';
import { Foreign, Moment } from './shell.ts';
import { ago, bare } from './text.ts';

/** So many are listed, the youngest. */
export const loginsMax = 200;

/** What came of the form that was just sent. */
export interface Told {
  status?: number;
  fault?: string;
  done?: string;
}

export interface LoginsPage {
  logins: LiveLogin[];
  /** The reader's own. */
  own: string;
  csrf: string;
  now: Date;
  told: Told;
}

const methods: { [method in LiveLogin['method']]: string } = {
  oidc: 'identity provider',
  fresh_oidc: 'identity provider, signed in anew',
  passkey: 'passkey alone',
};

export function loginsPage(page: LoginsPage): JSX.Element {
  const { logins, told } = page;
  return h('div', null, [
    h('h1', null, 'Who is signed in'),
    h('p', { class: 'lede' }, 'Ending a login signs that browser out at once. The person can sign in again.'),
    told.fault === undefined
      ? null
      : h('p', { class: 'fault', role: 'alert' }, h(Foreign, { text: told.fault, max: 600 })),
    told.done === undefined ? null : h('p', { role: 'status' }, told.done),
    endAll(page),
    h('section', { class: 'card' }, [
      h('h2', null, logins.length >= loginsMax ? `The latest ${loginsMax} logins` : 'Logins'),
      h('table', { class: 'stack' }, [
        h(
          'thead',
          null,
          h(
            'tr',
            null,
            ['Who', 'Since', 'Last seen', 'End it'].map((title) => h('th', { scope: 'col' }, title)),
          ),
        ),
        h(
          'tbody',
          null,
          logins.map((login) => row(login, page)),
        ),
      ]),
    ]),
  ]);
}

function endAll({ csrf }: LoginsPage): JSX.Element {
  return h('section', { class: 'card' }, [
    h('h2', null, 'End all logins of a person'),
    h(
      'p',
      { class: 'small soft' },
      'Nobody signs in as them with a passkey either, until the identity provider has confirmed them again.',
    ),
    personForm({ action: '/logins/end', csrf, why: 'Why (kept on the record)', button: 'End them' }),
  ]);
}

function row(login: LiveLogin, { own, csrf, now }: LoginsPage): JSX.Element {
  const who = bare(login.person);
  const id = `why-${login.id.slice(0, 12)}`;
  return h('tr', null, [
    h('td', null, [
      h(Foreign, { text: who }),
      login.id === own ? ' (this one)' : '',
      login.stands ? null : h('div', null, h('span', { class: 'tag' }, 'stands no more')),
    ]),
    h('td', { class: 'small soft' }, [
      h(Moment, { at: new Date(login.since) }),
      `, by ${methods[login.method]}; until `,
      h(Moment, { at: new Date(login.until) }),
    ]),
    h('td', { class: 'small soft' }, ago(new Date(login.last_seen), now)),
    h(
      'td',
      null,
      h('form', { method: 'post', action: '/logins/end' }, [
        h('input', { type: 'hidden', name: 'csrf', value: csrf }),
        h('input', { type: 'hidden', name: 'login', value: login.id }),
        h('label', { for: id, class: 'small' }, 'Why'),
        h('input', { type: 'text', id, name: 'reason', required: true, maxLength: reasonMax, autocomplete: 'off' }),
        h('button', { class: 'quiet', type: 'submit', 'aria-label': `End it: the login of ${who}` }, 'End it'),
      ]),
    ),
  ]);
}
