/** A guard before one server of its own, for the client that started us or one over HTTP. */
import { type Clock, systemClock } from '../clock.ts';
import type { HostSession } from '../local/host-session.ts';
import { type Guard, type GuardOptions, newGuard } from './guard.ts';
import { httpServer } from './http.ts';
import type { Message } from './message.ts';
import { stdioServer } from './stdio.ts';
import type { Transport, TransportEvents } from './transport.ts';

/** How long calls may take to be answered and recorded when one side has gone. */
const graceMs = 10_000;

/** A server that is started, or one that runs somewhere. */
export type Upstream =
  | { command: readonly [string, ...string[]]; env: { [name: string]: string } }
  | { url: string; headers: { [name: string]: string } };

export interface ServerOptions
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
}

export interface GuardedServer {
  fromClient(message: Message): void;
  /**
   * Resolves when the server has ended.
   * @param clientIsThere it gets its answers first, as far as there is time; calls are on record anyway
   */
  close(clientIsThere: boolean): Promise<void>;
}

/**
 * @param on toClient: what the guard says; onGone: the server has gone by itself
 * @throws Error with a `code` when the server cannot be started; WritError `insecure_url`
 */
export async function openGuardedServer(
  { upstream, clock = systemClock, ...options }: ServerOptions,
  on: { toClient(message: Message): void; onGone(): void },
): Promise<GuardedServer> {
  const { tell } = options;
  let guard: Guard | null = null;
  const events: TransportEvents = {
    onMessage: (message) => guard?.fromServer(message),
    onFault: (_code, message) => tell(`the server said what is no message, and nobody hears it: ${message}`),
    onClose: (why) => {
      guard?.serverGone(`The server cannot be reached any more: ${why}.`);
      on.onGone();
    },
  };
  const server: Transport =
    'url' in upstream
      ? httpServer(upstream.url, upstream.headers, clock, events)
      : await stdioServer(upstream.command, upstream.env, clock, events);
  const opened = newGuard({ ...options, clock, toClient: on.toClient, toServer: server.send });
  guard = opened;
  return {
    fromClient: opened.fromClient,
    close: async (clientIsThere) => {
      const given = new AbortController();
      const late = clock.sleep(graceMs, given.signal).catch(() => {});
      if (clientIsThere) await Promise.race([opened.idle(), late]);
      await Promise.race([opened.close(), late]);
      given.abort();
      await server.close();
    },
  };
}
