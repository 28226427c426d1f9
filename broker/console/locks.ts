/** `GET /locks`, `POST /locks`, `POST /locks/:id/lift`: kill switches, for admins. Works without a script. */
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { WritError } from '../core/errors.ts';
import { type LockTarget, lockLevels } from '../core/vocabulary.ts';
import { liftLock } from '../locks/lift-lock.ts';
import { readLocks } from '../locks/read-locks.ts';
import { type LockDeps, setLock } from '../locks/set-lock.ts';
import type { Identity } from '../people/identity.ts';
import { type Login, type LoginDeps, requirePerson, viewerOf } from '../people/login.ts';
import { postedByAdmin, readReason } from './admin-forms.ts';
import { loadLockable } from './lockable.ts';
import { type LocksPage, locksPage } from './locks-page.ts';
import { type PageErrorDeps, pageErrors } from './page-errors.ts';
import { guardHeaders, notice, sendPage } from './shell.ts';

export interface LocksPageDeps extends LoginDeps, PageErrorDeps {
  locks: LockDeps;
  isAdmin: (person: Identity) => boolean;
}

export function locksRouter(deps: LocksPageDeps): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  const form = express.urlencoded({ extended: false, limit: '64kb', parameterLimit: 20 });

  router.get('/locks', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    if (!deps.isAdmin(login.identity)) {
      await deps.noteRefusal?.(req, res, new WritError('forbidden'));
      const body = notice('For admins', 'Only an admin sees what is locked.', { href: '/', label: 'Go to the start' });
      return sendPage(res, { title: 'For admins', viewer: viewerOf(login), status: 403, body });
    }
    await show(deps, res, login, { chosen: readTarget(req.query.target) });
  });

  router.post('/locks', form, async (req, res) => {
    const { login, admin, body } = await postedByAdmin(deps, req);
    const [target, reason] = [readTarget(body.target), readReason(body.reason)];
    if (target === null || reason === null) {
      const message = target === null ? 'Choose what to lock.' : 'Say why, in one line of visible characters.';
      return show(deps, res, login, { chosen: target, fault: { message, reason: reason ?? '' } });
    }
    try {
      await setLock(deps.locks, target, { reason, admin, requestId: deps.requestId(req, res) });
    } catch (error) {
      if (!(error instanceof WritError) || error.code !== 'bad_request') throw error;
      return show(deps, res, login, { chosen: null, fault: { message: 'There is nothing of that name.', reason } });
    }
    guardHeaders(res);
    res.redirect(303, '/locks');
  });

  router.post('/locks/:id/lift', form, async (req, res) => {
    const { login, admin, body } = await postedByAdmin(deps, req);
    const reason = readReason(body.reason);
    if (reason === null) {
      const message = 'Say why it may be lifted, in one line of visible characters.';
      return show(deps, res, login, { chosen: null, fault: { message, reason: '' } });
    }
    await liftLock(deps, { id: String(req.params.id), reason, admin, requestId: deps.requestId(req, res) });
    guardHeaders(res);
    res.redirect(303, '/locks');
  });

  router.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors(deps, error, req, res, next),
  );
  return router;
}

async function show(
  deps: LocksPageDeps,
  res: Response,
  login: Login,
  { chosen, fault }: Pick<LocksPage, 'chosen' | 'fault'>,
): Promise<void> {
  const [locks, lockable] = await Promise.all([readLocks(deps.store, 20), loadLockable(deps.store)]);
  const body = locksPage({ locks, lockable, csrf: login.csrf, chosen, now: deps.clock.now(), fault });
  sendPage(res, { title: 'Locks', viewer: viewerOf(login), body, status: fault === undefined ? 200 : 400 });
}

/** `LEVEL SUBJECT`, as the form names it. */
function readTarget(text: unknown): LockTarget | null {
  if (typeof text !== 'string' || text.length > 500) return null;
  const space = text.indexOf(' ');
  const level = lockLevels.find((one) => one === (space < 0 ? text : text.slice(0, space)));
  return level === undefined ? null : { level, subject: space < 0 ? '' : text.slice(space + 1) };
}
