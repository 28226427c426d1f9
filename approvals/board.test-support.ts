/**
 * A channel for tests, with its other side: a notice board that takes HTML. Small, and everything the
 * contract asks for: what a real channel has besides is its network.
 */
import { z } from 'zod';
import type { ChannelHarness, SeenMessage } from './conformance.ts';
import { type Channel, type ChannelModule, DeliveryError, type Notice } from './contract.ts';
import { digestWords } from './digest-words.ts';

type Failing = 'hang' | 'unavailable' | 'refused' | 'answer_lost' | null;

/** The other side: keeps one message for each key, as Slack, mail and webhooks do in their ways. */
export interface Board {
  post(key: string, html: string, signal: AbortSignal): Promise<void>;
  fail(kind: Failing): void;
  requests(): number;
  /** Messages as people see them. */
  seen(): SeenMessage[];
  /** Keys of the messages that were posted, each as often as it was. */
  keys: string[];
}

export function openBoard(): Board {
  const messages = new Map<string, string>();
  const keys: string[] = [];
  let failing: Failing = null;
  let requests = 0;
  return {
    keys,
    requests: () => requests,
    fail: (kind) => {
      failing = kind;
    },
    seen: () => [...messages.values()].map(render),
    post: async (key, html, signal) => {
      signal.throwIfAborted();
      requests += 1;
      if (failing === 'hang')
        await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      if (failing === 'unavailable') throw new DeliveryError('unavailable', 'the board is closed');
      if (failing === 'refused') throw new DeliveryError('refused', 'the board wants no more');
      keys.push(key);
      if (!messages.has(key)) messages.set(key, html);
      if (failing === 'answer_lost') throw new DeliveryError('unavailable', 'the connection broke');
    },
  };
}

const entities = [
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
] as const;
const escaped = (text: string) => entities.reduce((all, [plain, entity]) => all.replaceAll(plain, entity), text);
const unescaped = (html: string) => entities.reduceRight((all, [plain, entity]) => all.replaceAll(entity, plain), html);

function render(html: string): SeenMessage {
  return {
    text: unescaped(html.replace(/<[^>]*>/g, ' ')),
    links: [...html.matchAll(/<a href="([^"]*)"|<(https?:[^|>]*)/g)].map((found) =>
      unescaped(found[1] ?? found[2] ?? ''),
    ),
    mentions: [...html.matchAll(/<[!@]([^>]*)>/g)].map((found) => found[1] ?? ''),
    agentWords: [...html.matchAll(/<q class="agent">(.*?)<\/q>/gs)].map((found) => unescaped(found[1] ?? '')),
  };
}

/** How a broken channel differs from a good one. */
export interface BoardFlaws {
  key?: (notice: Notice) => string;
  escape?: (text: string) => string;
  ignoresAbort?: boolean;
  saysAllIsWell?: boolean;
  forgetsOutcome?: boolean;
  forgetsReminder?: boolean;
  logs?: boolean;
  silent?: boolean;
}

export function boardChannel(name: string, board: Board, flaws: BoardFlaws = {}, log = (_text: string) => {}): Channel {
  const text = flaws.escape ?? escaped;
  return {
    name,
    deliver: async (notice, signal) => {
      if (notice.kind === 'incident') {
        const told = flaws.silent ? '' : `${notice.agent}: ${notice.what} ${notice.consequence}`;
        await board.post(notice.id, `<p>${text(told)}</p><a href="${text(notice.url)}">look</a>`, signal);
        return null;
      }
      if (notice.kind === 'digest') {
        const { title, text: told } = digestWords(notice);
        const html = flaws.silent ? '' : [title, ...told].map((one) => `<p>${text(one)}</p>`).join('');
        await board.post(notice.id, `${html}<a href="${text(notice.url)}">look</a>`, signal);
        return null;
      }
      const said = notice.justification === null ? '' : `<q class="agent">${text(notice.justification.text)}</q>`;
      const ended =
        notice.outcome === null || flaws.forgetsOutcome
          ? ''
          : `<p>${text(`${notice.outcome.words} ${notice.outcome.reason ?? ''}`)}</p>`;
      const reminder = notice.kind === 'reminder' && !flaws.forgetsReminder ? '<p>Its time is soon over.</p>' : '';
      const html = `${ended}${reminder}<p>${text(`${notice.agent} asks for ${notice.capability}`)}</p>${notice.summary.map((line) => `<p>${text(line)}</p>`).join('')}${said}<a href="${text(notice.url)}">decide</a>`;
      if (flaws.logs) log(html);
      const posting = board.post(
        flaws.key?.(notice) ?? notice.id,
        html,
        flaws.ignoresAbort ? new AbortController().signal : signal,
      );
      await (flaws.saysAllIsWell ? posting.catch(() => {}) : posting);
      return `board:${notice.id}`;
    },
  };
}

/** The board as an entry of the registry. It is switched on by `WRIT_BOARD_<NAME>`. */
export function boardModule(name: string, channel: Channel): ChannelModule<object> {
  const variable = `WRIT_BOARD_${name.toUpperCase()}`;
  return {
    name,
    switchedOnBy: [variable],
    settings: z.object({ [variable]: z.url().describe('Where the board hangs.') }),
    create: () => channel,
  };
}

export async function boardHarness(flaws: BoardFlaws = {}): Promise<ChannelHarness> {
  const board = openBoard();
  const output: string[] = [];
  const make = () => boardChannel('board', board, flaws, (text) => void output.push(text));
  return { channel: make(), again: make, otherSide: board, output: () => output.join('\n'), close: async () => {} };
}
