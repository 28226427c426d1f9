/** Answers errors as RFC 9457 problem documents with stable codes; the details go to the log only. */
import type { ErrorRequestHandler, Request, Response } from 'express';
import type { Logger } from 'pino';
import { asWritError, type ErrorCode, errorTable, type WritError } from '../core/errors.ts';
import { dpopAlgorithms } from '../identity/dpop.ts';
import { descriptionText, inOAuthWords } from './oauth-words.ts';
import { resourceMetadataPath } from './resource-metadata-path.ts';

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

/** A refusal as a document. */
export function problemOf(error: WritError, publicUrl: string, requestId: string): Problem {
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

/**
 * The challenge that a 401 must carry (RFC 9110 section 11.6.1, RFC 9449 section 7.1), with where clients
 * find out how to get a token (RFC 9728 section 5.1).
 */
function challenge(error: WritError, publicUrl: string): string {
  const more = `resource_metadata="${publicUrl}${resourceMetadataPath}"`;
  const dpop = (words: string) => `DPoP ${words}algs="${dpopAlgorithms.join(' ')}", ${more}`;
  if (error.code === 'invalid_dpop_proof') return dpop('error="invalid_dpop_proof", ');
  const words = error.code === 'session_ended' ? 'error="invalid_token", ' : '';
  return `${dpop(words)}, Bearer ${words}${more}`;
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
  const words = oauth ? inOAuthWords(error.code) : null;
  const triedHeader = res.req.get('authorization') !== undefined;
  if (words !== null) problem.status = words.status;
  // RFC 6749 section 5.2: where the Authorization header was tried, and only there; clients that find a
  // challenge do not read the body.
  if (error.code === 'invalid_client' && triedHeader) problem.status = 401;
  const level = problem.status >= 500 ? 'error' : 'info';
  log[level](
    { request_id: requestId, code: error.code, err: error.cause ?? (problem.status >= 500 ? error : undefined) },
    'request refused',
  );
  if (res.headersSent) {
    res.destroy();
    return;
  }
  if (problem.status === 401)
    res.setHeader(
      'WWW-Authenticate',
      error.code === 'invalid_client' ? 'Basic realm="writ"' : challenge(error, publicUrl),
    );
  if (error.retryAfterSeconds !== undefined) res.setHeader('Retry-After', String(error.retryAfterSeconds));
  res.status(problem.status);
  res.setHeader('Cache-Control', 'no-store');
  res.setHeader('Content-Type', oauth ? 'application/json' : 'application/problem+json');
  res.end(refusalText(error, problem, oauth));
}

/** @param oauth the same document with `error` and `error_description` besides (RFC 6749 section 5.2) */
export function refusalText(error: WritError, problem: Problem, oauth: boolean): string {
  if (!oauth) return JSON.stringify(problem);
  const error_description = descriptionText(describe(error, problem.title));
  return JSON.stringify({ error: inOAuthWords(error.code).error, error_description, ...problem });
}

/** OAuth clients show the description alone: it names the fields, too. */
function describe(error: WritError, title: string): string {
  const faults = error.errors?.slice(0, 3).map(({ path, message }) => `${path} ${message}`) ?? [];
  return [error.detail ?? title, ...faults].join('; ');
}

/** The app's final error handler, for pages and static files too. */
export function problemHandler(publicUrl: string, log: Logger): ErrorRequestHandler {
  return (error, req: Request, res, _next) => {
    sendProblem(res, error, publicUrl, String(res.locals.requestId ?? ''), log, req.path.startsWith('/oauth/'));
  };
}
