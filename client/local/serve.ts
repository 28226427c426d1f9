/** The local process's socket: who may reach it, and what is asked through it. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CallReport, WritError } from '../index.ts';
import type { HostSession } from './host-session.ts';
import { BadLine, lineReader } from './lines.ts';
import {
  approvalWire,
  decisionWire,
  type LocalAnswer,
  type LocalRequest,
  maxInFlight,
  maxLineBytes,
  maxWaitSeconds,
  methods,
} from './protocol.ts';

export interface LocalServer {
  /** For `WRIT_SESSION_SOCKET`. */
  path: string;
  /** Closes it, and removes its folder. */
  close(): Promise<void>;
}

/** How long an answer may wait to be read once the session is over. */
const unreadMs = 1000;

/** Hosts at once. */
const maxConnections = 128;

/**
 * Serves a session to this user's other processes, and to nobody else's: the socket (0600) stands in a folder
 * (0700) made for it.
 * @param env `XDG_RUNTIME_DIR`, where there is one, is where the folder is made
 */
export async function serveSession(
  session: HostSession,
  { env = process.env }: { env?: { [name: string]: string | undefined } } = {},
): Promise<LocalServer> {
  const folder = await mkdtemp(join(env.XDG_RUNTIME_DIR || tmpdir(), 'writ-'));
  await chmod(folder, 0o700);
  const path = join(folder, 'session');
  const open = new Set<Socket>();
  // Whoever has said all may still wait for answers.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    answerAll(session, socket);
  });
  server.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  // Nobody else gets this far: the folder is closed to them.
  await chmod(path, 0o600);
  return {
    path,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of open) socket.end();
      // Whoever does not hang up by itself, and, a moment later, whoever does not read what was answered.
      for (const socket of open) socket.destroySoon();
      const cut = setTimeout(() => {
        for (const socket of open) socket.destroy();
      }, unreadMs);
      await closed;
      clearTimeout(cut);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Answers one connection, until it says what is no request: then it is told, and hung up on. */
function answerAll(session: HostSession, socket: Socket): void {
  let inFlight = 0;
  let saidAll = false;
  const answer = (one: LocalAnswer) => {
    if (socket.writable) socket.write(`${JSON.stringify(one)}\n`);
  };
  const hangUp = (message: string) => {
    answer({ id: null, error: { code: 'bad_request', message } });
    socket.destroySoon();
  };
  const read = lineReader(maxLineBytes, (line) => {
    const request = requestIn(line);
    if (inFlight >= maxInFlight) {
      answer({ id: request.id, error: { code: 'busy', message: `${maxInFlight} requests are under way` } });
      return;
    }
    inFlight += 1;
    void carryOut(session, request)
      .then(answer)
      .finally(() => {
        inFlight -= 1;
        if (saidAll && inFlight === 0) socket.end();
      });
  });
  socket.on('data', (chunk) => {
    if (socket.writableEnded) return;
    try {
      read(chunk);
    } catch (error) {
      if (!(error instanceof BadLine)) throw error;
      hangUp(error.message);
    }
  });
  socket.on('end', () => {
    saidAll = true;
    if (inFlight === 0) socket.end();
  });
  // Gone in the middle: what was asked is on record, and nobody waits for the answer.
  socket.on('error', () => socket.destroy());
}

/** @throws BadLine */
function requestIn(line: string): LocalRequest {
  const { id, method, params = {} } = parsed(line);
  if (!((typeof id === 'string' && id.length <= 256) || Number.isSafeInteger(id)))
    throw new BadLine('id must be a number or a short text');
  if (!methods.some((known) => known === method)) throw new BadLine(`method must be one of ${methods.join(', ')}`);
  if (!isObject(params)) throw new BadLine('params must be an object');
  return { id, method, params } as LocalRequest;
}

function parsed(line: string): { [name: string]: unknown } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new BadLine('a line is not JSON');
  }
  if (!isObject(value)) throw new BadLine('a line is no object');
  return value;
}

const isObject = (value: unknown): value is { [name: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

async function carryOut(session: HostSession, { id, method, params }: LocalRequest): Promise<LocalAnswer> {
  try {
    return { id, result: await resultOf(session, method, params) };
  } catch (error) {
    // What is not a WritError is a fault of ours, and may hold anything.
    if (!(error instanceof WritError))
      return { id, error: { code: 'internal', message: 'The call could not be decided' } };
    return { id, error: { code: error.code, message: error.message } };
  }
}

async function resultOf(
  session: HostSession,
  method: LocalRequest['method'],
  params: LocalRequest['params'],
): Promise<unknown> {
  switch (method) {
    case 'status': {
      const { sessionId, expiresAt, ended } = await session.status();
      return { session_id: sessionId, expires_at: expiresAt.toISOString(), ended };
    }
    case 'tools':
      return { tools: await session.tools() };
    case 'evaluate':
      return decisionWire(
        await session.evaluate({
          tool: text(params, 'tool', 128),
          arguments: params.arguments === undefined ? {} : object(params, 'arguments'),
          ...(params.call_id === undefined ? {} : { callId: text(params, 'call_id', 256) }),
          ...(params.prompted_by === undefined ? {} : { promptedBy: text(params, 'prompted_by', 256) }),
          ...(params.cost_usd === undefined ? {} : { costUsd: number(params, 'cost_usd', 1_000_000) }),
        }),
      );
    case 'finish': {
      const which = params.id === undefined ? { callId: text(params, 'call_id', 256) } : { id: text(params, 'id', 64) };
      await session.finish(which, reportIn(params));
      return {};
    }
    case 'approval': {
      const wait = params.wait_seconds === undefined ? 0 : number(params, 'wait_seconds', maxWaitSeconds);
      return approvalWire(await session.approval(text(params, 'id', 64), Math.floor(wait)));
    }
    case 'say':
      return { words: await session.say(text(params, 'text', maxLineBytes)) };
    case 'end':
      await session.end();
      return {};
  }
}

function reportIn(params: LocalRequest['params']): CallReport {
  const { outcome, labels, entities, output, structured } = params;
  if (outcome !== 'response' && outcome !== 'error') throw bad('outcome', 'must be response or error');
  if (!isTexts(labels)) throw bad('labels', 'must be texts');
  if (!isTexts(entities)) throw bad('entities', 'must be texts');
  return {
    outcome,
    ...(labels === undefined ? {} : { labels }),
    ...(params.cost_usd === undefined ? {} : { costUsd: number(params, 'cost_usd', 1_000_000) }),
    ...(entities === undefined ? {} : { entities }),
    ...(output === undefined ? {} : { output }),
    ...(structured === undefined ? {} : { structured }),
  };
}

const isTexts = (value: unknown): value is string[] | undefined =>
  value === undefined || (Array.isArray(value) && value.every((one) => typeof one === 'string'));

const bad = (name: string, message: string) => new WritError('bad_request', `params.${name} ${message}`);

function text(params: LocalRequest['params'], name: string, max: number): string {
  const value = params[name];
  if (typeof value !== 'string' || value === '' || value.length > max)
    throw bad(name, `must be a text of at most ${max} characters`);
  return value;
}

function object(params: LocalRequest['params'], name: string): { [name: string]: unknown } {
  const value = params[name];
  if (!isObject(value)) throw bad(name, 'must be an object');
  return value;
}

function number(params: LocalRequest['params'], name: string, max: number): number {
  const value = params[name];
  if (typeof value !== 'number' || !(value >= 0 && value <= max)) throw bad(name, `must be a number from 0 to ${max}`);
  return value;
}
