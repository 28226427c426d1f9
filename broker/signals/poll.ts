/**
 * Fetches Security Event Tokens from where the transmitter keeps them (RFC 8936). What was taken is
 * acknowledged with the next request; whoever dies before that is given it again, and takes it once.
 */
import { readJson } from '../core/read-json.ts';
import { AskedToWait, pauseAfter } from '../core/retry-after.ts';
import type { SideChannel } from '../core/side-channel.ts';
import { openCompactJws } from '../identity/compact-jws.ts';
import { Refusal } from '../identity/refusal.ts';
import { type ReceiveDeps, receiveSet, recordRefusal } from './receive.ts';
import { refusalOf } from './refusal.ts';

export interface PollDeps extends ReceiveDeps {
  url: string;
  token: string;
  channel: SideChannel;
  fetch?: typeof fetch;
}

export interface SignalPoller {
  /** Starts a poll if none is under way and one is due. Never waits, never throws. */
  tick(): void;
  stop(): Promise<void>;
}

const setsPerPoll = 25;
const maxBytes = 2 * 1024 * 1024;
/** How long a transmitter may keep a poll open. */
const openMs = 60_000;
/**
 * After an answer without news, which may be of one that keeps no poll open; and after one that was refused,
 * so that a broken transmitter is heard so often and not more.
 */
const pauseMs = 5_000;
/** What the transmitter asks for is believed so far: a signal must not wait for hours. */
const longestPauseMs = 300_000;

/** What the next request says of the tokens that the last answers brought. */
interface Receipts {
  ack: string[];
  setErrs: { [jti: string]: { err: string; description: string } };
}

export function createSignalPoller(deps: PollDeps): SignalPoller {
  const stopping = new AbortController();
  let running: Promise<void> | null = null;
  let dueFrom = 0;
  let receipts: Receipts = { ack: [], setErrs: {} };

  /** @returns whether there may be more at once */
  async function poll(): Promise<boolean> {
    const { ack, setErrs } = receipts;
    const owing = ack.length > 0 || Object.keys(setErrs).length > 0;
    const signal = AbortSignal.any([AbortSignal.timeout(openMs), stopping.signal]);
    const response = await (deps.fetch ?? fetch)(deps.url, {
      method: 'POST',
      redirect: 'manual',
      signal,
      headers: {
        authorization: `Bearer ${deps.token}`,
        'content-type': 'application/json',
        accept: 'application/json',
      },
      // With something to acknowledge it is answered at once, so that it is acknowledged.
      body: JSON.stringify({ ack, setErrs, maxEvents: setsPerPoll, returnImmediately: owing }),
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      const [after, date] = ['retry-after', 'date'].map((name) => response.headers.get(name));
      throw AskedToWait.by(`status ${response.status}`, { after, date });
    }
    const sets = setsIn(await readJson(response, maxBytes));
    // It has them: only what it sends now is open.
    receipts = { ack: [], setErrs: {} };
    for (const [jti, token] of sets) await take(jti, token);
    return Object.keys(receipts.setErrs).length === 0 && (owing || sets.length > 0);
  }

  async function take(jti: string, token: unknown): Promise<void> {
    try {
      if (nameOf(token) !== jti) throw new Refusal('bad_claim', 'it is listed under another `jti`');
      await receiveSet(deps, token, { via: 'poll', requestId: null });
      receipts.ack.push(jti);
    } catch (error) {
      // Without keys nobody knows what it is: it stays where it is, and comes again.
      if (!(error instanceof Refusal) || error.reason === 'issuer_unavailable') throw error;
      await recordRefusal(deps, token, error.reason);
      receipts.setErrs[jti] = refusalOf(error);
    }
  }

  async function run(): Promise<void> {
    try {
      while ((await poll()) && !stopping.signal.aborted);
      deps.channel.works();
      dueFrom = deps.clock.now().getTime() + pauseMs;
    } catch (error) {
      if (stopping.signal.aborted) return;
      const { name, message } = error as Error;
      const pause = name === 'TimeoutError' ? pauseMs : deps.channel.failed({ error: name, detail: message });
      dueFrom = deps.clock.now().getTime() + pauseAfter(error, pause, longestPauseMs);
    }
  }

  return {
    tick: () => {
      if (running !== null || stopping.signal.aborted || deps.clock.now().getTime() < dueFrom) return;
      running = run().finally(() => {
        running = null;
      });
    },
    stop: async () => {
      stopping.abort(new Error('the broker stops'));
      await running;
    },
  };
}

/** @throws Error when it is no answer of RFC 8936 section 2.5 */
function setsIn(body: unknown): [string, unknown][] {
  const sets = (body as { sets?: unknown } | null)?.sets;
  if (typeof sets !== 'object' || sets === null || Array.isArray(sets)) throw new Error('the answer has no `sets`');
  return Object.entries(sets).slice(0, setsPerPoll);
}

function nameOf(token: unknown): unknown {
  return openCompactJws(token, 60_000).payload.jti;
}
