/** Answers errors as RFC 9457 problem documents with stable codes; the details go to the log only. */
import type { ErrorRequestHandler, Request, Response } from 'express';
import type { Logger } from 'pino';
import { asWritError, type ErrorCode, errorTable, type WritError } from '../core/errors.ts';

export interface Problem {
  type: string;
  title: string;
  status: number;
  code: ErrorCode;
  detail?: string;
  request_id: string;
  /** The header Retry-After once more, for readers of the body alone. */
  retry_after_seconds?: number;
  [extension: string]: unknown;
}

function problemOf(error: WritError, publicUrl: string, requestId: string): Problem {
  const { status, title } = errorTable[error.code];
  return {
    type: `${publicUrl}/errors/${error.code}`,
    title,
    status,
    code: error.code,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    request_id: requestId,
    ...(error.errors === undefined ? {} : { errors: error.errors }),
    ...(error.retryAfterSeconds === undefined ? {} : { retry_after_seconds: error.retryAfterSeconds }),
    ...error.extensions,
  };
}

/** The challenge that a 401 must carry (RFC 9110 section 11.6.1, RFC 9449 section 7.1). */
function challenge(error: WritError): string {
  if (error.code === 'invalid_dpop_proof') return 'DPoP error="invalid_dpop_proof"';
  return error.code === 'session_ended' ? 'DPoP error="invalid_token", Bearer error="invalid_token"' : 'DPoP, Bearer';
}

/**
 * @param oauth the token endpoint's dialect (RFC 6749 section 5.2): the same document with `error` and
 *   `error_description` besides, as plain JSON
 */
export function sendProblem(
  res: Response,
  thrown: unknown,
  publicUrl: string,
  requestId: string,
  log: Logger,
  oauth = false,
): void {
  const error = asWritError(thrown);
  const problem = problemOf(error, publicUrl, requestId);
  if (oauth && error.code === 'invalid_dpop_proof') problem.status = 400;
  const level = problem.status >= 500 ? 'error' : 'info';
  log[level](
    { request_id: requestId, code: error.code, err: error.cause ?? (problem.status >= 500 ? error : undefined) },
    'request refused',
  );
  if (res.headersSent) {
    res.destroy();
    return;
  }
  if (problem.status === 401) res.setHeader('WWW-Authenticate', challenge(error));
  if (error.retryAfterSeconds !== undefined) res.setHeader('Retry-After', String(error.retryAfterSeconds));
  res.status(problem.status);
  res.setHeader('Cache-Control', 'no-store');
  res.setHeader('Content-Type', oauth ? 'application/json' : 'application/problem+json');
  res.end(
    JSON.stringify(
      oauth ? { error: error.code, error_description: error.detail ?? problem.title, ...problem } : problem,
    ),
  );
}

/** The app's final error handler, for pages and static files too. */
export function problemHandler(publicUrl: string, log: Logger): ErrorRequestHandler {
  return (error, req: Request, res, _next) => {
    sendProblem(res, error, publicUrl, String(res.locals.requestId ?? ''), log, req.path.startsWith('/oauth/'));
  };
}
