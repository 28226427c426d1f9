/**
 * What stands between client and broker in these tests: a proxy that can lose an answer, or give one of its
 * own, as networks and gateways do.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}

/**
 * `pass`: forwarded. `lose`: forwarded and carried out, but the answer never arrives. Otherwise answered
 * here, and the broker never hears of it.
 */
export type Fate = 'pass' | 'lose' | { status: number; headers?: { [name: string]: string }; body?: unknown };

export interface Front {
  url: string;
  /** Where to forward to. */
  target: string;
  /** All requests so far, in order. */
  seen: Seen[];
  /** Decides over each request; reset it to `() => 'pass'`. */
  fate(seen: Seen): Fate | Promise<Fate>;
  /** Last word on what the broker answered. */
  rewrite(seen: Seen, body: string): string;
  close(): Promise<void>;
}

export async function startFront(): Promise<Front> {
  const server = createServer((incoming, outgoing) => {
    serve(incoming, outgoing).catch(() => outgoing.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const front: Front = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    target: '',
    seen: [],
    fate: () => 'pass',
    rewrite: (_seen, body) => body,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };

  async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await textOf(incoming);
    const seen = { method: incoming.method ?? '', path: incoming.url ?? '', headers: incoming.headers, body };
    front.seen.push(seen);
    const fate = await front.fate(seen);
    if (typeof fate === 'object') {
      outgoing.writeHead(fate.status, { 'content-type': 'application/json', ...fate.headers });
      outgoing.end(JSON.stringify(fate.body ?? {}));
      return;
    }
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const forwarded = request(front.target + seen.path, { method: seen.method, headers: incoming.headers }, resolve);
      forwarded.once('error', reject);
      outgoing.once('close', () => forwarded.destroy());
      forwarded.end(body);
    });
    const text = front.rewrite(seen, await textOf(answer));
    if (fate === 'lose') {
      outgoing.destroy();
      return;
    }
    const {
      'content-length': _length,
      'transfer-encoding': _encoding,
      connection: _connection,
      ...headers
    } = answer.headers;
    outgoing.writeHead(answer.statusCode ?? 500, headers);
    outgoing.end(text);
  }
  return front;
}

async function textOf(message: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of message) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}
