/** A server that takes Standard Webhooks as their specification tells a receiver to. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../../broker/core/vocabulary.ts';

export interface WebhookMessage {
  type: string;
  timestamp: string;
  data: { [name: string]: unknown };
}

export type WebhookFault = 'hang' | 'unavailable' | 'refused' | 'answer_lost' | 'redirect' | number;

export interface WebhookReceiver {
  url: string;
  /** `whsec_…` */
  secret: string;
  /** Each id once, oldest first. */
  messages(): WebhookMessage[];
  requests(): number;
  /** A number: asks to be left alone for so many seconds. */
  fail(fault: WebhookFault | null): void;
  close(): Promise<void>;
}

const toleranceSeconds = 300;

export async function startWebhookReceiver(clock: Clock): Promise<WebhookReceiver> {
  const key = randomBytes(32);
  const messages = new Map<string, WebhookMessage>();
  let fault: WebhookFault | null = null;
  let requests = 0;

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks/writ?tenant=1`;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    requests += 1;
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk;
    if (fault === 'hang') return;
    if (fault === 'unavailable') return void response.writeHead(503).end();
    if (fault === 'refused') return void response.writeHead(403).end();
    if (fault === 'redirect') return void response.writeHead(307, { location: `${url}&moved=1` }).end();
    if (typeof fault === 'number') return void response.writeHead(429, { 'retry-after': String(fault) }).end();
    const id = String(request.headers['webhook-id']);
    if (!isSigned(request, id, body)) return void response.writeHead(401).end();
    if (!messages.has(id)) messages.set(id, JSON.parse(body) as WebhookMessage);
    if (fault === 'answer_lost') return void response.destroy();
    response.writeHead(204).end();
  }

  function isSigned({ headers }: IncomingMessage, id: string, body: string): boolean {
    const timestamp = String(headers['webhook-timestamp']);
    if (!/^\d+$/.test(timestamp)) return false;
    if (Math.abs(clock.now().getTime() / 1000 - Number(timestamp)) > toleranceSeconds) return false;
    const expected = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest();
    return String(headers['webhook-signature'])
      .split(' ')
      .map((one) => one.split(','))
      .some(([version, mac]) => {
        const given = Buffer.from(mac ?? '', 'base64');
        return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
      });
  }

  return {
    url,
    secret: `whsec_${key.toString('base64')}`,
    messages: () => [...messages.values()],
    requests: () => requests,
    fail: (kind) => {
      fault = kind;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
