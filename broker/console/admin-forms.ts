/** What an admin's forms have in common: who sent it, and why. */
import type { Request } from 'express';
import { WritError } from '../core/errors.ts';
import { type Admin, type Identity, personRef } from '../people/identity.ts';
import { checkCsrf, type Login, type LoginDeps, loadLogin } from '../people/login.ts';
import { visible } from './text.ts';

export const reasonMax = 500;

/** @throws WritError `forbidden`: not signed in, no admin, or the form is none of ours */
export async function postedByAdmin(
  deps: LoginDeps & { isAdmin(person: Identity): boolean },
  req: Request,
): Promise<{ login: Login; admin: Admin; body: Record<string, unknown> }> {
  const { login, body } = await posted(deps, req);
  if (!deps.isAdmin(login.identity)) throw new WritError('forbidden', { detail: 'Only an admin may do this.' });
  return { login, admin: { name: personRef(login.identity), identity: login.identity }, body };
}

/** A form that a signed-in person sent from a page of ours. @throws WritError `forbidden` */
export async function posted(deps: LoginDeps, req: Request): Promise<{ login: Login; body: Record<string, unknown> }> {
  const login = await loadLogin(deps, req);
  if (login === null) throw new WritError('forbidden', { detail: 'You are no longer signed in. Open the page again.' });
  const body: Record<string, unknown> = req.body ?? {};
  checkCsrf(deps, req, login, body.csrf);
  return { login, body };
}

/** One line of visible characters; null where it is none. */
export function readReason(text: unknown): string | null {
  if (typeof text !== 'string') return null;
  const reason = text.replace(/\s+/g, ' ').trim();
  return reason === '' || reason.length > reasonMax || visible(reason) !== reason ? null : reason;
}
