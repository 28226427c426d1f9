/** Puts the hook into an agent's settings, and takes it out. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { HookCommand } from './command-line.ts';
import type { Agent } from './hook.ts';
import { changedPlugin } from './opencode-plugin.ts';
import { changedSettings, FaultyFile } from './settings-file.ts';

export interface Place {
  /** The project's folder. */
  folder: string;
  /** The person's own settings instead of the project's. */
  user: boolean;
  env: { [name: string]: string | undefined };
}

export interface Change {
  path: string;
  before: string | null;
  /** null = the file goes. */
  after: string | null;
}

/** Where each agent looks. */
export function settingsPath(agent: Agent, { folder, user, env }: Place): string {
  const home = env.HOME || homedir();
  switch (agent) {
    case 'claude-code':
      return join(user ? env.CLAUDE_CONFIG_DIR || join(home, '.claude') : join(folder, '.claude'), 'settings.json');
    case 'codex':
      return join(user ? env.CODEX_HOME || join(home, '.codex') : join(folder, '.codex'), 'hooks.json');
    case 'opencode': {
      const config = join(env.XDG_CONFIG_HOME || join(home, '.config'), 'opencode');
      return join(user ? config : join(folder, '.opencode'), 'plugins', 'writ.js');
    }
  }
}

/**
 * What is to become of the file; nothing is written yet.
 * @param command null takes the hook out
 * @throws FaultyFile with the file's path
 */
export async function plannedChange(agent: Agent, place: Place, command: HookCommand | null): Promise<Change> {
  const path = settingsPath(agent, place);
  const before = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new FaultyFile(`${path}: cannot be read: ${error.code}`);
  });
  try {
    const after = agent === 'opencode' ? changedPlugin(before, command) : changedSettings(before, agent, command);
    return { path, before, after };
  } catch (error) {
    if (error instanceof FaultyFile) throw new FaultyFile(`${path}: ${error.message}`);
    throw error;
  }
}

/** Whoever reads the file sees what was or what is, and never a part. */
export async function carryOut({ path, before, after }: Change): Promise<void> {
  if (after === before) return;
  if (after === null) {
    await rm(path);
    return;
  }
  await mkdir(dirname(path), { recursive: true });
  // People keep their settings elsewhere and link to them: the link stays.
  const target = before === null ? path : await realpath(path);
  const mode = before === null ? 0o644 : (await stat(target)).mode & 0o777;
  const written = `${target}.${randomUUID()}`;
  try {
    const file = await open(written, 'wx', mode);
    try {
      await file.writeFile(after);
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(written, target);
  } catch (error) {
    await rm(written, { force: true });
    throw error;
  }
}
