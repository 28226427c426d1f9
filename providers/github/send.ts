/**
 * The `fetch` that Octokit sends with: one HTTP request and its whole answer. No cache, no retry, no redirect
 * (it would carry a credential elsewhere). `http.request`, because Node's own `fetch` costs five times as
 * much and does not tell whether a request had left.
 */
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { ObservedClock } from '../answer-date.ts';
import { ProviderError } from '../contract.ts';

/** What Octokit hands to its `fetch`, as far as it is used here. */
export interface SendOptions {
  method: string;
  headers: Record<string, string>;
  body?: string | undefined;
  signal: AbortSignal;
}

/** What Octokit reads of an answer. */
export interface Sent {
  status: number;
  url: string;
  headers: Map<string, string>;
  text(): Promise<string>;
}

// A mint for 500 repositories is about 3 MB.
const maxAnswerBytes = 16 * 1024 * 1024;

/** The headers that say why GitHub refuses and for how long (errors.ts). The others stay here. */
const kept = ['retry-after', 'x-ratelimit-remaining', 'x-ratelimit-reset'];

/**
 * Sends one request and resolves with whatever GitHub answered, once all of it is there: Octokit would take
 * an answer that breaks off for an empty one.
 *
 * @throws ProviderError `upstream_timeout` or `upstream_unavailable` when there was no answer
 */
export function send(url: string, { method, headers, body, signal }: SendOptions, clock: ObservedClock): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const { protocol, hostname, port, pathname, search } = new URL(url);
    const content = body === undefined ? null : Buffer.from(body);
    // Before the connection stands, nothing can have been minted.
    let sent = false;
    const sentAt = clock.ours();
    const fail = (error: unknown) => reject(noAnswer(error, signal, method === 'POST' && sent));
    if (signal.aborted) return fail(signal.reason);
    const request = (protocol === 'https:' ? requestHttps : requestHttp)(
      {
        protocol,
        hostname: hostname.replace(/^\[|\]$/g, ''),
        port,
        path: pathname + search,
        method,
        signal,
        headers: { ...headers, ...(content === null ? {} : { 'content-length': content.length }) },
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
        clock.observe(response.headers.date, sentAt, response.headers.age);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          // GitHub answers in JSON. Read as such whatever the header says: a proxy's odd one must not lose a
          // token.
          const given = new Map([['content-type', 'application/json']]);
          for (const name of kept) {
            const value = response.headers[name];
            if (value !== undefined) given.set(name, Array.isArray(value) ? String(value[0]) : value);
          }
          resolve({ status: response.statusCode ?? 0, url, headers: given, text: async () => text });
        });
      },
    );
    request.on('socket', (socket) => {
      if (!socket.connecting) sent = true;
      else
        socket.once(protocol === 'https:' ? 'secureConnect' : 'connect', () => {
          sent = true;
        });
    });
    request.on('error', fail);
    request.end(content);
  });
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
