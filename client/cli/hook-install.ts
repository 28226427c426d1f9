/** `writ hook install` and `uninstall`. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type HookCommand, quoted } from '../hook/command-line.ts';
import type { Agent } from '../hook/hook.ts';
import { carryOut, plannedChange } from '../hook/install.ts';
import { wholeSeconds } from './whole-seconds.ts';

type Environment = { [name: string]: string | undefined };

/** What the person has to do besides. */
const notes: { [agent in Agent]: string | null } = {
  'claude-code': null,
  codex: 'Codex runs a hook only once you have trusted it: start codex, and accept it under /hooks',
  opencode: null,
};

/**
 * @returns the exit code
 * @throws FaultyFile where the agent's file cannot be changed without loss
 */
export async function changeHook(
  verb: 'install' | 'uninstall',
  agent: Agent,
  args: readonly string[],
  env: Environment,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      user: { type: 'boolean', default: false },
      'dry-run': { type: 'boolean', default: false },
      command: { type: 'string' },
      wait: { type: 'string', default: '240' },
    },
  });
  const waitSeconds = wholeSeconds('wait', values.wait, 0, 3600);
  const command: HookCommand | null =
    verb === 'install' ? { agent, waitSeconds, writ: values.command ?? writHere(env) } : null;
  const change = await plannedChange(agent, { folder: process.cwd(), user: values.user, env }, command);
  const { path, before, after } = change;
  if (values['dry-run']) {
    process.stdout.write(after ?? '');
    console.error(
      before === after ? `${path} would stay as it is` : `${path} would ${after === null ? 'go' : 'become this'}`,
    );
    return 0;
  }
  await carryOut(change);
  const done = after === before ? 'is as it should be' : after === null ? 'is removed' : 'is written';
  console.log(`✔ ${path} ${done}`);
  const note = verb === 'install' ? notes[agent] : null;
  if (note !== null) console.log(`· ${note}`);
  return 0;
}

/** `writ` where a shell finds it, so that the settings fit other machines; else this very file. */
function writHere(env: Environment): string {
  const found = (env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && isExecutable(join(folder, 'writ')));
  return found ? 'writ' : `${quoted(process.execPath)} ${quoted(process.argv[1] ?? '')}`;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
