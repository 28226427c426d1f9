/** For tests of what uses a local process: the real command, started as users start it. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import type { Harness } from '../broker.test-support.ts';

export const writCommand = join(import.meta.dirname, '../cli/writ.ts');

/** How Node starts it: what it compiled is kept, as for every test file (docs/decisions/test-runner.md). */
export const writFlags = ['--disable-warning=ExperimentalWarning', '--liftoff-only'];
export const compiled = {
  NODE_COMPILE_CACHE: join(import.meta.dirname, '../../node_modules/.cache/writ/compile'),
};

export type Writ = ChildProcessByStdio<Writable, Readable, Readable>;

/** The environment of an agent's machine: the broker, the task, and the platform's own token service. */
export const agentEnvironment = (harness: Harness): { [name: string]: string } => ({
  PATH: process.env.PATH ?? '',
  NODE_NO_WARNINGS: '1',
  ...compiled,
  WRIT_URL: harness.url,
  WRIT_TASK_TYPE: 'answer-invoice-question',
  ...harness.jobEnvironment,
});

export function startWrit(args: readonly string[], env: { [name: string]: string }): Writ {
  return spawn(process.execPath, [...writFlags, writCommand, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
}

/** Runs it to its end. */
export async function runWrit(
  args: readonly string[],
  env: { [name: string]: string },
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = startWrit(args, env);
  child.stdin.end();
  const [stdout, stderr, [code]] = await Promise.all([all(child.stdout), all(child.stderr), once(child, 'close')]);
  return { code, stdout, stderr };
}

async function all(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/**
 * A session held for a test: the process, and the path of its socket.
 * @param holder the test at whose end the process is killed, if it still lives; null = the caller ends it
 */
export async function openHeld(
  holder: Pick<TestContext, 'after'> | null,
  harness: Harness,
  args: readonly string[] = ['--input', 'customer_id=42'],
): Promise<{ child: Writ; socket: string; ended: Promise<number | null> }> {
  const child = startWrit(['session', 'open', ...args], agentEnvironment(harness));
  holder?.after(() => void child.kill('SIGKILL'));
  const stderr = all(child.stderr);
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const lines = createInterface({ input: child.stdout });
  const line = await Promise.race([once(lines, 'line').then(([text]) => String(text)), ended.then(() => null)]);
  const socket = line === null ? undefined : /^export WRIT_SESSION_SOCKET='(.+)'$/.exec(line)?.[1];
  if (socket === undefined) {
    child.kill('SIGKILL');
    throw new Error(`no session was opened: ${line} ${await stderr}`);
  }
  return { child, socket, ended };
}
