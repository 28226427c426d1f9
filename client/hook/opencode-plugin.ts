/** The plugin through which opencode asks `writ hook opencode`: a file of its own. */
import { agentSeconds, type HookCommand, hookCommand } from './command-line.ts';
import { FaultyFile } from './settings-file.ts';

const mark = '// Written by `writ hook install opencode`; `writ hook uninstall opencode` removes it.';

/**
 * @returns what the file is to hold; null when it is to go
 * @throws FaultyFile where it is somebody else's
 */
export function changedPlugin(text: string | null, command: HookCommand | null): string | null {
  if (text !== null && !text.startsWith(mark)) throw new FaultyFile('is not a plugin that `writ hook install` wrote');
  return command === null ? null : plugin(command);
}

/**
 * Plain JavaScript for opencode's own runtime, of which it uses nothing but what Node has too. A hook that
 * throws makes the tool call fail, with the error's text for the model.
 */
const plugin = (command: HookCommand): string => `${mark}
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';

const command = ${JSON.stringify(`exec ${hookCommand(command)}`)};
const limitMs = ${agentSeconds(command.waitSeconds) * 1000};

/** Throws what the hook says, unless it passes. */
function ask(hook, input, output) {
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'ignore', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
    const refuse = (text) => {
      clearTimeout(timer);
      reject(new Error(text.trim() || 'Writ could not be asked, so the tool call is denied.'));
    };
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += chunk;
    });
    child.once('error', () => refuse(''));
    child.once('close', (code) => {
      if (code !== 0) return refuse(said);
      clearTimeout(timer);
      resolve();
    });
    child.stdin.on('error', () => {});
    child.stdin.end(JSON.stringify({ hook, input, output }));
  });
}

export const Writ = async ({ client }) => {
  // Not every provider of a model gives its calls ids that never come again.
  const allowed = new Map();
  const key = ({ sessionID, callID }) => JSON.stringify([sessionID, callID]);
  const warn = (error) =>
    client.app.log({ body: { service: 'writ', level: 'warn', message: error.message } }).catch(() => {});

  return {
    'tool.execute.before': async (input, output) => {
      const callID = \`\${input.callID}.\${randomUUID()}\`;
      await ask('tool.execute.before', { ...input, callID }, { args: output.args ?? {} });
      allowed.set(key(input), { ...input, callID, args: output.args ?? {} });
    },
    'tool.execute.after': async (input, output) => {
      const call = allowed.get(key(input));
      allowed.delete(key(input));
      await ask('tool.execute.after', call ?? { ...input, args: input.args ?? {} }, output);
    },
    // A tool that fails has no hook of its own.
    event: async ({ event }) => {
      const { part } = event.properties ?? {};
      if (event.type !== 'message.part.updated' || part?.type !== 'tool' || part.state?.status !== 'error') return;
      const call = allowed.get(key(part));
      if (call === undefined) return;
      allowed.delete(key(part));
      await ask('tool.execute.after', call, { error: String(part.state.error ?? '') }).catch(warn);
    },
    // The prompt of a sub-agent is a model's; its session has a parent. Of what is not known, nothing is said.
    'chat.message': async (input, output) => {
      const found = await client.session.get({ path: { id: input.sessionID } }).catch(() => undefined);
      if (found?.data === undefined || found.data.parentID) return;
      await ask('chat.message', input, { parts: output.parts }).catch(warn);
    },
  };
};
`;
