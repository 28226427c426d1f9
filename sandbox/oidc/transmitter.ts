/**
 * An identity provider's side of Shared Signals: signs Security Event Tokens, pushes them (RFC 8935) and
 * keeps them for whoever polls (RFC 8936). Strict: it refuses a poll, and an answer to a push, that the
 * standards do not know. For tests it can also sign what no transmitter would (see `platform-issuer.ts`,
 * whose keys it has).
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock, JsonObject } from '../../broker/core/vocabulary.ts';
import { type MintOptions, type PlatformIssuer, startPlatformIssuer } from './platform-issuer.ts';

export interface TransmitterOptions {
  clock: Clock;
  /** `aud` of its tokens. */
  audience: string;
}

export interface PushAnswer {
  status: number;
  /** Of a refusal: `err`. */
  err: string | null;
}

export interface Transmitter {
  issuer: string;
  /** Its keys; and ways to forge. */
  keys: PlatformIssuer;
  pollUrl: string;
  pollToken: string;
  pushToken: string;
  /** A token about somebody. @param claims over the usual ones */
  sign(
    event: { type: string; subject?: JsonObject; payload?: JsonObject },
    claims?: JsonObject,
    options?: MintOptions,
  ): Promise<string>;
  /** @throws Error when the receiver's answer is none of RFC 8935 */
  push(url: string, token: string, how?: { pushToken?: string; type?: string }): Promise<PushAnswer>;
  /** Keeps a token for whoever polls. @returns its `jti` */
  keep(token: string): string;
  /** Tokens that nobody has acknowledged. */
  kept(): string[];
  /** What a receiver reported to be wrong, by `jti`. */
  refused: Map<string, { err: string; description: string }>;
  /** Polls that were answered. */
  polls(): number;
  close(): Promise<void>;
}

const errors = new Set(['invalid_request', 'invalid_key', 'invalid_issuer', 'invalid_audience']);
const pushErrors = new Set([...errors, 'authentication_failed', 'access_denied']);

export async function startTransmitter({ clock, audience }: TransmitterOptions): Promise<Transmitter> {
  const keys = await startPlatformIssuer({ clock, algorithm: 'ES256' });
  const pollToken = randomBytes(24).toString('base64url');
  const pushToken = randomBytes(24).toString('base64url');
  const sets = new Map<string, string>();
  const refused: Transmitter['refused'] = new Map();
  let polls = 0;

  const server = createServer((request, response) => {
    poll(request, response).catch((error: Error) => send(response, 400, { error: error.message }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  async function poll(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.headers.authorization !== `Bearer ${pollToken}`) return send(response, 401, {});
    if (request.method !== 'POST' || request.headers['content-type'] !== 'application/json')
      throw new Error('not a POST of application/json');
    let text = '';
    for await (const chunk of request) text += chunk;
    const { ack = [], setErrs = {}, maxEvents = 100, returnImmediately = false, ...unknown } = JSON.parse(text);
    if (!Array.isArray(ack) || !Number.isInteger(maxEvents) || typeof returnImmediately !== 'boolean')
      throw new Error('not a poll');
    if (Object.keys(unknown).length > 0) throw new Error('members of no poll');
    for (const [jti, { err, description }] of Object.entries(setErrs as JsonObject as { [jti: string]: never })) {
      if (!errors.has(err) || typeof description !== 'string') throw new Error('no error of RFC 8936');
      refused.set(jti, { err, description });
      sets.delete(jti);
    }
    for (const jti of ack) if (!sets.delete(jti)) throw new Error('acknowledges what was not sent');
    polls += 1;
    const next = [...sets].slice(0, maxEvents);
    send(response, 200, { sets: Object.fromEntries(next), moreAvailable: sets.size > next.length });
  }

  return {
    issuer: keys.issuer,
    keys,
    pollUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/poll`,
    pollToken,
    pushToken,
    sign: ({ type, subject, payload = {} }, claims = {}, options = {}) =>
      keys.mint(
        {
          aud: audience,
          ...(subject === undefined ? {} : { sub_id: subject }),
          events: { [type]: payload },
          ...claims,
        },
        { without: ['exp'], ...options, header: { typ: 'secevent+jwt', ...options.header } },
      ),
    push: async (url, token, how = {}) => {
      const response = await fetch(`${url}/v1/signals`, {
        method: 'POST',
        body: token,
        headers: {
          'content-type': how.type ?? 'application/secevent+jwt',
          accept: 'application/json',
          authorization: `Bearer ${how.pushToken ?? pushToken}`,
        },
      });
      const text = await response.text();
      if (response.status === 202) {
        if (text !== '') throw new Error('a 202 with a body');
        return { status: 202, err: null };
      }
      if (response.status !== 400) return { status: response.status, err: null };
      const { err, description, ...more } = JSON.parse(text);
      if (!pushErrors.has(err) || typeof description !== 'string' || Object.keys(more).length > 0)
        throw new Error(`no error of RFC 8935: ${text}`);
      if (response.headers.get('content-type') !== 'application/json') throw new Error('not application/json');
      if (response.headers.get('content-language') === null) throw new Error('no Content-Language');
      return { status: 400, err };
    },
    keep: (token) => {
      const { jti } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
      sets.set(jti, token);
      return jti;
    },
    kept: () => [...sets.keys()],
    refused,
    polls: () => polls,
    close: async () => {
      server.closeAllConnections();
      await Promise.all([keys.close(), new Promise((resolve) => server.close(resolve))]);
    },
  };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
