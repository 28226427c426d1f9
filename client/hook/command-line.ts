/**
 * The commands that stand in an agent's settings. Agents go on when a hook cannot be started or ends with any
 * code but 0 and 2, so a shell around it makes a 2 of every other. It is /bin/sh by name: Codex hands a
 * command to the person's own shell, which need not read this.
 */
import type { Agent } from './hook.ts';

/** Seconds of a hook's own, beyond what it may wait for a person. */
const ownSeconds = 50;

/** When a hook gives up, and says no. */
export const hookSeconds = (waitSeconds: number): number => waitSeconds + ownSeconds;

/** When an agent stops waiting for it, and may go on: later than that. */
export const agentSeconds = (waitSeconds: number): number => hookSeconds(waitSeconds) + 10;

export interface HookCommand {
  /** How `writ` is started, in words for a shell. */
  writ: string;
  agent: Agent;
  waitSeconds: number;
}

export const hookCommand = ({ writ, agent, waitSeconds }: HookCommand): string =>
  `${writ} hook ${agent} --wait ${waitSeconds}`;

/** For a hook before a call, or after it: whatever fails is a "no". */
export const orRefused = (command: string): string =>
  inShell(`${command} || { [ $? = 2 ] || echo "Writ could not be asked, so the tool call is denied." >&2; exit 2; }`);

/** For a hook that nothing waits for. */
export const orTold = (command: string): string =>
  inShell(`${command} || { echo "Writ could not be told." >&2; exit 1; }`);

/** Whether a command in somebody's settings is one of these. */
export const isHookCommand = (command: unknown, agent: Agent): boolean =>
  typeof command === 'string' && command.includes(` hook ${agent} --wait `) && command.includes('Writ could not be');

const inShell = (script: string): string => `/bin/sh -c '${script.replaceAll("'", "'\\''")}'`;

/** One word for a shell. */
export const quoted = (word: string): string => `"${word.replace(/[\\"$`]/g, '\\$&')}"`;
