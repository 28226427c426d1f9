/** Runs the guard between the client that started this process and one server. */
import type { Readable, Writable } from 'node:stream';
import { type Clock, systemClock } from '../clock.ts';
import type { HostSession } from '../local/host-session.ts';
import { type Guard, type GuardOptions, newGuard } from './guard.ts';
import { httpServer } from './http.ts';
import { failure } from './message.ts';
import { stdioClient, stdioServer } from './stdio.ts';
import type { Transport, TransportEvents } from './transport.ts';

/** How long calls may take to be answered and recorded when one side has gone. */
const graceMs = 10_000;

/** A server that is started, or one that runs somewhere. */
export type Upstream =
  | { command: readonly [string, ...string[]]; env: { [name: string]: string } }
  | { url: string; headers: { [name: string]: string } };

export interface RunOptions
  extends Pick<
    GuardOptions,
    | 'pins'
    | 'serverName'
    | 'prefix'
    | 'passResources'
    | 'labels'
    | 'callSeconds'
    | 'waitSeconds'
    | 'maxResultBytes'
    | 'tell'
  > {
  upstream: Upstream;
  session: HostSession;
  clock?: Clock;
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
export async function runGuard({
  upstream,
  stdin,
  stdout,
  stop,
  clock = systemClock,
  ...options
}: RunOptions): Promise<boolean> {
  const { tell } = options;
  let guard: Guard | null = null;
  let end: (byClient: boolean) => void = () => {};
  const ended = new Promise<boolean>((resolve) => {
    end = resolve;
  });
  const serverEvents: TransportEvents = {
    onMessage: (message) => guard?.fromServer(message),
    onFault: (_code, message) => tell(`the server said what is no message, and nobody hears it: ${message}`),
    onClose: (why) => {
      guard?.serverGone(`The server cannot be reached any more: ${why}.`);
      end(false);
    },
  };
  const server: Transport =
    'url' in upstream
      ? httpServer(upstream.url, upstream.headers, clock, serverEvents)
      : await stdioServer(upstream.command, upstream.env, clock, serverEvents);
  const client = stdioClient(stdin, stdout, {
    onMessage: (message) => guard?.fromClient(message),
    onFault: (code, message) => client.send(failure(null, code, message)),
    onClose: () => end(true),
  });
  guard = newGuard({ ...options, clock, toClient: client.send, toServer: server.send });
  const stopped = () => end(true);
  stop.addEventListener('abort', stopped, { once: true });
  if (stop.aborted) stopped();
  const byClient = await ended;
  stop.removeEventListener('abort', stopped);
  // A client that is still there gets its answers; and every call is put on record, as far as there is time.
  const given = new AbortController();
  const late = clock.sleep(graceMs, given.signal).catch(() => {});
  if (!byClient) await Promise.race([guard.idle(), late]);
  await Promise.race([guard.close(), late]);
  given.abort();
  await server.close();
  await client.close();
  return byClient;
}
