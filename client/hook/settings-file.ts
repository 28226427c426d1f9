/**
 * The hooks of Claude Code and of Codex stand in a JSON file: `hooks`, then by event a list of groups, each
 * with the commands to run. Ours are put in and taken out; whatever else is there stays as it is.
 */
import { agentSeconds, type HookCommand, hookCommand, isHookCommand, orRefused, orTold } from './command-line.ts';
import type { Agent } from './hook.ts';

/** A file that cannot be changed without losing something of it. */
export class FaultyFile extends Error {
  override readonly name = 'FaultyFile';
}

interface Group {
  matcher?: string;
  hooks: { [member: string]: unknown }[];
}
type Hooks = { [event: string]: Group[] };
type Settings = { [member: string]: unknown };

/**
 * @param text what the file holds; null when it is not there
 * @param command what to put in; null takes ours out
 * @returns what it is to hold; null when nothing is left in it
 * @throws FaultyFile
 */
export function changedSettings(text: string | null, agent: Agent, command: HookCommand | null): string | null {
  const settings = text === null || text.trim() === '' ? {} : settingsIn(text);
  const others = withoutOurs(hooksIn(settings), agent);
  if (command !== null && settings.disableAllHooks === true)
    throw new FaultyFile('disableAllHooks is true: no hook would run');
  const hooks = command === null ? others : withOurs(others, command);
  const changed: Settings = { ...settings, hooks };
  if (Object.keys(hooks).length === 0) delete changed.hooks;
  if (JSON.stringify(changed) === JSON.stringify(settings)) return text;
  return Object.keys(changed).length === 0 ? null : `${JSON.stringify(changed, null, indentOf(text))}\n`;
}

function withOurs(hooks: Hooks, command: HookCommand): Hooks {
  const ours = hooksOf(command);
  const events = [...new Set([...Object.keys(hooks), ...Object.keys(ours)])];
  return Object.fromEntries(events.map((event) => [event, [...(hooks[event] ?? []), ...(ours[event] ?? [])]]));
}

function hooksOf(command: HookCommand): Hooks {
  const { agent } = command;
  const line = hookCommand(command);
  const timeout = agentSeconds(command.waitSeconds);
  const asked = { type: 'command', command: orRefused(line), timeout };
  const tellsOnly = { type: 'command', command: orTold(line), timeout: 30 };
  const everyTool = (hook: object): Group[] => [{ matcher: '*', hooks: [{ ...hook }] }];
  return {
    // Claude Code from 2.1.295 on: a hook that it stops waiting for denies, too. Earlier ones ignore it.
    PreToolUse: everyTool(agent === 'claude-code' ? { ...asked, onFailure: 'block' } : asked),
    PostToolUse: everyTool(asked),
    // Codex has no event of its own for tools that fail.
    ...(agent === 'claude-code' ? { PostToolUseFailure: everyTool(asked) } : {}),
    UserPromptSubmit: [{ hooks: [tellsOnly] }],
    SessionStart: [{ hooks: [tellsOnly] }],
  };
}

/** A group or an event that held nothing but ours goes with it. */
function withoutOurs(hooks: Hooks, agent: Agent): Hooks {
  const events = Object.entries(hooks).map(([event, groups]) => {
    const left = groups.flatMap((group) => {
      const theirs = group.hooks.filter(({ command }) => !isHookCommand(command, agent));
      if (theirs.length === group.hooks.length) return [group];
      return theirs.length === 0 ? [] : [{ ...group, hooks: theirs }];
    });
    return [event, left, groups.length] as const;
  });
  return Object.fromEntries(
    events.flatMap(([event, left, before]) => (left.length === 0 && before > 0 ? [] : [[event, left]])),
  );
}

/** @throws FaultyFile */
function settingsIn(text: string): Settings {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FaultyFile(`is not JSON: ${(error as Error).message}`);
  }
  return objectAt(value, 'the file');
}

/** @throws FaultyFile */
function hooksIn(settings: Settings): Hooks {
  if (settings.hooks === undefined) return {};
  const events = objectAt(settings.hooks, 'hooks');
  for (const [event, groups] of Object.entries(events)) {
    for (const [index, group] of listAt(groups, `hooks.${event}`).entries()) {
      const at = `hooks.${event}.${index}`;
      for (const [place, hook] of listAt(objectAt(group, at).hooks, `${at}.hooks`).entries())
        objectAt(hook, `${at}.hooks.${place}`);
    }
  }
  return events as Hooks;
}

function objectAt(value: unknown, path: string): Settings {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new FaultyFile(`${path}: must be an object`);
  return value as Settings;
}

function listAt(value: unknown, path: string): unknown[] {
  if (!Array.isArray(value)) throw new FaultyFile(`${path}: must be a list`);
  return value;
}

/** The file's own indent. */
const indentOf = (text: string | null): string => /^[{[]\r?\n([ \t]+)/.exec(text ?? '')?.[1] ?? '  ';
