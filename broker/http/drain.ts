/**
 * Closes an HTTP server gracefully: requests in flight are answered, and each connection is closed after its
 * answer. `server.close()` alone keeps a busy connection open until keep-alive expires, and never closes one
 * on which nothing was sent.
 */
import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * To be called before the first request.
 * @returns drain: resolves when every connection is closed; what is in flight must end by itself
 */
export function drainable(server: Server): { drain(): Promise<void> } {
  const sockets = new Map<Socket, Set<ServerResponse>>();
  let draining = false;

  server.on('connection', (socket) => {
    sockets.set(socket, new Set());
    socket.once('close', () => sockets.delete(socket));
  });
  server.prependListener('request', (req, res) => {
    const { socket } = req;
    const answering = sockets.get(socket);
    answering?.add(res);
    if (draining) res.setHeader('Connection', 'close');
    res.once('close', () => {
      answering?.delete(res);
      if (draining && answering?.size === 0) socket.destroySoon();
    });
  });

  return {
    drain: () => {
      draining = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const [socket, answering] of sockets) {
        // An incomplete request has had no effect, and its sender may never complete it.
        const whole = [...answering].some(({ req }) => req.complete);
        if (!whole) socket.destroy();
        for (const res of answering) if (!res.headersSent) res.setHeader('Connection', 'close');
      }
      return closed;
    },
  };
}
