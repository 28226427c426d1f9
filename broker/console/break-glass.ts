/**
 * `GET /break-glass`, `GET /break-glass/:id`; `POST /break-glass`, `…/:id/agree` (a passkey signs both: each
 * has its `…/options`), `…/:id/close`, `…/:id/review`.
 */
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { agreeToBreakGlass, toAgreeTo, whyNotSecond } from '../break-glass/agree.ts';
import { askToBreakGlass, type BreakGlassDeps, type BreakGlassRequest, termsOf, toAskFor } from '../break-glass/ask.ts';
import { closeBreakGlass, seenBy } from '../break-glass/end.ts';
import { toBeSigned } from '../break-glass/passkey.ts';
import { type ReadDeps, readBreakGlass, readBreakGlasses } from '../break-glass/read-break-glasses.ts';
import { reviewBreakGlass, whyNotReviewer } from '../break-glass/review.ts';
import { mayBreak } from '../break-glass/who-may.ts';
import { errorTable, WritError } from '../core/errors.ts';
import { checkCsrf, type Login, type LoginDeps, loadLogin, requirePerson, viewerOf } from '../people/login.ts';
import { passkeyStateOf } from '../people/passkeys/passkey-state.ts';
import { readReason } from './admin-forms.ts';
import { breakGlassesPage, breakGlassPage, incidentMax, wordsMax } from './break-glass-page.ts';
import { loadBreakable } from './breakable.ts';
import { type PageErrorDeps, pageErrors } from './page-errors.ts';
import { answerScript } from './passkeys.ts';
import { guardHeaders, notice, sendPage } from './shell.ts';
import { visible } from './text.ts';

export interface BreakGlassPagesDeps extends LoginDeps, PageErrorDeps {
  breakGlass: BreakGlassDeps & ReadDeps;
}

const shown = 50;

export function breakGlassRouter(deps: BreakGlassPagesDeps): Router {
  const { breakGlass } = deps;
  const router = express.Router({ caseSensitive: true, strict: true });
  const form = express.urlencoded({ extended: false, limit: '128kb', parameterLimit: 200 });
  const person = ({ identity, id }: Login) => ({ identity, loginId: id });

  router.get('/break-glass', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login !== null) await showAll(deps, res, login);
  });

  router.get('/break-glass/:id', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    await showOne(deps, req, res, login, String(req.params.id));
  });

  router.post('/break-glass/options', form, async (req, res) => {
    const { login, body } = await posted(deps, req);
    await answerScript(deps, req, res, async () => {
      const { terms, digest } = await termsOf(breakGlass, readRequest(body), login.identity);
      return { assertion: await toBeSigned(breakGlass, { ...person(login), ...toAskFor(terms), digest }) };
    });
  });

  router.post('/break-glass', form, async (req, res) => {
    const { login, body } = await posted(deps, req);
    let id: string;
    try {
      const requestId = deps.requestId(req, res);
      id = await askToBreakGlass(breakGlass, readRequest(body), person(login), body.assertion, requestId);
    } catch (error) {
      return showAll(deps, res, login, faultOf(error));
    }
    guardHeaders(res);
    res.redirect(303, `/break-glass/${id}`);
  });

  router.post('/break-glass/:id/options', form, async (req, res) => {
    const { login } = await posted(deps, req);
    const id = String(req.params.id);
    await answerScript(deps, req, res, async () => {
      const { digest } = await toAgreeTo(breakGlass, id, login.identity);
      return { assertion: await toBeSigned(breakGlass, { ...person(login), about: id, digest }) };
    });
  });

  router.post('/break-glass/:id/agree', form, async (req, res) =>
    take(req, res, (id, login, body, requestId) =>
      agreeToBreakGlass(breakGlass, id, person(login), body.assertion, requestId),
    ),
  );

  router.post('/break-glass/:id/close', form, async (req, res) =>
    take(req, res, async (id, { identity }, { reason }, requestId) => {
      const words = readReason(reason);
      if (words === null) throw new WritError('bad_request', { detail: 'Say why, in visible characters.' });
      await closeBreakGlass(breakGlass, { id, person: identity, words, requestId });
    }),
  );

  router.post('/break-glass/:id/review', form, async (req, res) =>
    take(req, res, async (id, { identity }, { words: text }, requestId) => {
      const words = lineOf(text, wordsMax);
      if (words === null)
        throw new WritError('bad_request', { detail: 'Say what to make of it, in visible characters.' });
      await reviewBreakGlass(breakGlass, { id, person: identity, words, requestId });
    }),
  );

  /** Takes a form, and shows the page as it stands then: what a person can put right is said on it. */
  async function take(
    req: Request,
    res: Response,
    work: (id: string, login: Login, body: Record<string, unknown>, requestId: string) => Promise<void>,
  ): Promise<void> {
    const { login, body } = await posted(deps, req);
    const id = String(req.params.id);
    try {
      await work(id, login, body, deps.requestId(req, res));
    } catch (error) {
      return showOne(deps, req, res, login, id, faultOf(error));
    }
    guardHeaders(res);
    res.redirect(303, `/break-glass/${id}`);
  }

  router.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors(deps, error, req, res, next),
  );
  return router;
}

