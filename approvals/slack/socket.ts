/**
 * Socket Mode: the broker opens a WebSocket to Slack, and what people press comes through it. For brokers
 * that Slack cannot reach. Whoever holds the app-level token is Slack's peer; nothing is signed here.
 */
import { SocketModeClient } from '@slack/socket-mode';
import { backoffMs } from '../../broker/core/backoff.ts';
import { newRequestId } from '../../broker/core/ids.ts';
import type { Clock } from '../../broker/core/vocabulary.ts';
import type { ChannelDeps } from '../contract.ts';
import { silent } from './client.ts';
import { soon } from './endpoint.ts';
import type { AnswerInteraction } from './interactions.ts';

export interface SocketDeps {
  appToken: string;
  apiUrl: string;
  clock: Clock;
  log: ChannelDeps['log'];
  answer: AnswerInteraction;
}

/** How long a stop waits for Slack to say goodbye. */
const goodbyeMs = 2_000;

/**
 * Keeps one socket open. The library's own way back is not used: it gives up when Slack cannot be reached,
 * and takes the process with it.
 */
export function listenOnSocket(deps: SocketDeps): { stop(): Promise<void> } {
  const { clock, log } = deps;
  const stopping = new AbortController();
  let current: SocketModeClient | null = null;

  const loop = async () => {
    for (let failures = 0; !stopping.signal.aborted; ) {
      current = openSocket(deps);
      const gone = new Promise<void>((resolve) => current?.once('disconnected', () => resolve()));
      try {
        await current.start();
        if (failures > 0) log.warn({}, 'Slack’s socket is open again');
        failures = 0;
        await gone;
      } catch (error) {
        failures += 1;
        if (failures === 1 && !stopping.signal.aborted)
          log.warn(
            { kind: error instanceof Error ? error.name : typeof error },
            'Slack’s socket cannot be opened: answers from Slack do not arrive. It is tried again with growing pauses; this is said once',
          );
        await clock.sleep(backoffMs(failures, 0.5), stopping.signal).catch(() => {});
      }
    }
  };
  const running = loop();
  return {
    stop: async () => {
      stopping.abort();
      current?.disconnect().catch(() => {});
      const ended = new AbortController();
      await Promise.race([running, clock.sleep(goodbyeMs, ended.signal).catch(() => {})]);
      ended.abort();
    },
  };
}

function openSocket({ appToken, apiUrl, clock, answer }: SocketDeps): SocketModeClient {
  const client = new SocketModeClient({
    appToken,
    autoReconnectEnabled: false,
    logger: silent,
    clientOptions: { slackApiUrl: apiUrl, allowAbsoluteUrls: false, retryConfig: { retries: 0 } },
  });
  client.on('interactive', async ({ ack, body }: { ack: () => Promise<void>; body: unknown }) => {
    // Acknowledged when it is done, so that what a dying process drops is Slack's to tell the person.
    await soon({ clock }, answer(body, newRequestId()));
    await ack().catch(() => {});
  });
  return client;
}
