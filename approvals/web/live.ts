/**
 * `GET /approvals/:id/events`: tells a page that is open when what it shows has changed, as server-sent
 * events. All streams of a process are one statement a tick (`LongPoller`), so that a decision that any
 * process took is told within that. A stream ends with its login, and keeps none from being idle.
 */
import type { Request, Response } from 'express';
import { guardHeaders } from '../../broker/console/shell.ts';
import { asWritError } from '../../broker/core/errors.ts';
import { type LongPoller, maxWaitsPerSession, type Poll } from '../../broker/core/long-poller.ts';
import { loadLogin } from '../../broker/people/login.ts';
import type { Statement } from '../../broker/store/open.ts';
import type { PagesDeps } from '../contract.ts';
import { loadForReview, standingOf } from '../eligibility.ts';
import { stateOf } from './approval-page.ts';
import { loadApprovals } from './load.ts';

/** Proxies close what is silent for a minute; and so often the reader is looked at anew. */
const keepAliveSeconds = 15;
/** Streams of one process. Of one login there are fewer than a browser opens connections to one place. */
const maxStreams = 1000;

const changedStatement: Statement = {
  name: 'approval_changed',
  text: `
    SELECT w.key FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS w (key, grant_id, state, login)
    LEFT JOIN grants g ON g.id = w.grant_id LEFT JOIN login l ON l.token_hash = w.login AND l.expires_at > $5::timestamptz
    WHERE l.token_hash IS NULL OR g.status || '.' || g.approval_count || '.' || g.plan_digest IS DISTINCT FROM w.state`,
};

/** Whoever asks may see the request: its state now; null where not. Reads what a page’s script may read. */
export async function visibleState(
  deps: PagesDeps,
  req: Request,
  id: string,
): Promise<{ state: string; login: string } | null> {
  const login = await loadLogin(deps, req, { byItself: true });
  const [grant] = login === null || !/^\w{1,64}$/.test(id) ? [] : await loadApprovals(deps.store, [id]);
  if (login === null || grant === undefined) return null;
  const { maySee } = await standingOf(login.identity, await loadForReview(deps.store, id), deps);
  return maySee ? { state: stateOf(grant), login: login.id } : null;
}

/** @returns what answers such a request, until the stream is over */
export function streamStates(deps: PagesDeps, poller: LongPoller): (req: Request, res: Response) => Promise<void> {
  const { store, clock } = deps;
  const poll: Poll = async (keys) => {
    const asked = keys.map((key) => JSON.parse(key) as [grantId: string, state: string, login: string]);
    const column = (at: 0 | 1 | 2) => asked.map((one) => one[at]);
    const rows = await store.run<{ key: string }>(changedStatement, [
      keys,
      column(0),
      column(1),
      column(2),
      clock.now(),
    ]);
    return rows.map(({ key }) => key);
  };
  /** How many are open, by login. */
  const open = new Map<string, number>();
  let streams = 0;

  return async (req, res) => {
    guardHeaders(res);
    const id = String(req.params.id);
    const shown = typeof req.query.state === 'string' ? req.query.state.slice(0, 200) : '';
    let seen = await visibleState(deps, req, id);
    if (seen === null) return void res.status(404).end();
    const { login } = seen;
    const own = open.get(login) ?? 0;
    if (streams >= maxStreams || own >= maxWaitsPerSession) return void res.status(429).end();
    const gone = new AbortController();
    res.once('close', () => gone.abort());
    streams += 1;
    open.set(login, own + 1);
    try {
      // No proxy in between keeps what is said for later.
      res.status(200).set({ 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
      res.write('retry: 3000\n\n');
      while (seen !== null && !gone.signal.aborted && !poller.closed) {
        if (seen.state !== shown) {
          res.write(`data: ${seen.state}\n\n`);
          break;
        }
        const key = JSON.stringify([id, seen.state, seen.login]);
        await poller.wait({ poll, id: key, sessionId: seen.login, seconds: keepAliveSeconds, signal: gone.signal });
        if (gone.signal.aborted || poller.closed) break;
        res.write(': still here\n\n');
        seen = await visibleState(deps, req, id);
      }
    } catch (error) {
      // Its script falls back to asking now and then; so it does when the provider cannot be asked.
      if (asWritError(error).code === 'internal') deps.log.error({ err: error }, 'a page’s stream failed');
    } finally {
      streams -= 1;
      const left = (open.get(login) ?? 1) - 1;
      if (left === 0) open.delete(login);
      else open.set(login, left);
      res.end();
    }
  };
}
