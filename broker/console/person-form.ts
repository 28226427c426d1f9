/** The form by which an admin does something about a person: who, and why. */
import { h, type JSX } from 'preact';
import { reasonMax } from './admin-forms.ts';

export function personForm(form: { action: string; csrf: string; why: string; button: string }): JSX.Element {
  const line = { type: 'text', required: true, autocomplete: 'off' } as const;
  return h('form', { method: 'post', action: form.action }, [
    h('input', { type: 'hidden', name: 'csrf', value: form.csrf }),
    h('label', { for: 'person' }, 'Whose: an e-mail address, or kind:name'),
    h('input', { ...line, id: 'person', name: 'person', maxLength: 300 }),
    h('label', { for: 'reason' }, form.why),
    h('input', { ...line, id: 'reason', name: 'reason', maxLength: reasonMax }),
    h('button', { class: 'deny', type: 'submit' }, form.button),
  ]);
}
