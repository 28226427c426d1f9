/** A person's own passkeys, and what an admin can do about somebody else's. Pure: rows in, tree out. */
import { type ComponentChildren, h, type JSX } from 'preact';
import type { Passkey } from '../people/passkeys/stored-passkey.ts';
import { personForm } from './person-form.ts';
import { Foreign, Moment } from './shell.ts';

export interface PasskeysPage {
  passkeys: Passkey[];
  /** Why there can be none; null = there can. */
  unavailable: string | null;
  /** The first one may be added now, or one that there is vouches for it. */
  mayAdd: boolean;
  csrf: string;
  isAdmin: boolean;
  nameMax: number;
  /** Why the form just sent was not taken, or what became of it. */
  told?: { kind: 'fault' | 'done'; text: string } | undefined;
}

/** What a form that a passkey signs for has besides its own fields. */
export function passkeyFields(): JSX.Element[] {
  return [
    h('input', { type: 'hidden', name: 'assertion', value: '' }),
    h('p', { class: 'fault', role: 'alert', 'data-told': true, hidden: true }),
    // Taken away by the script: what says that there is none must not hang on the browser's own idea of it.
    h(
      'p',
      { class: 'small', 'data-needs-script': true },
      'A passkey is used by script, and your browser runs none here: this cannot be sent.',
    ),
  ];
}

export function passkeysPage(page: PasskeysPage): JSX.Element {
  const { passkeys, unavailable, told } = page;
  return h('div', null, [
    h('h1', null, 'Your passkeys'),
    h(
      'p',
      { class: 'lede' },
      'A passkey signs for what you approve where the manifest asks for one, and signs you in while your identity provider does not answer.',
    ),
    told === undefined
      ? null
      : h('p', { class: told.kind, role: told.kind === 'fault' ? 'alert' : 'status' }, told.text),
    unavailable === null ? null : h('p', { class: 'fault' }, unavailable),
    h('section', { class: 'card' }, [
      h('h2', null, passkeys.length === 0 ? 'You have none' : 'What you have'),
      passkeys.length === 0 ? null : passkeyTable(page),
      unavailable === null ? adding(page) : null,
    ]),
    page.isAdmin ? forAdmins(page) : null,
  ]);
}

function passkeyTable({ passkeys, csrf }: PasskeysPage): JSX.Element {
  const rows = passkeys.map((passkey) =>
    h('tr', null, [
      h('td', null, [
        h(Foreign, { text: passkey.name }),
        passkey.disabled
          ? h('div', { class: 'small fault' }, 'Disabled: its counter went back, so there may be a copy of it.')
          : null,
      ]),
      h('td', { class: 'small soft' }, ['Added ', h(Moment, { at: passkey.created_at })]),
      h(
        'td',
        { class: 'small soft' },
        passkey.last_used_at === null ? 'Not used yet' : ['Used ', h(Moment, { at: passkey.last_used_at })],
      ),
      h('td', { class: 'small soft' }, passkey.backed_up ? 'On several devices' : 'On one device'),
      h(
        'td',
        null,
        h(
          'form',
          {
            method: 'post',
            action: `/passkeys/${passkey.id}/remove`,
            'data-passkey': `/passkeys/${passkey.id}/options`,
          },
          [
            h('input', { type: 'hidden', name: 'csrf', value: csrf }),
            passkeyFields(),
            h('button', { class: 'quiet', type: 'submit' }, 'Remove'),
          ],
        ),
      ),
    ]),
  );
  const titles = ['Name', 'Since', 'Last use', 'Kept', 'Remove'];
  return h('table', { class: 'stack' }, [
    h(
      'thead',
      null,
      h(
        'tr',
        null,
        titles.map((title) => h('th', { scope: 'col' }, title)),
      ),
    ),
    h('tbody', null, rows),
  ]);
}

function adding({ passkeys, mayAdd, csrf, nameMax }: PasskeysPage): ComponentChildren {
  if (!mayAdd)
    return [
      h(
        'p',
        null,
        'To add your first one, sign in once more: so nobody who only has your browser’s cookie can add theirs.',
      ),
      h('p', null, h('a', { class: 'button', href: '/login?return_to=/passkeys&fresh=1' }, 'Sign in to add a passkey')),
    ];
  return h('form', { method: 'post', action: '/passkeys', 'data-passkey': '/passkeys/options' }, [
    h('input', { type: 'hidden', name: 'csrf', value: csrf }),
    h('input', { type: 'hidden', name: 'creation', value: '' }),
    h('label', { for: 'name' }, 'What you call it'),
    h('input', { type: 'text', id: 'name', name: 'name', required: true, maxLength: nameMax, autocomplete: 'off' }),
    passkeys.some(({ disabled }) => !disabled)
      ? h('p', { class: 'small soft' }, 'One that you have signs for it first; then the new one is made.')
      : null,
    passkeyFields(),
    h('button', { type: 'submit' }, passkeys.length === 0 ? 'Add a passkey' : 'Add another'),
  ]);
}

function forAdmins({ csrf }: PasskeysPage): JSX.Element {
  return h('section', { class: 'card' }, [
    h('h2', null, 'Remove somebody’s passkeys'),
    h(
      'p',
      null,
      'For somebody who lost theirs, or whose may be in other hands. All of them go, and logins made with them end; nobody can add one for them.',
    ),
    personForm({ action: '/passkeys/remove-all', csrf, why: 'Why', button: 'Remove all of them' }),
  ]);
}
