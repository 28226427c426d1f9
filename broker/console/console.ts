/** The signed-in home and the history of a session, where an admin may end it. */
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { h, type JSX } from 'preact';
import type { ApproversOf } from '../../approvals/contract.ts';
import { type ReadDeps, readBreakGlasses } from '../break-glass/read-break-glasses.ts';
import { mayBreak } from '../break-glass/who-may.ts';
import { WritError } from '../core/errors.ts';
import { revokeByAdmin } from '../leases/order-revocation.ts';
import { type LockDeps, setLock } from '../locks/set-lock.ts';
import { allStanding } from '../locks/stored-lock.ts';
import { type Identity, isApprover, isProvenName, personRef } from '../people/identity.ts';
import { type LoginDeps, requirePerson, viewerOf } from '../people/login.ts';
import { asOnCall, type OnCall } from '../people/on-call.ts';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import { posted, readReason } from './admin-forms.ts';
import { breakGlassLine } from './break-glass-page.ts';
import {
  type GrantSummary,
  type ListedSession,
  loadAsked,
  loadEvents,
  loadGrants,
  loadLeases,
  loadSession,
  loadSessions,
  type SessionView,
} from './load.ts';
import { type PageErrorDeps, pageErrors } from './page-errors.ts';
import { homePage, lockedLine, sessionPage } from './pages.ts';
import { guardHeaders, notice, sendPage } from './shell.ts';

export interface ConsoleDeps extends LoginDeps, PageErrorDeps {
  approversOf: ApproversOf;
  /** Who is on call now; absent = nobody ever is. */
  onCall?: OnCall;
  /** What waits for this person, as the approval pages show it; null = nothing. */
  waitingFor: (person: Identity) => Promise<JSX.Element | null>;
  /** Owner of the agent under that manifest version: `team:…`, `user:…`. */
  ownersOf: (agent: string, manifestVersion: number) => Promise<string[]>;
  isAdmin: (person: Identity) => boolean;
  /** Admins, and the owner by the manifest in force. */
  mayStop: (person: Identity, agent: string) => Promise<boolean>;
  locks: LockDeps;
  breakGlass: ReadDeps;
  /** What an admin's order to end something needs. */
  ending: EndSessionDeps;
}

/** `GET /`, `GET /sessions/:id`, `POST /sessions/:id/end`. */
export function consoleRouter(deps: ConsoleDeps): Router {
  const router = express.Router({ caseSensitive: true, strict: true });

  router.get('/', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const now = deps.clock.now();
    const [{ live, ended }, waiting, broken] = await Promise.all([
      loadSessions(deps.store),
      deps.waitingFor(login.identity),
      readBreakGlasses(deps.breakGlass, 0, login.identity),
    ]);
    const watches = watcher(deps, login.identity);
    const mine = await filter(live, watches);
    const body = h('div', null, [
      breakGlassLine(broken, mayBreak(deps.breakGlass.people, login.identity)),
      deps.isAdmin(login.identity) ? lockedLine((await allStanding(deps.store)).length) : null,
      homePage(mine, unlisted(live, mine), (await filter(ended, watches)).slice(0, 10), waiting, now),
    ]);
    sendPage(res, { title: 'Now', viewer: viewerOf(login), body });
  });

  router.get('/sessions/:id', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const viewer = viewerOf(login);
    const session = /^\w{1,64}$/.test(req.params.id) ? await loadSession(deps.store, req.params.id) : null;
    const asked = session === null ? [] : await loadAsked(deps.store, session.id);
    const allowed =
      session !== null &&
      ((await watcher(deps, login.identity)(session)) ||
        (await some(asked, async (grant) => {
          const from = (grant.approval ?? []).flatMap(({ from }) => from);
          const person = await asOnCall(deps.onCall, login.identity, from);
          return isApprover(person, [...(await deps.approversOf(refOf(grant))), ...from]);
        })));
    if (session === null || !allowed) {
      await deps.noteRefusal?.(req, res, new WritError('not_found'));
      const body = notice('No such session', 'It does not exist, or it is none of yours.', {
        href: '/',
        label: 'Go to the start',
      });
      return sendPage(res, { title: 'Not found', viewer, status: 404, body });
    }
    const [grants, leases, events] = await Promise.all([
      loadGrants(deps.store, session.id),
      loadLeases(deps.store, session.id),
      loadEvents(deps.store, session.id),
    ]);
    const body = sessionPage({
      session,
      grants,
      leases,
      events,
      now: deps.clock.now(),
      csrf: (await deps.mayStop(login.identity, session.agent)) ? login.csrf : null,
    });
    sendPage(res, { title: `${session.agent}: ${session.task_type}`, viewer, body });
  });

  const form = express.urlencoded({ extended: false, limit: '64kb', parameterLimit: 20 });
  router.post('/sessions/:id/end', form, async (req, res) => {
    const { login, body } = await posted(deps, req);
    const id = String(req.params.id);
    const because = readReason(body.reason);
    if (because === null) throw new WritError('bad_request', { detail: 'Say why, in one line of visible characters.' });
    await stop(deps, id, body.what, { person: login.identity, because, requestId: deps.requestId(req, res) });
    guardHeaders(res);
    res.redirect(303, `/sessions/${id}`);
  });

  router.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors(deps, error, req, res, next),
  );
  return router;
}

