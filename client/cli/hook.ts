/** `writ hook …`: a coding agent's hook, and what puts it into the agent's settings. */
import { parseArgs } from 'node:util';
import { hookSeconds } from '../hook/command-line.ts';
import { type HookReply, refused } from '../hook/event.ts';
import { type Agent, answerHook, isAgent } from '../hook/hook.ts';
import { wholeSeconds } from './whole-seconds.ts';

type Environment = { [name: string]: string | undefined };

/** Bytes that an agent may tell its hook: what tools returned is in it. */
const maxInputBytes = 32 * 1024 * 1024;

/**
 * @param args what follows `writ hook`
 * @returns the exit code; null = not understood
 */
export async function runHook(args: readonly string[], env: Environment): Promise<number | null> {
  const [first, agent, ...rest] = args;
  if (first === 'install' || first === 'uninstall')
    return isAgent(agent) ? (await import('./hook-install.ts')).changeHook(first, agent, rest, env) : null;
  return isAgent(first) ? answerOnce(first, args.slice(1), env) : null;
}

/**
 * Reads one event, answers it, and ends the process: whatever is open then must not hold the agent up.
 * An agent goes on when its hook takes too long, so this one says no before that.
 */
async function answerOnce(agent: Agent, args: readonly string[], env: Environment): Promise<never> {
  try {
    return finish(await replyTo(agent, args, env));
  } catch (error) {
    // A hook that is started wrongly lets nothing through either.
    return finish(refused(`Writ’s hook cannot run, so the tool call is denied: ${(error as Error).message}`));
  }
}

async function replyTo(agent: Agent, args: readonly string[], env: Environment): Promise<HookReply> {
  const { values } = parseArgs({
    args: [...args],
    options: { wait: { type: 'string', default: '240' }, timeout: { type: 'string', default: '30' } },
  });
  const waitSeconds = wholeSeconds('wait', values.wait, 0, 3600);
  const answerSeconds = wholeSeconds('timeout', values.timeout, 1, 45);
  const tooLate = setTimeout(
    () => finish(refused('Writ did not answer in time, so the tool call is denied.')),
    hookSeconds(waitSeconds) * 1000,
  );
  const input = await within(process.stdin, answerSeconds);
  const reply =
    input === null
      ? refused(`Writ cannot read what ${agent} told its hook: it is too long, or does not end. The call is denied.`)
      : await answerHook(agent, input, { socket: env.WRIT_SESSION_SOCKET, waitSeconds, answerSeconds });
  clearTimeout(tooLate);
  return reply;
}

function finish({ exitCode, stdout, stderr }: HookReply): never {
  // Pipes are written to synchronously: nothing is lost by ending here.
  if (stdout !== '') process.stdout.write(stdout);
  if (stderr !== '') process.stderr.write(stderr);
  process.exit(exitCode);
}

/** @returns null where it is too long, or not over in time */
async function within(stream: NodeJS.ReadStream, seconds: number): Promise<Uint8Array | null> {
  const timer = setTimeout(() => stream.destroy(new Error('too slow')), seconds * 1000);
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxInputBytes) return null;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}
