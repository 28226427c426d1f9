/** Errors as pages. A person sees one sentence and a link back; the details go to the log. */
import type { NextFunction, Request, Response } from 'express';
import { asWritError, errorTable, type WritError } from '../core/errors.ts';
import { notice, sendPage } from './shell.ts';

/** The two levels that pages log at; pino fits. */
export interface WebLog {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface PageErrorDeps {
  log: WebLog;
  requestId: (req: Request, res: Response) => string;
  /** Puts a refusal on the record, as the API does. */
  noteRefusal?: (req: Request, res: Response, error: WritError) => Promise<void>;
}

/** Error handler of the routers that serve people. */
export function pageErrors(deps: PageErrorDeps, error: unknown, req: Request, res: Response, next: NextFunction): void {
  if (res.headersSent) {
    next(error);
    return;
  }
  const known = asWritError(error);
  const { status, title } = errorTable[known.code];
  const request_id = deps.requestId(req, res);
  void deps.noteRefusal?.(req, res, known);
  if (status >= 500) deps.log.error({ err: error, request_id }, 'a page failed');
  const text =
    known.detail ?? (status >= 500 ? `Nothing was changed. Give the operator this id: ${request_id}` : title);
  const back =
    req.method === 'POST'
      ? { href: safePath(req), label: 'Open the page again' }
      : { href: '/', label: 'Go to the start' };
  if (known.retryAfterSeconds !== undefined) res.setHeader('Retry-After', String(known.retryAfterSeconds));
  sendPage(res, { title, viewer: null, status, body: notice(title, text, back) });
}

/** The page that a refused form belongs to; its path matched a route of ours, so it is local. */
function safePath(req: Request): string {
  const [top] = /^\/(?:locks|passkeys)(?=\/|$)/.exec(req.path) ?? [];
  if (top !== undefined) return top;
  const [page] =
    /^\/(?:approvals\/\w{1,64}$|sessions\/\w{1,64}(?=\/)|agents\/[a-z][a-z0-9-]{0,62}(?=\/))/.exec(req.path) ?? [];
  return page ?? '/';
}
