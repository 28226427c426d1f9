/** Which tools of the server may be shown and called: those of the session, as they were agreed to. */
import type { Members } from '../coaz.ts';
import type { CallDecision } from '../decision.ts';
import type { HostSession } from '../local/host-session.ts';
import { isMembers, type Response } from './message.ts';
import type { Pins } from './pins.ts';

export interface ToolList {
  /** The server's answer to `initialize`. */
  initialized(result: Members | undefined): void;
  /** The tools of a listing that the client may see. */
  admitted(result: Members): Promise<Members>;
  /** Why a tool may not be called whatever its arguments; null = it may. */
  heldBack(name: string, meta: unknown): Promise<string | null>;
  /** The server says that its list has changed. */
  changed(): void;
  /** A decision took tools away: a client that wants to know is told. */
  narrowed(decision: CallDecision, notify: (method: string) => void): void;
}

interface ToolListOptions {
  session: HostSession;
  pins: Pins;
  prefix: string;
  askServer(method: string, params: Members): Promise<Response>;
}

/** Pages of a server's list that are read. */
const maxPages = 100;
const maxTools = 2_000;

export function newToolList({ session, pins, prefix, askServer }: ToolListOptions): ToolList {
  /** What the server lists: whether it is what was agreed to. */
  let known = new Map<string, boolean>();
  /** Whether that is the whole of its list, as far as we were told. */
  let whole = false;
  let listing: Promise<void> | null = null;
  let tellsChanges = false;

  const admit = async (tools: readonly Members[], into: Map<string, boolean>): Promise<void> => {
    const admitted = await pins.admit(tools);
    for (const { name } of tools) {
      if (typeof name !== 'string') continue;
      // Listed twice, on two pages: held back when either is not what was agreed to.
      into.set(name, admitted.has(name) && into.get(name) !== false);
    }
  };

  /** Reads the server's list ourselves: a client may call what it has not listed. */
  const list = async (meta: unknown): Promise<void> => {
    const seen = new Map<string, boolean>();
    let cursor: unknown;
    for (let page = 0; page < maxPages && seen.size < maxTools; page += 1) {
      const { result, error } = await askServer('tools/list', {
        ...(cursor === undefined ? {} : { cursor }),
        ...(isMembers(meta) ? { _meta: withoutProgress(meta) } : {}),
      });
      if (result === undefined) throw new Error(`the server does not list its tools: ${error?.message}`);
      await admit(toolsIn(result), seen);
      cursor = result.nextCursor;
      if (typeof cursor !== 'string') break;
    }
    known = seen;
    whole = true;
  };

  return {
    initialized: (result) => {
      const { tools } = isMembers(result?.capabilities) ? result.capabilities : {};
      tellsChanges = isMembers(tools) && tools.listChanged === true;
    },
    admitted: async (result) => {
      const tools = toolsIn(result).slice(0, maxTools);
      const own = new Set((await session.tools()).map(({ name }) => name));
      await admit(tools, known);
      const shown = tools.filter(
        ({ name }) => typeof name === 'string' && known.get(name) === true && own.has(`${prefix}${name}`),
      );
      return {
        ...result,
        tools: shown,
        // It is this session's list, and as it is now.
        ...(result.ttlMs === undefined ? {} : { ttlMs: 0 }),
        ...(result.cacheScope === undefined ? {} : { cacheScope: 'private' }),
      };
    },
    heldBack: async (name, meta) => {
      // What is held back may have been agreed to meanwhile.
      if (known.get(name) !== true && !(whole && !known.has(name))) {
        listing ??= list(meta).finally(() => {
          listing = null;
        });
        await listing;
      }
      const agreed = known.get(name);
      if (agreed === true) return null;
      if (agreed === undefined) return `The call of ${name} was denied: the server lists no such tool.`;
      return (
        `The call of ${name} was denied: the server describes this tool otherwise than when it was agreed to. ` +
        'A person must look at it (`writ guard pins`) before it can be called.'
      );
    },
    changed: () => {
      known = new Map();
      whole = false;
    },
    narrowed: ({ withheld }, notify) => {
      if (tellsChanges && (withheld?.length ?? 0) > 0) notify('notifications/tools/list_changed');
    },
  };
}

const toolsIn = ({ tools }: Members): Members[] => (Array.isArray(tools) ? tools.filter(isMembers) : []);

/** The client's own notes (revision, capabilities), for a request that it did not make. */
function withoutProgress({ progressToken: _token, ...meta }: Members): Members {
  return meta;
}
