/**
 * Holds a session for a command, or for whoever started this process: the key and the token are in this
 * process's memory and nowhere else. Whatever way that one ends, the session ends with it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { type Clock, systemClock } from '../clock.ts';
import type { Session } from '../index.ts';
import { type Environment, identityVariables } from './from-environment.ts';
import { type HostSession, hostSessionOf } from './host-session.ts';
import { serveSession } from './serve.ts';

export const socketVariable = 'WRIT_SESSION_SOCKET';

/** How long a command may take to end when it is told to. */
const graceMs = 10_000;
const parentCheckMs = 500;
const signals = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'] as const;

/**
 * Runs the command with the socket in its environment, and ends the session when it has ended.
 * @param keepIdentity the command may open sessions of its own
 * @returns the command's exit code; of a signal, 128 and its number
 */
export async function holdForCommand(
  session: Session,
  [command, ...args]: readonly [string, ...string[]],
  { env, keepIdentity, clock = systemClock }: { env: Environment; keepIdentity: boolean; clock?: Clock },
): Promise<number> {
  const host = hostSessionOf(session);
  const server = await serveSession(host, { env });
  const withheld = new Set<string>(keepIdentity ? [] : identityVariables);
  const own = Object.entries(env).filter(([name]) => !withheld.has(name));
  const stop = tellEnd(session);
  try {
    const child = spawn(command, args, {
      stdio: 'inherit',
      env: { ...Object.fromEntries(own), [socketVariable]: server.path },
    });
    return await exitCodeOf(child, command, clock);
  } finally {
    stop();
    await endQuietly(session, host);
    await server.close();
  }
}

/**
 * Says where the socket is, in words for a shell, and stays until it is told to end, by a signal or through
 * the socket, or until whoever started it has gone.
 * @param say prints one line
 * @param options `parent`: process that started it, as it was before the session was opened: it may have gone
 *   meanwhile
 */
export async function holdForParent(
  session: Session,
  say: (line: string) => void,
  { env, parent, clock = systemClock }: { env: Environment; parent: number; clock?: Clock },
): Promise<number> {
  const host = hostSessionOf(session);
  const server = await serveSession(host, { env });
  const stopped = new AbortController();
  const told = () => stopped.abort();
  for (const signal of signals) process.once(signal, told);
  void session.ended.then(told);
  say(`export ${socketVariable}=${quoted(server.path)}`);
  try {
    // A process whose parent is gone gets another one.
    while (!stopped.signal.aborted && process.ppid === parent)
      await clock.sleep(parentCheckMs, stopped.signal).catch(() => {});
  } finally {
    for (const signal of signals) process.removeListener(signal, told);
    await endQuietly(session, host);
    await server.close();
  }
  return 0;
}

/** For a shell: nothing in it means anything. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** A session that ends while its command runs: the command goes on, and each of its calls is denied. */
function tellEnd(session: Session): () => void {
  let listening = true;
  void session.ended.then(({ reason }) => {
    if (listening)
      process.stderr.write(`writ: the session has ended (${reason}); its tool calls are denied from here on\n`);
  });
  return () => {
    listening = false;
  };
}

/** Its heartbeats stop in any case: what cannot be ended now ends at its deadline. */
async function endQuietly(session: Session, host: HostSession): Promise<void> {
  if (session.signal.aborted) return;
  await host.end().catch((error: Error) => {
    process.stderr.write(`writ: the session could not be ended, and ends without its heartbeats: ${error.message}\n`);
  });
}

function exitCodeOf(child: ChildProcess, command: string, clock: Clock): Promise<number> {
  const done = new AbortController();
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal);
    clock.sleep(graceMs, done.signal).then(
      () => child.kill('SIGKILL'),
      () => {},
    );
  };
  // What is typed at a terminal reaches the command by itself, and an interactive one may go on after it.
  const interrupt = (signal: NodeJS.Signals) => {
    if (!process.stdin.isTTY) child.kill(signal);
  };
  const handlers = { SIGTERM: end, SIGHUP: end, SIGINT: interrupt, SIGQUIT: interrupt };
  const given = signals.map((signal) => [signal, () => handlers[signal](signal)] as const);
  for (const [signal, handler] of given) process.on(signal, handler);
  return new Promise<number>((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      process.stderr.write(`writ: ${command} could not be started: ${error.code ?? error.message}\n`);
      // As a shell has it: 127 not found, 126 not to be run.
      resolve(error.code === 'ENOENT' ? 127 : 126);
    });
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  }).finally(() => {
    done.abort();
    for (const [signal, handler] of given) process.removeListener(signal, handler);
  });
}
