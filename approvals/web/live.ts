/**
 * `GET /approvals/:id/events`, and `GET /approvals/events` for the list: tells a page that is open when what
 * it shows has changed, as server-sent events. All streams of a process are one statement a tick
 * (`LongPoller`), so that a decision that any process took is told within that. A stream ends with its
 * login, and keeps none from being idle.
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

/** What waits for anybody: where it is the same as before, everybody’s list is. */
const waitingMark = `(SELECT md5(coalesce(string_agg(id || '.' || approval_count, ',' ORDER BY id), '')) FROM grants WHERE status = 'pending')`;
const markStatement: Statement = { name: 'approvals_mark', text: `SELECT ${waitingMark} AS mark` };
const listChangedStatement: Statement = {
  name: 'approvals_changed',
  text: `
    SELECT w.key FROM unnest($1::text[], $2::text[], $3::text[]) AS w (key, mark, login) CROSS JOIN (SELECT ${waitingMark} AS mark) now
    LEFT JOIN login l ON l.token_hash = w.login AND l.expires_at > $4::timestamptz
    WHERE l.token_hash IS NULL OR now.mark <> w.mark`,
};

/** What a page shows, and to which login. */
interface Seen {
  state: string;
  login: string;
}

/** Whoever asks may see the request: its state now; null where not. Reads what a page’s script may read. */
export async function visibleState(deps: PagesDeps, req: Request, id: string): Promise<Seen | null> {
  const login = await loadLogin(deps, req, { byItself: true });
  const [grant] = login === null || !/^\w{1,64}$/.test(id) ? [] : await loadApprovals(deps.store, [id]);
  if (login === null || grant === undefined) return null;
  const { maySee } = await standingOf(login.identity, await loadForReview(deps.store, id), deps);
  return maySee ? { state: stateOf(grant), login: login.id } : null;
}

/** The state of the list of whoever asks; null where they are not signed in. */
export type VisibleList = (req: Request) => Promise<Seen | null>;

type Answer = (req: Request, res: Response) => Promise<void>;

/** @returns what answers such requests, until the stream is over: of one request, and of the list */
export function streamStates(
  deps: PagesDeps,
  poller: LongPoller,
  visibleList: VisibleList,
): { ofRequest: Answer; ofList: Answer } {
  const { store, clock } = deps;
  const pollRequests: Poll = async (keys) => {
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
  const pollList: Poll = async (keys) => {
    const asked = keys.map((key) => JSON.parse(key) as [mark: string, login: string]);
    const [marks, logins] = [asked.map(([mark]) => mark), asked.map(([, login]) => login)];
    const rows = await store.run<{ key: string }>(listChangedStatement, [keys, marks, logins, clock.now()]);
    return rows.map(({ key }) => key);
  };
  /** Lists are read one after another: one more request changes the mark for everybody who looks. */
  let reading: Promise<unknown> = Promise.resolve();

  const lookAtRequest = async (req: Request): Promise<(Seen & { key: string }) | null> => {
    const id = String(req.params.id);
    const seen = await visibleState(deps, req, id);
    return seen === null ? null : { ...seen, key: JSON.stringify([id, seen.state, seen.login]) };
  };
  const lookAtList = (req: Request): Promise<(Seen & { key: string }) | null> => {
    const look = async () => {
      // First, so that what comes in between is looked at again.
      const [{ mark } = { mark: '' }] = await store.run<{ mark: string }>(markStatement, []);
      const seen = await visibleList(req);
      return seen === null ? null : { ...seen, key: JSON.stringify([mark, seen.login]) };
    };
    const next = reading.then(look);
    reading = next.catch(() => {});
    return next;
  };

  /** How many are open, by login. */
  const open = new Map<string, number>();
  let streams = 0;

  const answer =
    (look: typeof lookAtRequest, poll: Poll): Answer =>
    async (req, res) => {
      guardHeaders(res);
      const shown = typeof req.query.state === 'string' ? req.query.state.slice(0, 200) : '';
      let seen = await look(req);
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
          const { key: id, login: sessionId } = seen;
          await poller.wait({ poll, id, sessionId, seconds: keepAliveSeconds, signal: gone.signal });
          if (gone.signal.aborted || poller.closed) break;
          res.write(': still here\n\n');
          seen = await look(req);
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
  return { ofRequest: answer(lookAtRequest, pollRequests), ofList: answer(lookAtList, pollList) };
}
