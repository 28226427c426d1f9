/**
 * The approval pages: a channel. It finds out who is there, shows the plan to those who may decide, and hands
 * their verdict to `review`.
 */

import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import type { JSX } from 'preact';
import { pageErrors } from '../../broker/console/page-errors.ts';
import { answerScript } from '../../broker/console/passkeys.ts';
import { guardHeaders, notice, sendPage } from '../../broker/console/shell.ts';
import { errorTable, WritError } from '../../broker/core/errors.ts';
import { isQuestion, nameOfAsked } from '../../broker/core/questions.ts';
import { type Identity, isApprover, personRef } from '../../broker/people/identity.ts';
import { checkCsrf, type Login, loadLogin, requirePerson, viewerOf } from '../../broker/people/login.ts';
import { asOnCall } from '../../broker/people/on-call.ts';
import { readAssertion } from '../../broker/people/passkeys/assertion.ts';
import { passkeyStateOf } from '../../broker/people/passkeys/passkey-state.ts';
import type { PagesDeps } from '../contract.ts';
import { loadDecided, loadDecidedRequests, type Period } from '../decided.ts';
import { loadAllForReview, loadForReview, progressOf, standingOf } from '../eligibility.ts';
import {
  beginSigning,
  isChallenged,
  leastSecondsFor,
  loadOutcome,
  makeChallenge,
  mayWithdraw,
  needsPasskey,
  partsOf,
  type ReviewRequest,
  review,
  TooFast,
  waitsUntil,
  withdraw,
} from '../review.ts';
import { aheadRouter } from './ahead.ts';
import { approvalPage, barredPage, type StateChange } from './approval-page.ts';
import { listPage, listStateOf, type WaitingForPerson, waitingTable } from './list-page.ts';
import { streamStates, type VisibleList, visibleState } from './live.ts';
import {
  type ApprovalView,
  grantRef,
  loadApprovals,
  loadEarlier,
  loadLastGiven,
  loadLease,
  loadOwn,
  loadWaiting,
} from './load.ts';
import { minePage } from './mine-page.ts';
import { teamPage } from './team-page.ts';
import { warningPage } from './warning-page.ts';

export interface ApprovalsDeps extends PagesDeps {
  /** What reviews given here are recorded under. */
  channel: string;
}

