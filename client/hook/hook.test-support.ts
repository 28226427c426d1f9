/** For tests of the hook: the command as an agent starts it, and the manifest of docs/hooks.md. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { compiled, writCommand, writFlags } from '../local/local.test-support.ts';

export interface Answered {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** @param input what the agent writes to the hook's standard input */
export async function askHook(
  args: readonly string[],
  input: object | string | Uint8Array,
  env: { [name: string]: string } = {},
): Promise<Answered> {
  return start(process.execPath, [...writFlags, writCommand, 'hook', ...args], input, env);
}

/** A command line as it stands in an agent's settings, started as agents start it. */
export const askShell = (line: string, input: object, env: { [name: string]: string } = {}): Promise<Answered> =>
  start('/bin/sh', ['-c', line], input, env);

async function start(
  program: string,
  args: readonly string[],
  input: object | string | Uint8Array,
  env: { [name: string]: string },
): Promise<Answered> {
  const child = spawn(program, args, {
    env: { PATH: process.env.PATH ?? '', NODE_NO_WARNINGS: '1', ...compiled, ...env },
    stdio: 'pipe',
  });
  // It may have answered before it has read all.
  child.stdin.on('error', () => {});
  child.stdin.end(typeof input === 'string' || input instanceof Uint8Array ? input : JSON.stringify(input));
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code, stdout, stderr };
}

/** The manifest that docs/hooks.md shows. */
export async function documentedManifest(): Promise<string> {
  const page = await readFile(join(import.meta.dirname, '../../docs/hooks.md'), 'utf8');
  const [, manifest] = /```yaml\n(apiVersion[\s\S]*?)```/.exec(page) ?? [];
  if (manifest === undefined) throw new Error('docs/hooks.md shows no manifest');
  return manifest;
}

/** Tools of an MCP server, and what becomes of who calls them. */
const operations = {
  tools: `
  mcp__ops__deploy: { description: Deploys a version. }
  mcp__ops__wipe: {}
  mcp__ops__leave: {}`,
  rules: `
  - { id: deploys, message: A person looks at each deployment., on: { tool: mcp__ops__deploy }, effect: approve }
  - { id: wipes, message: Nobody wipes anything., on: { tool: mcp__ops__wipe }, effect: suspend }
  - { id: leaves, message: That was the last call., on: { tool: mcp__ops__leave }, effect: terminate }`,
};

/** A folder with that manifest and these tools, for the agent that the tests' broker knows. */
export async function manifestFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-hook-'));
  const manifest = (await documentedManifest())
    .replace('agent: coding-agent', 'agent: invoice-bot')
    .replace('owner: team:engineering', 'owner: team:billing')
    .replace('\ntools:', `\ntools:${operations.tools}`)
    .replace('\nrules:', `\nrules:${operations.rules}`);
  await writeFile(join(folder, 'coding.yaml'), manifest);
  return folder;
}
