/**
 * The pages of what is approved ahead of time: given from a request that people approved, looked at, and
 * withdrawn. `/approvals/:id/ahead`, `/pre-approvals`, `/pre-approvals/:id`; a form posts to its own page.
 */
import express, { type Request, type Response, type Router } from 'express';
import { guardHeaders, notice, sendPage } from '../../broker/console/shell.ts';
import { WritError } from '../../broker/core/errors.ts';
import type { Json, JsonObject } from '../../broker/core/vocabulary.ts';
import { type Identity, isSurelySame, personRef } from '../../broker/people/identity.ts';
import { checkCsrf, type Login, loadLogin, requirePerson, viewerOf } from '../../broker/people/login.ts';
import type { Bound, Bounds } from '../bounds.ts';
import type { PagesDeps } from '../contract.ts';
import { loadForReview, standingOf } from '../eligibility.ts';
import { givePreApproval } from '../give-pre-approval.ts';
import { readPreApproval, readPreApprovals } from '../read-pre-approvals.ts';
import { withdrawPreApproval } from '../withdraw-pre-approval.ts';
import { aheadForm, preApprovalPage, preApprovalsPage } from './ahead-pages.ts';

const dayMs = 86_400_000;

export function aheadRouter(deps: PagesDeps): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  const form = express.urlencoded({ extended: false, limit: '64kb', parameterLimit: 120 });
  const isAdmin = ({ groups }: Identity) => deps.adminGroup !== undefined && groups.includes(deps.adminGroup);

  router.get('/approvals/:id/ahead', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    await showForm(deps, res, login, req.params.id);
  });

  router.post('/approvals/:id/ahead', form, async (req, res) => {
    const { login, body } = await posted(deps, req);
    const grantId = String(req.params.id);
    const grant = await loadForReview(deps.store, grantId);
    try {
      const id = await givePreApproval(deps, {
        grantId,
        giver: login.identity,
        bounds: readBounds(body, grant.params),
        maxUses: whole(body, 'max_uses'),
        maxTtlSeconds: whole(body, 'max_ttl_seconds'),
        until: new Date(deps.clock.now().getTime() + whole(body, 'days') * dayMs),
        reason: typeof body.reason === 'string' ? body.reason.replace(/\s+/g, ' ').trim() : '',
        requestId: deps.requestId(req, res),
      });
      guardHeaders(res);
      res.redirect(303, `/pre-approvals/${id}`);
    } catch (error) {
      if (!(error instanceof WritError) || (error.code !== 'bad_request' && error.code !== 'conflict')) throw error;
      await showForm(deps, res, login, grantId, error.detail ?? 'Something in the form is not right.');
    }
  });

  router.get('/pre-approvals', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const mine = isAdmin(login.identity) ? null : login.identity;
    const given = await readPreApprovals(deps.store, mine, deps.clock.now(), 100);
    sendPage(res, {
      title: 'Approved ahead of time',
      viewer: viewerOf(login),
      body: preApprovalsPage(given, deps.clock.now()),
    });
  });

  router.get('/pre-approvals/:id', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const given = await readPreApproval(deps.store, idIn(req.params.id), deps.clock.now());
    const own = isSurelySame(login.identity, given.giver);
    if (!own && !isAdmin(login.identity)) throw new WritError('not_found');
    sendPage(res, {
      title: given.id,
      viewer: viewerOf(login),
      body: preApprovalPage(given, deps.clock.now(), login.csrf),
    });
  });

  router.post('/pre-approvals/:id', form, async (req, res) => {
    const { login } = await posted(deps, req);
    const id = idIn(req.params.id);
    const by = { name: personRef(login.identity), identity: login.identity };
    const admin = isAdmin(login.identity);
    await withdrawPreApproval(deps, { id, by, isAdmin: admin, requestId: deps.requestId(req, res) });
    guardHeaders(res);
    res.redirect(303, `/pre-approvals/${id}`);
  });
  return router;
}