/** `GET /approvals`, `…/mine`, `…/team`, `…/:id`, `…/:id/state`, `…/:id/events`; `POST /approvals/:id`. */
export function approvalsRouter(deps: ApprovalsDeps): Router {
  const router = express.Router({ caseSensitive: true, strict: true });

  router.get('/approvals', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const waiting = await waitingFor(deps, login.identity);
    sendPage(res, {
      title: 'Approvals',
      viewer: viewerOf(login),
      body: listPage(waiting, deps.clock.now(), deps.describePlan),
    });
  });

  router.get('/approvals/mine', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const own = await loadOwn(deps.store, login.identity);
    sendPage(res, { title: 'Decided by you', viewer: viewerOf(login), body: minePage(own, deps.clock.now()) });
  });

  router.get('/approvals/team', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    const period = periodOf(req.query.until, deps.clock.now());
    const all = await loadDecided(deps.store, period);
    const person = await asOnCall(
      deps.onCall,
      login.identity,
      all.map(({ owner }) => owner),
    );
    const theirs = all.filter(({ owner }) => isApprover(person, [owner]));
    const owners = theirs.map(({ owner }) => owner);
    const requests = owners.length === 0 ? [] : await loadDecidedRequests(deps.store, period, owners);
    const body = teamPage(theirs, requests, period, deps.clock.now());
    sendPage(res, { title: 'Decided in your teams’ name', viewer: viewerOf(login), body });
  });

  // What a page that is open looks at: a word that changes when it is decided, for whoever may see it.
  router.get('/approvals/:id/state', async (req, res) => {
    guardHeaders(res);
    const seen = await visibleState(deps, req, String(req.params.id));
    res
      .status(seen === null ? 404 : 200)
      .type('text')
      .send(seen?.state ?? '');
  });

  const visibleList: VisibleList = async (req) => {
    const login = await loadLogin(deps, req, { byItself: true });
    if (login === null) return null;
    return { state: listStateOf(await waitingFor(deps, login.identity)), login: login.id };
  };
  router.get('/approvals/state', async (req, res) => {
    guardHeaders(res);
    const seen = await visibleList(req);
    res
      .status(seen === null ? 404 : 200)
      .type('text')
      .send(seen?.state ?? '');
  });

  const { poller } = deps;
  if (poller !== undefined) {
    const { ofRequest, ofList } = streamStates(deps, poller, visibleList);
    router.get('/approvals/events', ofList);
    router.get('/approvals/:id/events', ofRequest);
  }

  router.use(aheadRouter(deps));

  router.get('/approvals/:id', async (req, res) => {
    const login = await requirePerson(deps, req, res);
    if (login === null) return;
    await showApproval(deps, req, res, login, req.params.id);
  });

  const form = express.urlencoded({ extended: false, limit: '64kb', parameterLimit: 220 });
  router.post('/approvals/:id', form, async (req, res) => {
    const login = await loadLogin(deps, req);
    if (login === null)
      throw new WritError('forbidden', { detail: 'You are no longer signed in. Open the page again.' });
    const body: Record<string, unknown> = req.body ?? {};
    checkCsrf(deps, req, login, body.csrf);
    const id = req.params.id as string;
    const requestId = deps.requestId(req, res);
    let reason = '';
    try {
      if (body.verdict === 'withdraw') await withdraw(deps, { grantId: id, reviewer: login.identity, requestId });
      else {
        const request = readForm(deps, body, id, login.identity, requestId);
        reason = request.reason ?? '';
        request.reading = await readingOf(deps, body, id, login.id);
        const signed = readAssertion(body.assertion);
        if (typeof body.challenge === 'string' && typeof body.sentence === 'string')
          request.challenge = { loginId: login.id, token: body.challenge, picked: body.sentence };
        if (signed !== null) request.passkey = { loginId: login.id, signed };
        await review(deps, request);
      }
    } catch (error) {
      if (!(error instanceof WritError)) throw error;
      if (error instanceof TooFast) return showWarning(deps, res, login, id, error, body, requestId);
      const { refused_because } = error.extensions;
      const onRecord = ['no_passkey', 'no_answer', 'wrong_answer', 'not_confirmed'].includes(String(refused_because));
      if (error.code !== 'bad_request' && error.code !== 'conflict' && !onRecord) throw error;
      // A field was wrong, somebody was faster, no passkey signed, no right sentence was picked: show it as
      // it stands now. What an attacker sends comes here too: a wider permission, or another than the one
      // that stands.
      if (!onRecord) await deps.noteRefusal?.(req, res, error);
      const { status } = errorTable[error.code];
      const fault = { message: error.detail ?? 'Something in the form is not right.', reason, status };
      return showApproval(deps, req, res, login, id, fault);
    }
    guardHeaders(res);
    res.redirect(303, `/approvals/${id}`);
  });

  // What the reviewer's passkey is to sign, for the form as it is filled in.
  router.post('/approvals/:id/passkey', form, async (req, res) => {
    const login = await loadLogin(deps, req);
    if (login === null)
      throw new WritError('forbidden', { detail: 'You are no longer signed in. Open the page again.' });
    const body: Record<string, unknown> = req.body ?? {};
    checkCsrf(deps, req, login, body.csrf);
    await answerScript(deps, req, res, async () => {
      const id = String(req.params.id);
      const request = readForm(deps, body, id, login.identity, deps.requestId(req, res));
      request.reading = await readingOf(deps, body, id, login.id);
      try {
        return { assertion: await beginSigning(deps, request, login.id) };
      } catch (error) {
        if (error instanceof TooFast) return { tooFast: true };
        throw error;
      }
    });
  });

  router.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors(deps, error, req, res, next),
  );
  return router;
}

