/** `POST /slack/interactions`: where Slack posts what people press, signed. */
import { createHash } from 'node:crypto';
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { asWritError, errorTable, WritError } from '../../broker/core/errors.ts';
import type { PagesDeps } from '../contract.ts';
import type { AnswerInteraction } from './interactions.ts';
import { isFromSlack, signatureWindowSeconds } from './signature.ts';

export interface EndpointDeps {
  secret: string;
  deps: PagesDeps;
  answer: AnswerInteraction;
}

/**
 * Slack tells the person that it did not work when no answer comes within 3 s; within 2 s of them most
 * answers are done. What takes longer goes on after the answer: should the process die then, the card still
 * waits, its button works, and people are told again after a while.
 */
const answerWithinMs = 2_000;

export function interactionsRouter({ secret, deps, answer }: EndpointDeps): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  router.post('/slack/interactions', express.raw({ type: () => true, limit: '256kb' }), async (req, res) => {
    const body = Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0);
    const timestamp = req.get('x-slack-request-timestamp');
    const now = deps.clock.now();
    if (!isFromSlack(secret, { timestamp, signature: req.get('x-slack-signature'), body }, now))
      throw new WritError('unauthenticated', { detail: 'The request is not signed by Slack, or not just now.' });
    const signed = createHash('sha256').update(`${timestamp}:`).update(body).digest('base64url');
    const until = new Date((Number(timestamp) + 2 * signatureWindowSeconds) * 1000);
    if (!(await deps.once(`slack:${signed}`, until)))
      throw new WritError('unauthenticated', { detail: 'The request came before.' });
    const payload = readPayload(req.get('content-type'), body);
    if (payload === null) throw new WritError('bad_request', { detail: 'The request carries no interaction.' });
    await soon(deps, answer(payload, deps.requestId(req, res)));
    res.status(200).end();
  });
  router.use('/slack', (error: unknown, req: Request, res: Response, next: NextFunction) => {
    if (res.headersSent) return next(error);
    const known = asWritError(error);
    void deps.noteRefusal?.(req, res, known);
    const { status, title } = errorTable[known.code];
    if (status >= 500) deps.log.error({ err: error, request_id: deps.requestId(req, res) }, 'an interaction failed');
    res
      .status(status)
      .type('text')
      .send(known.detail ?? title);
  });
  return router;
}

/** Resolves when the work is done, or it is time to answer. */
export async function soon({ clock }: Pick<PagesDeps, 'clock'>, work: Promise<void>): Promise<void> {
  const done = new AbortController();
  const time = clock.sleep(answerWithinMs, done.signal).catch(() => {});
  await Promise.race([work.finally(() => done.abort()), time]);
}

function readPayload(contentType: string | undefined, body: Buffer): unknown {
  if (contentType?.split(';', 1)[0]?.trim() !== 'application/x-www-form-urlencoded') return null;
  try {
    return JSON.parse(new URLSearchParams(body.toString('utf8')).get('payload') ?? 'null');
  } catch {
    return null;
  }
}
