/**
 * Which id a call has at Writ. It is made of the agent's own ids, so that the hook after a call finds what
 * the hook before it asked for, in another process.
 *
 * A call that waits for a person is asked for again under the id that the person was asked about. The agent's
 * model repeats it as another call; so the id is left behind, beside the session's socket, under a digest of
 * the tool and its arguments, for whoever asks for the same. A rename takes it: of two, one gets it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { HookedCall } from './event.ts';

const digest = (value: unknown): string => createHash('sha256').update(JSON.stringify(value)).digest('base64url');

/** Members in one order: two texts of the same JSON are one call. */
const sorted = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sorted)
    : typeof value === 'object' && value !== null
      ? Object.entries(value)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, member]) => [name, sorted(member)])
      : value;

export interface CallIds {
  /** Before the call: its own id, or that of the same call which waits for a person. */
  take(): string;
  /** It waits, and the agent may end its hook at any moment: the same call, asked for again, has this id. */
  leave(callId: string): void;
  /** Takes back what was left. @returns false where somebody else has taken it, and makes the call */
  claim(callId: string): boolean;
  /** After the call: the id that it was made under. */
  find(): string;
  /** Nothing will be heard of it again. */
  forget(): void;
}

/**
 * @param socket the session's; the files go with its folder, which is this user's own
 * @param agent whose ids these are
 */
export function callIds(socket: string, agent: string, { tool, arguments: args, ids }: HookedCall): CallIds {
  const own = digest([agent, ...ids]);
  const folder = join(dirname(socket), 'calls');
  const waiting = `waits-${digest([tool, sorted(args)])}-`;
  const taken = join(folder, `taken-${own}`);
  return {
    take: () => {
      const left = filesIn(folder).filter((name) => name.startsWith(waiting));
      return left.some((name) => moved(join(folder, name), taken)) ? (readIfThere(taken) ?? own) : own;
    },
    leave: (callId) => {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      writeFileSync(taken, callId, { mode: 0o600 });
      renameSync(taken, join(folder, waiting + callId));
    },
    claim: (callId) => moved(join(folder, waiting + callId), taken),
    find: () => readIfThere(taken) ?? own,
    forget: () => rmSync(taken, { force: true }),
  };
}

/** The folder is there once something has waited. */
function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readIfThere(path: string): string | null {
  try {
    const text = readFileSync(path, 'utf8');
    return /^[A-Za-z0-9_-]{43}$/.test(text) ? text : null;
  } catch {
    return null;
  }
}

function moved(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch {
    return false;
  }
}
