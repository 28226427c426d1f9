/** Runs the guard between the client that started this process and one server. */
import type { Readable, Writable } from 'node:stream';
import { openGuardedServer, type ServerOptions } from './guarded-server.ts';
import { failure } from './message.ts';
import { stdioClient } from './stdio.ts';
import type { Transport } from './transport.ts';

export interface RunOptions extends ServerOptions {
  stdin: Readable;
  stdout: Writable;
  /** Aborted when the process is told to end. */
  stop: AbortSignal;
}

/**
 * Resolves when the client or the server has gone, or `stop` aborts; by then the server has ended.
 * @returns whether it was the client, or `stop`, that ended it
 * @throws Error with a `code` when the server cannot be started; WritError `insecure_url`
 */
export async function runGuard({ stdin, stdout, stop, ...options }: RunOptions): Promise<boolean> {
  let client: Transport | null = null;
  let end: (byClient: boolean) => void = () => {};
  const ended = new Promise<boolean>((resolve) => {
    end = resolve;
  });
  const server = await openGuardedServer(options, {
    toClient: (message) => client?.send(message),
    onGone: () => end(false),
  });
  const opened = stdioClient(stdin, stdout, {
    onMessage: server.fromClient,
    onFault: (code, message) => opened.send(failure(null, code, message)),
    onClose: () => end(true),
  });
  client = opened;
  const stopped = () => end(true);
  stop.addEventListener('abort', stopped, { once: true });
  if (stop.aborted) stopped();
  const byClient = await ended;
  stop.removeEventListener('abort', stopped);
  await server.close(!byClient);
  await opened.close();
  return byClient;
}
