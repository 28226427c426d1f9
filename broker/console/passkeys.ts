/** The page of one's own passkeys, where an admin can also remove somebody else's. */
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { asWritError, errorTable, WritError } from '../core/errors.ts';
import type { Identity } from '../people/identity.ts';
import { findAccount } from '../people/live-logins.ts';
import { checkCsrf, type Login, type LoginDeps, loadLogin, requirePerson, viewerOf } from '../people/login.ts';
import { readAssertion } from '../people/passkeys/assertion.ts';
import {
  beginRegistration,
  beginRemoval,
  finishRegistration,
  isFresh,
  passkeyNameMax,
  readCreation,
  removeAllOf,
  removeOwn,
} from '../people/passkeys/registration.ts';
import { needsName, type PasskeyDeps, relyingParty } from '../people/passkeys/relying-party.ts';
import { loadPasskeys } from '../people/passkeys/stored-passkey.ts';
import { postedByAdmin, readReason } from './admin-forms.ts';
import { type PageErrorDeps, pageErrors } from './page-errors.ts';
import { type PasskeysPage, passkeysPage } from './passkeys-page.ts';
import { guardHeaders, sendPage } from './shell.ts';
import { visible } from './text.ts';

export interface PasskeyPagesDeps extends LoginDeps, PasskeyDeps, PageErrorDeps {
  isAdmin: (person: Identity) => boolean;
  /** Where people sign in; null = nowhere. */
  signInIssuer: string | null;
}

/**
 * `GET /passkeys`; `POST /passkeys`, `…/options`, `…/:id/options`, `…/:id/remove`, `…/remove-all`.
 */
export function passkeysRouter(deps: PasskeyPagesDeps): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  const form = express.urlencoded({ extended: false, limit: '128kb', parameterLimit: 10 });

  router.get('/passkeys', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    await show(deps, res, login);
  });

  router.post('/passkeys/options', form, async (req, res) => {
    const { login, requestId } = await posted(deps, req, res);
    await answerScript(deps, req, res, () => beginRegistration(deps, login, requestId));
  });

  router.post('/passkeys/remove-all', form, async (req, res) => {
    const { login, admin, body } = await postedByAdmin(deps, req);
    const reason = readReason(body.reason);
    if (reason === null) throw new WritError('bad_request', { detail: 'Say why, in one line of visible characters.' });
    const account = await findAccount(deps.store, body.person, deps.signInIssuer);
    const by = { admin: admin.identity ?? login.identity, reason, requestId: deps.requestId(req, res) };
    const count = await removeAllOf(deps, account, by);
    const text = count === 0 ? 'They have none.' : `Removed: ${count}.`;
    await show(deps, res, login, { kind: 'done', text });
  });

  router.post('/passkeys', form, async (req, res) => {
    const { login, body, requestId } = await posted(deps, req, res);
    await takeForm(deps, res, login, async () => {
      const name = readName(body.name);
      const creation = readCreation(body.creation);
      if (creation === null) throw new WritError('bad_request', { detail: noAnswer });
      await finishRegistration(deps, login, name, { creation, assertion: readAssertion(body.assertion) }, requestId);
    });
  });

  router.post('/passkeys/:id/options', form, async (req, res) => {
    const { login } = await posted(deps, req, res);
    await answerScript(deps, req, res, async () => ({
      assertion: await beginRemoval(deps, login, String(req.params.id)),
    }));
  });

  router.post('/passkeys/:id/remove', form, async (req, res) => {
    const { login, body, requestId } = await posted(deps, req, res);
    await takeForm(deps, res, login, () =>
      removeOwn(deps, login, String(req.params.id), readAssertion(body.assertion), requestId),
    );
  });

  router.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors(deps, error, req, res, next),
  );
  return router;
}

const noAnswer = 'Your browser sent nothing that a passkey made. The page needs its script for that.';

/** @throws WritError `forbidden` */
async function posted(deps: PasskeyPagesDeps, req: Request, res: Response) {
  const login = await loadLogin(deps, req);
  if (login === null) throw new WritError('forbidden', { detail: 'You are no longer signed in. Open the page again.' });
  const body: Record<string, unknown> = req.body ?? {};
  checkCsrf(deps, req, login, body.csrf);
  return { login, body, requestId: deps.requestId(req, res) };
}

/** Answers our script: what the browser's dialog is to be asked, or what to say to the person. */
export async function answerScript(
  deps: PageErrorDeps,
  req: Request,
  res: Response,
  begin: () => Promise<object>,
): Promise<void> {
  guardHeaders(res);
  try {
    res.json(await begin());
  } catch (error) {
    const known = asWritError(error);
    const { status, title } = errorTable[known.code];
    const request_id = deps.requestId(req, res);
    if (status >= 500) deps.log.error({ err: error, request_id }, 'a passkey could not be asked');
    res.status(status).json({ say: known.detail ?? title });
  }
}

/** Takes a form, and shows the page as it stands then: what a person can put right is said on it. */
async function takeForm(deps: PasskeyPagesDeps, res: Response, login: Login, take: () => Promise<unknown>) {
  try {
    await take();
  } catch (error) {
    if (!(error instanceof WritError) || errorTable[error.code].status >= 500) throw error;
    return show(deps, res, login, { kind: 'fault', text: error.detail ?? errorTable[error.code].title }, error);
  }
  guardHeaders(res);
  res.redirect(303, '/passkeys');
}

async function show(
  deps: PasskeyPagesDeps,
  res: Response,
  login: Login,
  told?: PasskeysPage['told'],
  error?: WritError,
): Promise<void> {
  const { passkeys } = await loadPasskeys(deps.store, login.identity);
  const body = passkeysPage({
    passkeys,
    unavailable: relyingParty(deps.publicUrl) === null ? needsName : null,
    mayAdd: passkeys.some(({ disabled }) => !disabled) || isFresh(login, deps.clock.now()),
    csrf: login.csrf,
    isAdmin: deps.isAdmin(login.identity),
    nameMax: passkeyNameMax,
    told,
  });
  const status = error === undefined ? 200 : errorTable[error.code].status;
  sendPage(res, { title: 'Your passkeys', viewer: viewerOf(login), body, status, passkeys: true });
}

/** @throws WritError `bad_request` */
function readName(text: unknown): string {
  const name = typeof text === 'string' ? text.replace(/\s+/g, ' ').trim() : '';
  if (name === '' || name.length > passkeyNameMax || visible(name) !== name)
    throw new WritError('bad_request', { detail: `Give it a name of at most ${passkeyNameMax} visible characters.` });
  return name;
}