async function showApproval(
  deps: ApprovalsDeps,
  req: Request,
  res: Response,
  login: Login,
  id: string,
  fault?: { message: string; reason: string; status: number },
): Promise<void> {
  const viewer = viewerOf(login);
  const [grant] = isId(id) ? await loadApprovals(deps.store, [id]) : [];
  if (grant === undefined) {
    const body = notice('No such request', 'The link is wrong or incomplete.', {
      href: '/approvals',
      label: 'What waits for you',
    });
    return sendPage(res, { title: 'Not found', viewer, status: 404, body });
  }
  const underReview = await loadForReview(deps.store, id);
  const { maySee, bar } = await standingOf(login.identity, underReview, deps);
  const passkey = needsPasskey(grant) ? await passkeyStateOf(deps, login.identity) : null;
  if (!maySee) {
    const body = barredPage(bar?.code ?? 'not_an_approver', login.identity);
    return sendPage(res, { title: 'Not yours to decide', viewer, status: 403, body });
  }
  if (grant.batch_id !== null) {
    guardHeaders(res);
    return res.redirect(303, `/approvals/${grant.batch_id}`);
  }
  const [about, earlier, outcome, lease, last, values] = await Promise.all([
    deps.aboutGrant(grantRef(grant)),
    loadEarlier(deps.store, grant.agent, id),
    loadOutcome(deps.store, id),
    loadLease(deps.store, id),
    loadLastGiven(deps.store, grant),
    deps.callArguments(id, { name: personRef(login.identity), requestId: deps.requestId(req, res) }),
  ]);
  // Nobody consents to what they do not see.
  const unseen = grant.status === 'pending' && grant.plan.provider === 'call' && values === null;
  const challenged = bar === null && (await isChallenged(deps, underReview));
  const body = approvalPage({
    grant,
    challenge:
      !challenged || grant.status !== 'pending'
        ? null
        : ((await waitsUntil(deps, underReview, login.identity)) ??
          (await makeChallenge(deps, { grant: underReview, reader: login.identity, loginId: login.id }))),
    about,
    description: deps.describePlan(grant.plan),
    callArguments: values,
    earlier,
    outcome,
    lease,
    lastGiven:
      last === null
        ? null
        : { summary: deps.describePlan(last.plan).summary, ttlSeconds: last.plan.ttl_seconds, at: last.requested_at },
    mayApproveAhead:
      bar === null &&
      !challenged &&
      grant.tier === 2 &&
      deps.preApprovalSeconds > 0 &&
      !isQuestion(grant.capability) &&
      ['approved', 'issuing', 'issued', 'ended'].includes(grant.status) &&
      underReview.approvals.length > 0,
    changed: changesOf(deps, grant),
    mayWithdraw: mayWithdraw(login.identity, underReview),
    csrf: login.csrf,
    now: deps.clock.now(),
    minTtlSeconds: deps.minTtlSeconds?.(grant.provider) ?? 1,
    bar: unseen ? 'Its arguments cannot be shown, so nobody can agree to them. You may deny it.' : (bar?.text ?? null),
    members: underReview.members,
    approvals: progressOf(underReview, grant.plan_digest),
    parts: deps.canNarrow?.(grant.provider) === true ? partsOf(underReview.params, underReview.left_out) : [],
    levels:
      deps.canNarrow?.(grant.provider) === true && !isQuestion(grant.capability)
        ? (deps.levelsOf?.(underReview) ?? [])
        : [],
    passkey,
    fault,
  });
  sendPage(res, {
    passkeys: passkey === 'ready',
    title: `${grant.agent}: ${nameOfAsked(grant.capability)}`,
    viewer,
    body,
    status: fault?.status ?? 200,
  });
}

/** How the state was when it was approved, and is now, of a request that was sent back; else null. */
function changesOf({ describePlan }: ApprovalsDeps, { plan, state_was }: ApprovalView): StateChange | null {
  if (state_was === null || plan.state === undefined || plan.state.round === 0) return null;
  const { summary: now } = describePlan(plan);
  const { summary: was } = describePlan({ ...plan, state: { ...plan.state, seen: state_was } });
  return { was: was.filter((line) => !now.includes(line)), now: now.filter((line) => !was.includes(line)) };
}

/**
 * What waits for a decision this person may take, most urgent first; of an agent that asks without end, the
 * most urgent ones and the number of the others.
 */
export async function waitingFor(
  deps: Pick<ApprovalsDeps, 'store' | 'clock' | 'approversOf' | 'onCall' | 'editorCoolingSeconds'>,
  person: Identity,
): Promise<WaitingForPerson> {
  const waiting = await loadWaiting(deps.store, deps.clock.now());
  const grants = await loadAllForReview(deps.store, waiting.ids);
  const standings = await Promise.all(grants.map((grant) => standingOf(person, grant, deps)));
  // Listed too: what only the agent's word keeps them from approving, because that word may be meant to.
  const theirs = (index: number) => {
    const { maySee, bar, byDeclaration } = standings[index] as (typeof standings)[number];
    return bar === null || (maySee && (byDeclaration || bar.code === 'not_comparable'));
  };
  const listed = await loadApprovals(
    deps.store,
    grants.filter((_, index) => theirs(index)).map((grant) => grant.id),
  );
  const more = new Map<string, number>();
  for (const [agent, theirs] of Map.groupBy(listed, (grant) => grant.agent)) {
    const capabilities = [...new Set(theirs.map((grant) => grant.capability))];
    const count = capabilities.reduce((sum, capability) => sum + waiting.unlisted(agent, capability), 0);
    if (count > 0) more.set(agent, count);
  }
  return { listed, more };
}

/** A day: the one that a digest's link names, or the one until now. */
function periodOf(said: unknown, now: Date): Period {
  const at = typeof said === 'string' && /^\d{4}-[\dT:.Z-]{6,20}$/.test(said) ? Date.parse(said) : Number.NaN;
  // What is decided at this very moment is in it.
  const until = Number.isNaN(at) || at > now.getTime() ? new Date(now.getTime() + 1) : new Date(at);
  return { from: new Date(until.getTime() - 86_400_000), until };
}

const isId = (text: string) => /^\w{1,64}$/.test(text);

