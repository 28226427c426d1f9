/** What a coding agent tells its hooks, in words that are the same for all agents; and what one answers. */

/** A tool call, as the agent's own hook describes it. */
export interface HookedCall {
  /** The agent's own name of the tool: what a manifest lists. */
  tool: string;
  arguments: { [name: string]: unknown };
  /** Ids of the agent that together name the call before and after it: its session's, and the call's own. */
  ids: readonly string[];
  /** What prompted it: the agent's id of the turn. */
  promptedBy?: string;
}

export type HookEvent =
  /** A tool is about to be called; it waits for the answer. */
  | { kind: 'before'; call: HookedCall }
  /** It was called. */
  | { kind: 'after'; call: HookedCall; outcome: 'response' | 'error'; output: unknown; structured?: unknown }
  /** The person said something. */
  | { kind: 'words'; text: string }
  /** The agent has started: its model can be told what holds. */
  | { kind: 'start' }
  /** Nothing that Writ decides on or records. */
  | { kind: 'other' };

/** What is answered; each agent has its own way of saying it. */
export type HookAnswer =
  /** The call may be made, or the event is dealt with. */
  | { kind: 'pass' }
  /** The call is not made; the model reads why, and what would pass. */
  | { kind: 'deny'; reason: string }
  /** The result is not on record: the model goes no further with it. */
  | { kind: 'halt'; reason: string }
  /** For the model, at its start. */
  | { kind: 'context'; text: string }
  /** For the person; nothing is held up. */
  | { kind: 'notice'; text: string };

/** What the hook's process does. Exit code 2 is every agent's own "no". */
export interface HookReply {
  exitCode: 0 | 1 | 2;
  stdout: string;
  stderr: string;
}

/** How one agent speaks to its hooks. */
export interface Dialect {
  /** What the agent wrote to the hook's standard input, parsed. @throws BadPayload */
  read(payload: unknown): HookEvent;
  reply(event: HookEvent, answer: HookAnswer): HookReply;
}

/** What is no event of the agent. Of what cannot be read, nobody knows that it is harmless. */
export class BadPayload extends Error {
  override readonly name = 'BadPayload';
}

export type Members = { [name: string]: unknown };

/** @throws BadPayload */
export function membersOf(value: unknown, what: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new BadPayload(`${what} is no object`);
  return value as Members;
}

/** @throws BadPayload */
export function textOf(members: Members, name: string): string {
  const value = members[name];
  if (typeof value !== 'string' || value === '') throw new BadPayload(`${name} is no text`);
  return value;
}

export const passed: HookReply = { exitCode: 0, stdout: '', stderr: '' };

/** @param reason never empty: an agent that is given none may go on */
export const refused = (reason: string): HookReply => ({ exitCode: 2, stdout: '', stderr: `${reason}\n` });

/** A hook that failed where nothing waits for it: the agent tells the person, and goes on. */
export const told = (text: string): HookReply => ({ exitCode: 1, stdout: '', stderr: `${text}\n` });