async function posted(deps: PagesDeps, req: Request): Promise<{ login: Login; body: Record<string, unknown> }> {
  const login = await loadLogin(deps, req);
  if (login === null) throw new WritError('forbidden', { detail: 'You are no longer signed in. Open the page again.' });
  const body: Record<string, unknown> = req.body ?? {};
  checkCsrf(deps, req, login, body.csrf);
  return { login, body };
}

async function showForm(deps: PagesDeps, res: Response, login: Login, id: string, fault?: string): Promise<void> {
  const grant = await loadForReview(deps.store, /^\w{1,64}$/.test(id) ? id : '');
  const viewer = viewerOf(login);
  const { maySee, bar } = await standingOf(login.identity, grant, deps);
  const terms = await deps.termsOf(grant.agent, grant.capability, grant.task_type);
  if (!maySee) throw new WritError('not_found');
  const why =
    bar?.text ??
    (terms === null || terms.tier !== 2 || terms.challenged ? 'This cannot be approved ahead of time.' : null) ??
    (deps.preApprovalSeconds < 86_400 ? 'Nothing is approved ahead of time here (WRIT_PRE_APPROVAL_SECONDS).' : null);
  if (why !== null || terms === null) {
    const body = notice('Not yours to approve ahead of time', why ?? '', {
      href: `/approvals/${id}`,
      label: 'Back to the request',
    });
    return sendPage(res, { title: 'Not ahead of time', viewer, status: 403, body });
  }
  const days = [1, 7, 14, 30, 90, 365].filter((one) => one * 86_400 <= deps.preApprovalSeconds);
  const body = aheadForm({
    grant,
    longest: terms.maxTtlSeconds,
    days: days.length === 0 ? [1] : days,
    csrf: login.csrf,
    summary: deps.describePlan(grant.plan).summary,
    fault,
  });
  sendPage(res, { title: 'Approve the next ones', viewer, status: fault === undefined ? 200 : 400, body });
}

const idIn = (text: unknown): string => {
  if (typeof text !== 'string' || !/^pap_[0-9a-z]{20}$/.test(text)) throw new WritError('not_found');
  return text;
};

const fault = (path: string, message: string) =>
  new WritError('bad_request', { detail: message, errors: [{ path, message }] });

function whole(body: Record<string, unknown>, name: string): number {
  const text = body[name];
  if (typeof text !== 'string' || !/^\d{1,9}$/.test(text)) throw fault(name, 'Whole numbers.');
  return Number(text);
}

/** One choice and one text for each parameter of the request; what is chosen is in `kind.NAME`. */
function readBounds(body: Record<string, unknown>, params: JsonObject): Bounds {
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [
      name,
      readBound(name, body[`kind.${name}`], body[`text.${name}`], value),
    ]),
  );
}

function readBound(name: string, kind: unknown, text: unknown, value: Json): Bound {
  const words = typeof text === 'string' ? text.trim() : '';
  switch (kind) {
    case 'equals':
      return { equals: value };
    case 'one_of':
      return { one_of: words.split(',').map((one) => like(name, value, one.trim())) };
    case 'prefix': {
      const delimiter = (['/', ':', '.', '-', '_'] as const).find((one) => words.endsWith(one));
      if (delimiter === undefined) throw fault(name, `${name}: the name must end with one of / : . - _`);
      return { prefix: words, delimiter };
    }
    case 'range': {
      const [, min, max] = /^(-?\d+(?:\.\d+)?)\s*(?:to|-|–)\s*(-?\d+(?:\.\d+)?)$/.exec(words) ?? [];
      if (min === undefined || max === undefined) throw fault(name, `${name}: a range is “1 to 10”.`);
      return { min: Number(min), max: Number(max) };
    }
    default:
      throw fault(name, `${name}: choose what it may be.`);
  }
}

/** A text as a value of the same type. */
function like(name: string, value: Json, text: string): string | number | boolean {
  if (typeof value === 'string') return text;
  if (typeof value === 'number' && /^-?\d+(?:\.\d+)?$/.test(text)) return Number(text);
  if (typeof value === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  throw fault(name, `${name}: ${text} is not of its type.`);
}
