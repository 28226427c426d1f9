/** `GET /logins`, `POST /logins/end`: who is signed in, for admins, who end logins. Needs no script. */
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { WritError } from '../core/errors.ts';
import type { Identity } from '../people/identity.ts';
import { endLogins, findAccount, liveLogins } from '../people/live-logins.ts';
import { type Login, type LoginDeps, requirePerson, viewerOf } from '../people/login.ts';
import { postedByAdmin, readReason } from './admin-forms.ts';
import { loginsMax, loginsPage, type Told } from './logins-page.ts';
import { type PageErrorDeps, pageErrors } from './page-errors.ts';
import { notice, sendPage } from './shell.ts';

export interface LoginsPageDeps extends LoginDeps, PageErrorDeps {
  isAdmin: (person: Identity) => boolean;
  /** Where people sign in; null = nowhere. */
  signInIssuer: string | null;
}

export function loginsRouter(deps: LoginsPageDeps): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  const form = express.urlencoded({ extended: false, limit: '64kb', parameterLimit: 20 });

  router.get('/logins', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    if (!deps.isAdmin(login.identity)) {
      await deps.noteRefusal?.(req, res, new WritError('forbidden'));
      const body = notice('For admins', 'Only an admin sees who is signed in.', {
        href: '/',
        label: 'Go to the start',
      });
      return sendPage(res, { title: 'For admins', viewer: viewerOf(login), status: 403, body });
    }
    await show(deps, res, login);
  });

  router.post('/logins/end', form, async (req, res) => {
    const { login, admin, body } = await postedByAdmin(deps, req);
    const reason = readReason(body.reason);
    if (reason === null)
      return show(deps, res, login, { status: 400, fault: 'Say why, in one line of visible characters.' });
    const by = { reason, admin, requestId: deps.requestId(req, res) };
    try {
      const which =
        typeof body.login === 'string' && body.login !== ''
          ? { login: body.login }
          : { account: await findAccount(deps.store, body.person, deps.signInIssuer) };
      const ended = await endLogins(deps, which, by);
      await show(deps, res, login, { done: ended === 0 ? 'There was none to end.' : `Ended: ${ended}.` });
    } catch (error) {
      if (!(error instanceof WritError) || !['bad_request', 'not_found'].includes(error.code)) throw error;
      await show(deps, res, login, { status: 400, fault: error.detail ?? 'Something in the form is not right.' });
    }
  });

  router.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors(deps, error, req, res, next),
  );
  return router;
}

async function show(deps: LoginsPageDeps, res: Response, login: Login, told: Told = {}): Promise<void> {
  const logins = await liveLogins(deps, null, loginsMax);
  const body = loginsPage({ logins, own: login.id, csrf: login.csrf, now: deps.clock.now(), told });
  sendPage(res, { title: 'Logins', viewer: viewerOf(login), body, status: told.status ?? 200 });
}
