/**
 * Ending an HTTP server soon and without harm: what is being answered is answered, and no connection outlives its answer. `server.close()` alone leaves a connection
 * that was busy open for its client's next request, for as long as keep-alive lasts, and one on which nothing was ever sent for ever.
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
        // Half a request has had no effect, and its sender may take for ever over the other half.
        const whole = [...answering].some(({ req }) => req.complete);
        if (!whole) socket.destroy();
        for (const res of answering) if (!res.headersSent) res.setHeader('Connection', 'close');
      }
      return closed;
    },
  };
}