interface Fault {
  message: string;
  status: number;
}

/** What a person is told; anything that is no fault of theirs is thrown on. */
function faultOf(error: unknown): Fault {
  if (!(error instanceof WritError)) throw error;
  const { status, title } = errorTable[error.code];
  if (status >= 500) throw error;
  const [first] = error.errors ?? [];
  const message = error.detail ?? (first === undefined ? title : `${first.path}: ${first.message}`);
  return { message, status };
}

/** @throws WritError `forbidden` */
async function posted(deps: LoginDeps, req: Request): Promise<{ login: Login; body: Record<string, unknown> }> {
  const login = await loadLogin(deps, req);
  if (login === null) throw new WritError('forbidden', { detail: 'You are no longer signed in. Open the page again.' });
  const body: Record<string, unknown> = req.body ?? {};
  checkCsrf(deps, req, login, body.csrf);
  return { login, body };
}

/** @throws WritError `bad_request` */
function readRequest(body: Record<string, unknown>): BreakGlassRequest {
  const chosen = [body.capability ?? []].flat().filter((one) => typeof one === 'string');
  const named = chosen.map((one) => one.split('/', 2) as [string, string?]);
  const agents = new Set(named.map(([agent]) => agent));
  const [agent] = agents;
  if (agent === undefined || agents.size > 1 || named.some(([, name]) => name === undefined))
    throw new WritError('bad_request', { detail: 'Choose capabilities, all of one agent.' });
  const session = typeof body.session === 'string' && body.session !== '' ? body.session.trim() : undefined;
  if (session !== undefined && !/^ses_[0-9a-z]{20}$/.test(session))
    throw new WritError('bad_request', { detail: 'A session’s id begins with ses_, and its page shows it.' });
  const reason = readReason(body.reason);
  const incident = lineOf(body.incident, incidentMax);
  const minutes = typeof body.minutes === 'string' && /^\d{1,4}$/.test(body.minutes) ? Number(body.minutes) : 0;
  if (reason === null || incident === null)
    throw new WritError('bad_request', { detail: 'Say why, and for which incident, in visible characters.' });
  if (minutes < 1) throw new WritError('bad_request', { detail: 'Say for how many minutes.' });
  return {
    agent: session === undefined ? agent : undefined,
    session,
    capabilities: named.map(([, name]) => name!),
    reason,
    incident,
    seconds: minutes * 60,
  };
}

/** One line of visible characters; null where it is none. */
function lineOf(text: unknown, max: number): string | null {
  if (typeof text !== 'string') return null;
  const line = text.replace(/\s+/g, ' ').trim();
  return line === '' || line.length > max || visible(line) !== line ? null : line;
}

async function showAll(deps: BreakGlassPagesDeps, res: Response, login: Login, fault?: Fault): Promise<void> {
  const { breakGlass } = deps;
  const mayAsk = mayBreak(breakGlass.people, login.identity);
  const [all, breakable, passkey] = await Promise.all([
    readBreakGlasses(breakGlass, shown, login.identity),
    mayAsk ? loadBreakable(deps.store) : [],
    passkeyStateOf(breakGlass, login.identity),
  ]);
  const { longestSeconds } = breakGlass;
  const body = breakGlassesPage({ all, breakable, longestSeconds, csrf: login.csrf, mayAsk, passkey, fault });
  sendPage(res, {
    title: 'Break the glass',
    viewer: viewerOf(login),
    body,
    status: fault?.status ?? 200,
    passkeys: true,
  });
}

async function showOne(
  deps: BreakGlassPagesDeps,
  req: Request,
  res: Response,
  login: Login,
  id: string,
  fault?: Fault,
): Promise<void> {
  const { breakGlass } = deps;
  const viewer = viewerOf(login);
  const known = /^bgl_[0-9a-z]{20}$/.test(id);
  const row = known ? await seenBy(breakGlass, id, login.identity).catch(unlessUnseen) : null;
  if (row === null) {
    await deps.noteRefusal?.(req, res, new WritError('not_found'));
    const body = notice('No such break-glass', 'It does not exist, or you may not see it.', {
      href: '/break-glass',
      label: 'Break the glass',
    });
    return sendPage(res, { title: 'Not found', viewer, status: 404, body });
  }
  const one = await readBreakGlass(breakGlass, id, login.identity);
  const body = breakGlassPage({
    one,
    csrf: login.csrf,
    notAgree: whyNotSecond(breakGlass, row, login.identity),
    notReview: whyNotReviewer(breakGlass, row, login.identity),
    passkey: await passkeyStateOf(breakGlass, login.identity),
    fault,
  });
  sendPage(res, {
    title: 'Break the glass',
    viewer,
    body,
    status: fault?.status ?? 200,
    passkeys: one.state === 'waiting',
  });
}

function unlessUnseen(error: unknown): null {
  if (error instanceof WritError && error.code === 'not_found') return null;
  throw error;
}
