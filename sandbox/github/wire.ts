/** HTTP in and out of the sandbox's front. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../broker/core/vocabulary.ts';
import type { Answer } from './answers.ts';

export interface Call {
  method: string;
  /** Below the API's base path, normalised, without the query. */
  path: string;
  query: string;
  /** Null when there is no Authorization header at all. */
  authorization: string | null;
  /** The headers that mean something to GitHub's data API. */
  headers: Record<string, string>;
  body: Buffer;
}

const maxBodyBytes = 10 * 1024 * 1024;

/** Null when the request is not for this API (GHES: not below /api/v3). */
export async function readCall(request: IncomingMessage, basePath: string): Promise<Call | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > maxBodyBytes) throw new Error('The request body is too large');
  }
  const target = new URL(request.url ?? '/', 'http://sandbox');
  if (!target.pathname.startsWith(`${basePath}/`)) return null;
  const headers: Record<string, string> = {};
  for (const name of ['accept', 'content-type', 'if-none-match'])
    if (typeof request.headers[name] === 'string') headers[name] = request.headers[name];
  return {
    method: request.method ?? 'GET',
    path: target.pathname.slice(basePath.length),
    query: target.search,
    authorization: request.headers.authorization ?? null,
    headers,
    body: Buffer.concat(chunks),
  };
}

/** GitHub takes `Bearer` and `token`; anything else is no credential. */
export function bearerOf(call: Call): string | null {
  return /^(?:bearer|token) (\S+)$/i.exec(call.authorization ?? '')?.[1] ?? null;
}

export function parseJson(body: Buffer): unknown {
  if (body.length === 0) return {};
  try {
    return JSON.parse(body.toString());
  } catch {
    return null;
  }
}

/** The Date header follows the sandbox's clock, as GitHub's follows GitHub's. */
export function writeAnswer(
  response: ServerResponse,
  answer: Answer,
  headers: Record<string, string>,
  clock: Clock,
): void {
  const { status, body } = answer;
  const content = Buffer.isBuffer(body) ? body : Buffer.from(body === undefined ? '' : JSON.stringify(body));
  response.writeHead(status, {
    date: clock.now().toUTCString(),
    ...(content.length > 0 ? { 'content-type': 'application/json; charset=utf-8' } : {}),
    ...headers,
    ...answer.headers,
    ...(status === 204 || status === 304 ? {} : { 'content-length': String(content.length) }),
  });
  response.end(content);
}
