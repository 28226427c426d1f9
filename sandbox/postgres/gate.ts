/**
 * Stands before a server, on a port of its own: counts what clients send, and hangs, refuses in the server's
 * own form, or cuts off.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** `hang`: takes what comes and never answers; `cut`: closes at once; else an error of this code. */
export type GateFault = 'hang' | 'cut' | { code: string; message: string } | null;

export interface Gate {
  port: number;
  /** Pieces of data that came from clients. */
  requests(): number;
  fail(fault: GateFault): void;
  /** Cuts off every connection as soon as a client sends this; null = none. */
  cutAt(text: string | null): void;
  /** Sends clients to another server from now on. */
  pointTo(port: number): void;
  close(): Promise<void>;
}

export async function startGate(target: number): Promise<Gate> {
  let requests = 0;
  let fault: GateFault = null;
  let cutAt: string | null = null;
  let port = target;
  const open = new Set<Socket>();
  const server = createServer((client) => {
    open.add(client);
    client.on('error', () => {});
    client.on('close', () => open.delete(client));
    let upstream: Socket | null = null;
    client.on('data', (data) => {
      requests += 1;
      if (fault === 'hang') return;
      if (fault === 'cut' || (cutAt !== null && data.includes(cutAt))) {
        upstream?.destroy();
        client.destroy();
        return;
      }
      if (fault !== null) {
        client.end(errorResponse(fault));
        return;
      }
      if (upstream === null) {
        upstream = connect(port, '127.0.0.1');
        const through = upstream;
        open.add(through);
        through.on('error', () => client.destroy());
        through.on('close', () => {
          open.delete(through);
          client.destroy();
        });
        through.on('data', (answer) => client.write(answer));
        client.on('close', () => through.destroy());
      }
      upstream.write(data);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    requests: () => requests,
    fail: (kind) => {
      fault = kind;
    },
    cutAt: (text) => {
      cutAt = text;
    },
    pointTo: (other) => {
      port = other;
    },
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** As the server refuses a connection: a fatal error, and the end. */
function errorResponse({ code, message }: { code: string; message: string }): Buffer {
  const fields = ['SFATAL', 'VFATAL', `C${code}`, `M${message}`].map((field) => `${field}\0`).join('');
  const body = Buffer.from(`${fields}\0`);
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}
