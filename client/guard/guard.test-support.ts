/** For tests of the guard: the real command before a real broker, spoken to in lines or by a real client. */
import { once } from 'node:events';
import { cp, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Harness } from '../broker.test-support.ts';
import type { Members } from '../coaz.ts';
import { agentEnvironment, startWrit, type Writ, writCommand } from '../local/local.test-support.ts';

export const manifest = join(import.meta.dirname, 'test-manifest.yaml');
const rogueServer = join(import.meta.dirname, 'rogue-server.test-support.ts');

/** A published server, as a command. */
export function publishedServer(name: string, ...args: string[]): string[] {
  const found = createRequire(import.meta.url).resolve(`@modelcontextprotocol/${name}/package.json`);
  return [process.execPath, join(dirname(found), 'dist/index.js'), ...args];
}

/**
 * The inspector's command line reads its version from where it lies in its own repository, and cannot be
 * started as it is published. So it is laid out as it is there.
 * @returns its program, in that folder
 */
export async function inspectorIn(folder: string): Promise<string> {
  const found = createRequire(import.meta.url).resolve('@modelcontextprotocol/inspector-cli/package.json');
  const published = dirname(found);
  const unpacked = join(folder, 'inspector');
  await cp(published, join(unpacked, 'cli'), { recursive: true });
  await cp(found, join(unpacked, 'package.json'));
  await symlink(join(published, '../..'), join(unpacked, 'node_modules'));
  return join(unpacked, 'cli/build/index.js');
}

/** `writ guard`, as a client starts it: program, arguments and environment. */
export function guarded(
  harness: Harness,
  server: readonly string[],
  { options = [], env = {} }: { options?: readonly string[]; env?: { [name: string]: string } } = {},
) {
  return {
    command: process.execPath,
    args: [
      writCommand,
      'guard',
      '--input',
      'customer_id=42',
      ...options,
      ...(server.length > 0 ? ['--', ...server] : []),
    ],
    env: { ...agentEnvironment(harness), WRIT_STATE_DIR: join(harness.folder, 'state'), ...env },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of the guard; each test looks at what it expects
type Json = any;

/** A client that says exactly what a test wants said. */
export interface RawClient {
  child: Writ;
  /** Everything that came, in order. */
  seen: Json[];
  say(message: unknown): void;
  /** The first message that fits, also one that has come already. */
  heard(fits: (message: Json) => boolean): Promise<Json>;
  ask(id: number | string, method: string, params?: Members): Promise<Json>;
  call(id: number | string, name: string, args?: Members, more?: Members): Promise<Json>;
  /** What was said to people. */
  stderr(): string;
  exit: Promise<number | null>;
  close(): Promise<number | null>;
}

const started = new Set<Writ>();
/** For tests that failed before they hung up. */
export function endClients(): void {
  for (const child of started) child.kill();
}

/** Starts the guard before the rogue server, or another one, and shakes hands. */
export async function rawClient(
  harness: Harness,
  {
    mode = 'honest',
    server = [process.execPath, '--disable-warning=ExperimentalWarning', rogueServer, mode],
    capabilities = {},
    handshake = true,
    ...options
  }: {
    mode?: string;
    server?: readonly string[];
    capabilities?: Members;
    handshake?: boolean;
    options?: readonly string[];
    env?: { [name: string]: string };
  } = {},
): Promise<RawClient> {
  const { args, env } = guarded(harness, server, options);
  const child = startWrit(args.slice(1), env);
  started.add(child);
  const seen: Json[] = [];
  const waiting = new Set<() => void>();
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
    for (const look of waiting) look();
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    seen.push(JSON.parse(line));
    for (const look of waiting) look();
  });
  const exit = once(child, 'close').then(([code]) => code as number | null);
  const heard = (fits: (message: Json) => boolean) =>
    new Promise<Json>((resolve, reject) => {
      const look = () => {
        const found = seen.find(fits);
        if (found === undefined) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
      void exit.then((code) => reject(new Error(`writ guard ended (${code}): ${stderr}`)));
    });
  const say = (message: unknown) => {
    child.stdin.write(typeof message === 'string' ? message : `${JSON.stringify(message)}\n`);
  };
  const ask = (id: number | string, method: string, params: Members = {}) => {
    say({ jsonrpc: '2.0', id, method, params });
    return heard((message) => message.id === id && message.method === undefined);
  };
  if (handshake) {
    const clientInfo = { name: 'raw', version: '1' };
    await ask('init', 'initialize', { protocolVersion: '2025-11-25', capabilities, clientInfo });
    say({ jsonrpc: '2.0', method: 'notifications/initialized' });
  }
  return {
    child,
    seen,
    say,
    heard,
    ask,
    call: (id, name, args = {}, more = {}) => ask(id, 'tools/call', { name, arguments: args, ...more }),
    stderr: () => stderr,
    exit,
    close: () => {
      child.stdin.end();
      return exit;
    },
  };
}

export const textOf = ({ result }: Json): string => result?.content?.[0]?.text ?? '';
