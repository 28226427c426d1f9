/**
 * What agents may ever do, in a browser: for admins and for those who answer for an agent. Admins agree to
 * what waits, or refuse it, as over `/v1/admin/manifest-proposals`.
 */
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { WritError } from '../core/errors.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import { type Admin, type Identity, isApprover, personRef } from '../people/identity.ts';
import { checkCsrf, type Login, type LoginDeps, loadLogin, requirePerson, viewerOf } from '../people/login.ts';
import {
  type ListedAgent,
  loadAgent,
  loadAgents,
  loadCandidate,
  loadProposals,
  loadVersions,
} from './load-manifests.ts';
import { agentsPage, manifestPage, reasonMax } from './manifest-pages.ts';
import { type PageErrorDeps, pageErrors } from './page-errors.ts';
import { guardHeaders, notice, sendPage } from './shell.ts';
import { visible } from './text.ts';

export interface ManifestPagesDeps extends LoginDeps, PageErrorDeps {
  /** Owner of the agent under that manifest version: `team:…`, `user:…`. */
  ownersOf: (agent: string, manifestVersion: number) => Promise<string[]>;
  isAdmin: (person: Identity) => boolean;
  shapes: ProviderShapes;
  /** WRIT_OWNER_GRACE_SECONDS. */
  ownerGraceSeconds: number;
  /** `manifests/agree.ts`, and what follows from a publication. */
  agree: (proposal: { id: string; sha256: string; admin: Admin; requestId: string }) => Promise<void>;
  refuse: (proposal: { id: string; reason: string; admin: Admin; requestId: string }) => Promise<void>;
}

/** `GET /agents`, `GET /agents/:agent`, `POST /agents/:agent/proposals/:id`. */
export function manifestPagesRouter(deps: ManifestPagesDeps): Router {
  const router = express.Router({ caseSensitive: true, strict: true });

  router.get('/agents', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const agents = await loadAgents(deps.store, deps.ownerGraceSeconds);
    const seen = await Promise.all(agents.map((agent) => maySee(deps, login.identity, agent)));
    const body = agentsPage(
      agents.filter((_, index) => seen[index]),
      deps.clock.now(),
    );
    sendPage(res, { title: 'Agents', viewer: viewerOf(login), body });
  });

  router.get('/agents/:agent', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const agent = await seenAgent(deps, login, req.params.agent);
    if (agent === null) return noSuchAgent(deps, req, res, login);
    const admin = adminOf(deps, login);
    const first = req.query.before === undefined;
    const [{ versions, older }, proposals, candidate] = await Promise.all([
      loadVersions(deps.store, agent, beforeOf(req.query.before)),
      first ? loadProposals(deps.store, deps.shapes, agent, admin) : [],
      first ? loadCandidate(deps.store, agent.agent) : null,
    ]);
    const csrf = admin === null ? null : login.csrf;
    const body = manifestPage({ agent, versions, older, proposals, candidate, csrf, now: deps.clock.now() });
    sendPage(res, { title: `${agent.agent}: manifest`, viewer: viewerOf(login), body });
  });

  const form = express.urlencoded({ extended: false, limit: '16kb', parameterLimit: 10 });
  router.post('/agents/:agent/proposals/:id', form, async (req, res) => {
    const login = await loadLogin(deps, req);
    if (login === null)
      throw new WritError('forbidden', { detail: 'You are no longer signed in. Open the page again.' });
    const body: Record<string, unknown> = req.body ?? {};
    checkCsrf(deps, req, login, body.csrf);
    const { agent, id } = req.params as { agent: string; id: string };
    const admin = adminOf(deps, login);
    if ((await seenAgent(deps, login, agent)) === null) return noSuchAgent(deps, req, res, login);
    if (admin === null) throw new WritError('forbidden', { detail: 'An admin must agree to it.' });
    const proposal = await deps.store.prisma.manifestProposal.findUnique({ where: { id } });
    if (proposal?.agent !== agent) throw new WritError('not_found');
    const requestId = deps.requestId(req, res);
    const { verdict, sha256, reason } = body;
    if (verdict === 'agree' && typeof sha256 === 'string') await deps.agree({ id, sha256, admin, requestId });
    else if (verdict === 'refuse') await deps.refuse({ id, reason: reasonOf(reason), admin, requestId });
    else throw new WritError('bad_request', { detail: 'Agree or refuse.' });
    guardHeaders(res);
    res.redirect(303, `/agents/${agent}`);
  });

  router.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors(deps, error, req, res, next),
  );
  return router;
}

const adminOf = (deps: ManifestPagesDeps, { identity }: Login): Admin | null =>
  deps.isAdmin(identity) ? { name: personRef(identity), identity } : null;

/** Admins, and who answers for the agent by the version in force. What cannot be read opens nothing. */
async function maySee(deps: ManifestPagesDeps, person: Identity, { agent, version }: ListedAgent): Promise<boolean> {
  if (deps.isAdmin(person)) return true;
  if (version === 0) return false;
  return isApprover(person, await deps.ownersOf(agent, version).catch(() => []));
}

async function seenAgent(deps: ManifestPagesDeps, login: Login, name: string): Promise<ListedAgent | null> {
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name)) return null;
  const agent = await loadAgent(deps.store, name, deps.ownerGraceSeconds);
  return agent !== null && (await maySee(deps, login.identity, agent)) ? agent : null;
}

async function noSuchAgent(deps: ManifestPagesDeps, req: Request, res: Response, login: Login): Promise<void> {
  await deps.noteRefusal?.(req, res, new WritError('not_found'));
  const body = notice('No such agent', 'It does not exist, or it is none of yours.', {
    href: '/agents',
    label: 'Your agents',
  });
  sendPage(res, { title: 'Not found', viewer: viewerOf(login), status: 404, body });
}

/** What the page before said; anything else is the newest. */
const beforeOf = (before: unknown): number =>
  typeof before === 'string' && /^[1-9]\d{0,8}$/.test(before) ? Number(before) : 2_147_483_647;

/** @throws WritError `bad_request` */
function reasonOf(reason: unknown): string {
  const text = typeof reason === 'string' ? reason.replace(/\s+/g, ' ').trim() : '';
  if (text === '' || text.length > reasonMax || visible(text) !== text)
    throw new WritError('bad_request', { detail: `Say why not, in at most ${reasonMax} characters.` });
  return text;
}
