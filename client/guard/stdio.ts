/** MCP over standard input and output: one message a line (revisions 2024-11-05 to 2026-07-28 alike). */
import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../clock.ts';
import { BadLine, lineReader } from '../local/lines.ts';
import { BadMessage, readMessage } from './message.ts';
import { maxMessageBytes, maxWaitingBytes, type Transport, type TransportEvents } from './transport.ts';

/** Reads messages from one stream and writes them to another. */
function onStreams(from: Readable, to: Writable, events: TransportEvents): Pick<Transport, 'send'> {
  let stopped = false;
  const stop = (why: string) => {
    stopped = true;
    events.onClose(why);
  };
  const read = lineReader(maxMessageBytes, (line) => {
    try {
      events.onMessage(readMessage(line));
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      events.onFault(error.code, error.message);
    }
  });
  from.on('data', (chunk: Buffer) => {
    if (stopped) return;
    try {
      read(chunk);
    } catch (error) {
      if (!(error instanceof BadLine)) throw error;
      stop(error.message);
    }
  });
  // Whoever does not read any more: what is written to them is lost, and their end is told elsewhere.
  to.on('error', () => {});
  return {
    send: (message) => {
      if (!to.writable || stopped) return;
      to.write(`${JSON.stringify(message)}\n`);
      if (to.writableLength > maxWaitingBytes) stop('what is sent to it is not read');
    },
  };
}

/** The client, which started us. */
export function stdioClient(stdin: Readable, stdout: Writable, events: TransportEvents): Transport {
  const { send } = onStreams(stdin, stdout, events);
  for (const end of ['end', 'close', 'error']) stdin.once(end, () => events.onClose('the client has gone'));
  return {
    send,
    close: async () => {
      stdin.destroy();
    },
  };
}

/** How long a server may take to end after its input has, and after it was told to (MCP, "Shutdown"). */
const graceMs = 2_000;

/**
 * A server that is started by us. What it writes to its standard error goes to ours.
 * @throws Error with a `code` when it cannot be started
 */
export async function stdioServer(
  [command, ...args]: readonly [string, ...string[]],
  env: { [name: string]: string },
  clock: Clock,
  events: TransportEvents,
): Promise<Transport> {
  const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  child.on('error', () => {});
  const { send } = onStreams(child.stdout, child.stdin, events);
  void gone.then(() => events.onClose('the server has ended'));
  const within = async () => {
    const waited = new AbortController();
    const slow = clock.sleep(graceMs, waited.signal).then(
      () => false,
      () => false,
    );
    const ended = await Promise.race([gone.then(() => true), slow]);
    waited.abort();
    return ended;
  };
  return {
    send,
    close: async () => {
      child.stdin.end();
      if (await within()) return;
      child.kill('SIGTERM');
      if (await within()) return;
      child.kill('SIGKILL');
      await gone;
    },
  };
}
