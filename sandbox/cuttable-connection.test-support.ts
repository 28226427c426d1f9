/**
 * A line to a server (PostgreSQL, Redis) that a test can cut, at any time or in the middle of a named
 * statement, and mend again. Whoever is on it notices what the loss of the server would show: broken
 * connections, and none to be had.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** `unsent`: the server never gets the statement. `unheard`: it has committed it, and nobody hears. */
export type Moment = 'unsent' | 'unheard';

export interface CuttableConnection {
  /** The server's own, by way of this line. */
  url: string;
  /** Breaks every connection and refuses new ones. @returns how many there were */
  cut(): number;
  /** Cuts at the next statement of this name. @returns when it is done */
  cutAt(statement: string, moment: Moment): Promise<void>;
  mend(): void;
  close(): Promise<void>;
}

/**
 * The end of PostgreSQL's answer to a statement outside of a transaction block; it is sent after the commit.
 */
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

export async function openCuttableConnection(target: string): Promise<CuttableConnection> {
  const { hostname, port, protocol } = new URL(target);
  const targetPort = Number(port || (protocol.startsWith('redis') ? 6379 : 5432));
  const open = new Set<Socket>();
  let broken = false;
  let armed: { name: string; moment: Moment; done: () => void } | null = null;

  const cut = () => {
    const before = open.size;
    broken = true;
    for (const socket of open) socket.destroy();
    return before;
  };

  const server = createServer((near) => {
    // It goes on listening: a port that is given up could be somebody else's when it is wanted back.
    if (broken) {
      near.destroy();
      return;
    }
    const far = connect(targetPort, hostname);
    open.add(near);
    let unheard: (() => void) | null = null;
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(near);
        other.destroy();
      });
    }
    near.on('data', (bytes) => {
      if (armed !== null && bytes.includes(`${armed.name}\0`)) {
        const { moment, done } = armed;
        armed = null;
        const cutNow = () => {
          cut();
          done();
        };
        if (moment === 'unsent') {
          cutNow();
          return;
        }
        unheard = cutNow;
      }
      far.write(bytes);
    });
    far.on('data', (bytes) => {
      if (unheard === null) near.write(bytes);
      else if (bytes.subarray(-readyForQuery.length).equals(readyForQuery)) unheard();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const here = { hostname: '127.0.0.1', port: String((server.address() as AddressInfo).port) };

  return {
    url: Object.assign(new URL(target), here).href,
    cut,
    cutAt: (name, moment) =>
      new Promise((resolve) => {
        armed = { name, moment, done: resolve };
      }),
    mend: () => {
      broken = false;
    },
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      cut();
      await closed;
    },
  };
}