/** How long the page was open, and how long what stands on it takes to read; undefined = nobody knows. */
async function readingOf(
  deps: ApprovalsDeps,
  { shown_at: shownAt, confirmation, read, warned }: Record<string, unknown>,
  id: string,
  loginId: string,
): Promise<ReviewRequest['reading']> {
  const [grant] = isId(id) ? await loadApprovals(deps.store, [id]) : [];
  const shown = typeof shownAt === 'string' ? Date.parse(shownAt) : Number.NaN;
  if (grant === undefined || Number.isNaN(shown)) return undefined;
  const { summary } = deps.describePlan(grant.plan);
  const tookSeconds = (deps.clock.now().getTime() - shown) / 1000;
  const least = leastSecondsFor([...summary, grant.justification ?? '']);
  return {
    tookSeconds,
    // The script was told that it is too fast, and brought the form here since; or the box was left empty.
    leastSeconds: warned === '1' || confirmation !== undefined ? Math.max(least, tookSeconds + 1) : least,
    loginId,
    ...(typeof confirmation === 'string' && read === 'yes' ? { confirmation } : {}),
  };
}

/** What was sent too fast, once more: it counts when it is confirmed. */
async function showWarning(
  deps: ApprovalsDeps,
  res: Response,
  login: Login,
  id: string,
  warning: TooFast,
  sent: Record<string, unknown>,
  requestId: string,
): Promise<void> {
  const [grant] = await loadApprovals(deps.store, [id]);
  if (grant === undefined) throw new WritError('not_found');
  const passkey = needsPasskey(grant);
  const reader = { name: personRef(login.identity), requestId };
  const callArguments = await deps.callArguments(id, reader);
  const { summary } = deps.describePlan(warning.plan);
  const body = warningPage({ grant, warning, summary, callArguments, sent, passkey });
  sendPage(res, { passkeys: passkey, title: 'Confirm', viewer: viewerOf(login), status: 409, body });
}

/** The same for the console's home page; null when nothing waits. */
export async function waitingTableFor(
  deps: Pick<ApprovalsDeps, 'store' | 'clock' | 'approversOf' | 'onCall' | 'editorCoolingSeconds' | 'describePlan'>,
  person: Identity,
): Promise<JSX.Element | null> {
  const waiting = await waitingFor(deps, person);
  return waiting.listed.length === 0 ? null : waitingTable(waiting, deps.clock.now(), deps.describePlan);
}

/** @throws WritError `bad_request` naming the field */
function readForm(
  deps: Pick<ApprovalsDeps, 'channel'>,
  body: Record<string, unknown>,
  grantId: string,
  reviewer: Identity,
  requestId: string,
): ReviewRequest {
  const { verdict, plan_digest, ttl_seconds, withhold, part, keep, reason } = body;
  const fault = (path: string, message: string) =>
    new WritError('bad_request', { detail: message, errors: [{ path, message }] });
  if (verdict !== 'approve' && verdict !== 'deny') throw fault('verdict', 'Approve or deny.');
  if (typeof plan_digest !== 'string' || plan_digest === '') throw fault('plan_digest', 'The form names no plan.');
  if (reason !== undefined && typeof reason !== 'string') throw fault('reason', 'One reason.');
  const request: ReviewRequest = {
    grantId,
    reviewer,
    verdict,
    planDigest: plan_digest,
    reason,
    channel: deps.channel,
    requestId,
  };
  if (verdict === 'approve' && ttl_seconds !== undefined && ttl_seconds !== '') {
    if (typeof ttl_seconds !== 'string' || !/^\d{1,9}$/.test(ttl_seconds)) throw fault('ttl_seconds', 'Whole seconds.');
    request.ttlSeconds = Number(ttl_seconds);
  }
  if (verdict === 'approve' && part !== undefined) {
    // Of what was offered, what is not ticked is left out.
    const kept = new Set([keep ?? []].flat());
    request.leaveOut = names('part', part).filter((pointer) => !kept.has(pointer));
  }
  if (verdict === 'approve') {
    // A field for each that was offered; an empty one leaves it as it was asked for.
    const answers = Object.entries(body).filter(([name, said]) => name.startsWith('lower/') && said !== '');
    if (answers.some(([, said]) => typeof said !== 'string')) throw fault('lower', 'One answer for each level.');
    request.lower = Object.fromEntries(answers.map(([name, said]) => [name.slice('lower'.length), said as string]));
  }
  if (verdict === 'approve' && withhold !== undefined) {
    request.withhold = names('withhold', withhold);
  }
  return request;

  function names(path: string, value: unknown): string[] {
    const all = [value].flat();
    if (!all.every((name) => typeof name === 'string')) throw fault(path, 'Names, each a text.');
    return all;
  }
}