/** @throws WritError `not_found`, also for what is somebody else’s */
async function stop(
  { store, clock, ending, locks, mayStop }: ConsoleDeps,
  id: string,
  what: unknown,
  { person, because, requestId }: { person: Identity; because: string; requestId: string },
): Promise<void> {
  const session = /^\w{1,64}$/.test(id) ? await loadSession(store, id) : null;
  if (session === null || !(await mayStop(person, session.agent))) throw new WritError('not_found');
  const now = clock.now();
  const by = { actor: personRef(person), because, requestId };
  if (what === 'agent') {
    const admin = { name: by.actor, identity: person };
    await setLock(locks, { level: 'agent', subject: session.agent }, { reason: because, admin, requestId });
    return;
  }
  if (what === 'session') {
    await endSession(ending, { sessionId: id, reason: 'ended_by_admin', ...by, now });
    return;
  }
  const lease = (await loadLeases(store, id)).find((one) => one.id === what);
  if (lease === undefined) throw new WritError('not_found');
  await revokeByAdmin(ending, { leaseId: lease.id, ...by, now });
}

const refOf = (grant: GrantSummary) => ({
  id: grant.id,
  agent: grant.agent,
  capability: grant.capability,
  manifestVersion: grant.manifest_version,
  taskType: grant.task_type,
});

/**
 * Who may watch a session: admins, the agent's owner, and the people it acts for or was started by, as far as
 * they are vouched for. Strict, unlike the self-review ban: only proven names count, and what an agent
 * declared opens nothing.
 */
function watcher(deps: ConsoleDeps, person: Identity): (session: SessionView) => Promise<boolean> {
  const owners = new Map<string, Promise<string[]>>();
  return async (session) => {
    if (deps.isAdmin(person)) return true;
    const key = `${session.agent}@${session.manifest_version}`;
    const known = owners.get(key) ?? deps.ownersOf(session.agent, session.manifest_version);
    owners.set(key, known);
    const vouched = [session.on_behalf_of, session.started_by].filter((name) => name !== null);
    if (vouched.some((name) => isProvenName(person, name))) return true;
    return isApprover(person, [...(await known), ...(session.responsible === null ? [] : [session.responsible])]);
  };
}

/** Agents of `mine` that have more live sessions than were loaded, and how many more. */
function unlisted(loaded: ListedSession[], mine: ListedSession[]): Map<string, number> {
  const more = new Map<string, number>();
  for (const { agent, of_agent } of mine) {
    const count = of_agent - loaded.filter((session) => session.agent === agent).length;
    if (count > 0) more.set(agent, count);
  }
  return more;
}

async function filter<T>(items: T[], keep: (item: T) => Promise<boolean>): Promise<T[]> {
  const kept = await Promise.all(items.map(keep));
  return items.filter((_, index) => kept[index]);
}

async function some<T>(items: T[], holds: (item: T) => Promise<boolean>): Promise<boolean> {
  return (await filter(items, holds)).length > 0;
}
