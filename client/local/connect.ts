/** Reaches the local process through its socket. Loads little: a hook does it for every tool call. */
import { lstatSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { readApproval, readDecision } from '../decision.ts';
import { WritError } from '../errors.ts';
import type { HostSession } from './host-session.ts';
import { lineReader } from './lines.ts';
import { type LocalAnswer, type Method, maxLineBytes } from './protocol.ts';

export interface ConnectOptions {
  /** How long one request may take, a person's time not counted. Default 30 s. */
  answerSeconds?: number;
}

/** A session that another process holds. */
export interface LocalSession extends HostSession {
  /** Hangs up; the session lives on. */
  close(): void;
}

/**
 * @param path what `WRIT_SESSION_SOCKET` says
 * @throws WritError `no_session`: nobody is there, or the socket is not this user's own. Later, of a request:
 *   `no_session` when the process has gone, `timeout`, or the broker's codes
 */
export async function connectSession(path: string, { answerSeconds = 30 }: ConnectOptions = {}): Promise<LocalSession> {
  checkOwner(path);
  const socket = await connected(path);
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: WritError): void }>();
  let last = 0;

  const gone = () => {
    for (const { reject } of waiting.values()) reject(noSession('The process that holds the session has gone'));
    waiting.clear();
  };
  const take = (line: string) => {
    const { id, result, error } = JSON.parse(line) as LocalAnswer;
    const one = waiting.get(id as number);
    if (one === undefined) return;
    waiting.delete(id as number);
    if (error !== undefined) one.reject(new WritError(String(error.code), String(error.message)));
    else one.resolve(result);
  };
  const read = lineReader(2 * maxLineBytes, take);
  socket.on('data', (chunk) => {
    try {
      read(chunk);
    } catch {
      socket.destroy();
    }
  });
  socket.on('close', gone);
  socket.on('error', () => socket.destroy());

  // biome-ignore lint/suspicious/noExplicitAny: JSON of the process; each caller checks what it takes
  const ask = (method: Method, params: object, waitSeconds = 0): Promise<any> =>
    new Promise((resolve, reject) => {
      if (!socket.writable) {
        reject(noSession('The process that holds the session has gone'));
        return;
      }
      last += 1;
      const id = last;
      const line = `${JSON.stringify({ id, method, params })}\n`;
      if (Buffer.byteLength(line) > maxLineBytes) {
        reject(new WritError('bad_request', `A request may have ${maxLineBytes} bytes`));
        return;
      }
      const timer = setTimeout(
        () => {
          if (waiting.delete(id))
            reject(new WritError('timeout', 'The process that holds the session did not answer in time'));
        },
        (answerSeconds + waitSeconds) * 1000,
      );
      const settled =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          then(value);
        };
      waiting.set(id, { resolve: settled(resolve), reject: settled(reject) });
      socket.write(line);
    });

  return {
    status: async () => {
      const { session_id, expires_at, ended } = await ask('status', {});
      return { sessionId: session_id, expiresAt: new Date(expires_at), ended };
    },
    tools: async () => (await ask('tools', {})).tools,
    evaluate: async ({ tool, arguments: args, callId, promptedBy, costUsd }) => {
      const own = callId ?? crypto.randomUUID();
      const params = { tool, arguments: args, call_id: own, prompted_by: promptedBy, cost_usd: costUsd };
      return readDecision(await ask('evaluate', params), own);
    },
    finish: async (call, report) => {
      const { costUsd, ...said } = report;
      const id = 'id' in call ? { id: call.id } : { call_id: call.callId };
      await ask('finish', { ...id, ...said, ...(costUsd === undefined ? {} : { cost_usd: costUsd }) });
    },
    approval: async (id, waitSeconds) =>
      readApproval(await ask('approval', { id, wait_seconds: waitSeconds }, waitSeconds)),
    say: async (words) => (await ask('say', { text: words })).words,
    end: async () => {
      await ask('end', {}, 60);
    },
    close: () => socket.destroy(),
  };
}

const noSession = (message: string) => new WritError('no_session', message);

/**
 * Whoever could put a socket of their own there would decide every call: socket and folder must belong to
 * this user, and be closed to all others.
 */
function checkOwner(path: string): void {
  const uid = process.getuid?.();
  for (const one of [dirname(path), path]) {
    const found = lstatSync(one, { throwIfNoEntry: false });
    if (found === undefined) throw noSession(`There is no session at ${path}: its process has ended`);
    const right = one === path ? found.isSocket() : found.isDirectory();
    if (!right || found.uid !== uid || (found.mode & 0o077) !== 0)
      throw noSession(`${one} is not this user’s own, or is open to others; it is not used`);
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', () => reject(noSession(`Nobody answers at ${path}: the session’s process has ended`)));
  });
}
