/**
 * One HTTP call to GitHub's REST API. No cache, no retry, no redirect: Octokit's App authentication hands concurrent grants the same token, its retry
 * plugin orphans tokens, and a redirect would carry a credential elsewhere. `http.request` because `fetch` costs five times as much.
 */
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { ProviderError } from '../contract.ts';

export interface ApiCall {
  method: 'GET' | 'POST' | 'DELETE';
  /** Below the API's base, beginning with a slash. */
  path: string;
  /** The App's JWT or an installation token. */
  bearer: string;
  body?: object;
  signal: AbortSignal;
}

export interface ApiAnswer {
  status: number;
  /** Parsed JSON; null when there was none. */
  body: unknown;
  headers: { retryAfter: string | undefined; rateRemaining: string | undefined };
}

/** Sends one request and resolves with whatever GitHub answered. Throws ProviderError only when there was no answer. */
export type Api = (call: ApiCall) => Promise<ApiAnswer>;

// A mint for 500 repositories is about 3 MB.
const maxAnswerBytes = 16 * 1024 * 1024;

export function githubApi(baseUrl: string): Api {
  const base = new URL(baseUrl);
  const open = base.protocol === 'https:' ? requestHttps : requestHttp;
  const prefix = base.pathname.replace(/\/$/, '');
  return ({ method, path, bearer, body, signal }) =>
    new Promise((resolve, reject) => {
      const content = body === undefined ? null : Buffer.from(JSON.stringify(body));
      // Before the connection stands, nothing can have been minted.
      let sent = false;
      const fail = (error: unknown) => reject(noAnswer(error, signal, method === 'POST' && sent));
      if (signal.aborted) return fail(signal.reason);
      const request = open(
        {
          protocol: base.protocol,
          hostname: base.hostname.replace(/^\[|\]$/g, ''),
          port: base.port,
          path: prefix + path,
          method,
          signal,
          headers: {
            accept: 'application/vnd.github+json',
            authorization: `Bearer ${bearer}`,
            'user-agent': 'writ',
            'x-github-api-version': '2022-11-28',
            ...(content === null ? {} : { 'content-type': 'application/json', 'content-length': content.length }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          let size = 0;
          response.on('data', (chunk: Buffer) => {
            chunks.push(chunk);
            size += chunk.length;
            if (size > maxAnswerBytes) response.destroy(new Error('the answer is too large'));
          });
          response.on('error', fail);
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              body: parse(Buffer.concat(chunks)),
              headers: {
                retryAfter: response.headers['retry-after'],
                rateRemaining: header(response.headers['x-ratelimit-remaining']),
              },
            }),
          );
        },
      );
      request.on('socket', (socket) => {
        if (!socket.connecting) sent = true;
        else
          socket.once(base.protocol === 'https:' ? 'secureConnect' : 'connect', () => {
            sent = true;
          });
      });
      request.on('error', fail);
      request.end(content);
    });
}

const header = (value: string | string[] | undefined) => (Array.isArray(value) ? value[0] : value);

function parse(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString());
  } catch {
    return null;
  }
}

function noAnswer(error: unknown, signal: AbortSignal, mayHaveMinted: boolean): ProviderError {
  if (signal.aborted) return new ProviderError('upstream_timeout', 'GitHub did not answer in time', { mayHaveMinted });
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  const providerCode = typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : 'CONNECTION_FAILED';
  return new ProviderError('upstream_unavailable', `No answer from GitHub (${providerCode})`, {
    providerCode,
    mayHaveMinted,
  });
}
