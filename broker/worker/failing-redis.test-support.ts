/** A Redis that answers every command that matters with an error, or with nothing, and counts them. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

export type Failure = keyof typeof failures;
const loading = '-LOADING Redis is loading the dataset in memory';
const failures = {
  loading,
  full: "-OOM command not allowed when used memory > 'maxmemory'.",
  'read-only': "-READONLY You can't write against a read only replica.",
  cluster: '-MOVED 3999 127.0.0.1:6381',
  'not authenticated': '-NOAUTH Authentication required.',
  silent: null,
  // As what is no Redis, or a proxy that has lost count.
  'out of step': `${loading}\r\n${loading}`,
};

export async function startFailingRedis(failure: Failure) {
  const sockets = new Set<Socket>();
  let commands = 0;
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      for (let command = takeCommand(); command !== null; command = takeCommand()) answer(socket, command);
    });
    /** One RESP array of strings, off the front of what has come. */
    function takeCommand(): string[] | null {
      const head = /^\*(\d+)\r\n/.exec(text);
      if (head === null) return null;
      let at = head[0].length;
      const parts: string[] = [];
      for (let left = Number(head[1]); left > 0; left -= 1) {
        const size = /^\$(\d+)\r\n/.exec(text.slice(at));
        if (size === null) return null;
        at += size[0].length;
        const end = at + Number(size[1]);
        if (text.length < end + 2) return null;
        parts.push(text.slice(at, end));
        at = end + 2;
      }
      text = text.slice(at);
      return parts;
    }
  });
  function answer(socket: Socket, [name = '']: string[]): void {
    commands += 1;
    const line = failures[failure];
    if (line === null) return;
    const info = 'redis_version:7.0.0\r\nmaxmemory_policy:noeviction\r\nloading:0\r\n';
    if (name.toLowerCase() === 'info') socket.write(`$${info.length}\r\n${info}\r\n`);
    else if (['client', 'select'].includes(name.toLowerCase())) socket.write('+OK\r\n');
    else socket.write(`${line}\r\n`);
  }
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    commands: () => commands,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
