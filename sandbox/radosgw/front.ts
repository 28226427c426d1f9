/** A front before radosgw, through which the broker comes: it counts, and fails minting as it is told. */
import { createServer, request as forward } from 'node:http';
import type { AddressInfo } from 'node:net';

export type FrontFault = 'hang' | { status: number; code: string; message: string; retryAfterSeconds?: number };

/** An answer of STS, changed on its way. */
export type Rewrite = (xml: string) => string;

export interface Front {
  url: string;
  requests(): number;
  /** What an AssumeRole meets from now on; null = radosgw alone. */
  fault(fault: FrontFault | null): void;
  /** Changes the answer to the next AssumeRole. */
  rewriteOnce(rewrite: Rewrite): void;
  close(): Promise<void>;
}

export async function startFront(target: { host: string; port: number }): Promise<Front> {
  const told: { fault: FrontFault | null; rewrite: Rewrite | null } = { fault: null, rewrite: null };
  let received = 0;
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const body = Buffer.concat(chunks);
      const asksTime = incoming.method === 'GET' && incoming.url === '/' && !incoming.headers.authorization;
      if (!asksTime) received += 1;
      const mints = /(?:^|[&?])Action=AssumeRole(?:&|$)/.test(`${body}`);
      const { fault } = told;
      if (mints && fault !== null) {
        if (fault === 'hang') return;
        const { status, code, message, retryAfterSeconds } = fault;
        const more = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
        outgoing.writeHead(status, { 'content-type': 'text/xml', ...more });
        outgoing.end(`<ErrorResponse><Error><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`);
        return;
      }
      const change = mints ? told.rewrite : null;
      if (mints) told.rewrite = null;
      const { method, url, headers } = incoming;
      const onward = forward({ ...target, method, path: url, headers }, (answer) => {
        if (change === null) {
          outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(outgoing);
          return;
        }
        const parts: Buffer[] = [];
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.on('end', () => {
          const { 'content-length': _length, ...rest } = answer.headers;
          outgoing.writeHead(answer.statusCode ?? 502, rest);
          outgoing.end(change(Buffer.concat(parts).toString()));
        });
      });
      onward.on('error', () => outgoing.destroy());
      onward.end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: () => received,
    fault: (next) => {
      told.fault = next;
    },
    rewriteOnce: (next) => {
      told.rewrite = next;
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
