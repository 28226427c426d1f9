/**
 * The guard as an MCP server over streamable HTTP, for clients that speak nothing else: on this machine only,
 * for whoever holds the token. Revisions 2025-03-26 to 2025-11-25 with sessions, 2026-07-28 without.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '../clock.ts';
import { revisionKey } from './answers.ts';
import { type GuardedServer, openGuardedServer, type ServerOptions } from './guarded-server.ts';
import { headerValue } from './http.ts';
import {
  type HttpClient,
  type MessageStream,
  newSessionClient,
  newStatelessClients,
  type SessionClient,
} from './http-clients.ts';
import { BadMessage, codes, failure, type Id, isMembers, isRequest, type Message, readMessage } from './message.ts';
import { maxMessageBytes, maxWaitingBytes } from './transport.ts';

export interface ListenOptions extends ServerOptions {
  host: string;
  /** 0 = any that is free. */
  port: number;
  /** What a client must show; null = whoever reaches the port may call. */
  token: string | null;
  /** Told the address once it can be reached. */
  listening(url: string): Promise<void>;
  /** Aborted when the process is told to end. */
  stop: AbortSignal;
}

/** The one path that is served. */
const endpoint = '/mcp';
/** Sessions at once; of more, the one that has been quiet the longest ends. */
const maxSessions = 64;
/** So often a stream without news says that it is there: proxies and clients give up on silent ones. */
const stillThereMs = 15_000;
/** Of revisions with a session, those that are spoken over this transport. */
const revisions = ['2025-03-26', '2025-06-18', '2025-11-25'];
const headerMismatch = -32_020;

interface Session {
  client: SessionClient;
  server: GuardedServer;
}

/** What is refused before it is a message. */
class Refused extends Error {
  override readonly name = 'Refused';
  readonly status: number;
  readonly headers: { [name: string]: string };
  readonly code: number;
  readonly id: Id | null;

  constructor(
    status: number,
    message: string,
    {
      headers = {},
      code = codes.invalid,
      id = null,
    }: { headers?: { [name: string]: string }; code?: number; id?: Id | null } = {},
  ) {
    super(message);
    this.status = status;
    this.headers = headers;
    this.code = code;
    this.id = id;
  }
}

/**
 * Resolves when `stop` aborts; by then every server has ended.
 * @throws Error with a `code` when the port cannot be had
 */
export async function listenForClients({
  host,
  port,
  token,
  listening,
  stop,
  ...options
}: ListenOptions): Promise<void> {
  const { clock = systemClock, tell } = options;
  /** Quiet the longest first. */
  const sessions = new Map<string, Session>();
  let stateless: Promise<{ clients: HttpClient; server: GuardedServer }> | null = null;
  const closing = new Set<Promise<void>>();
  const shut = (server: GuardedServer): Promise<void> => {
    const closed = server.close(false).finally(() => closing.delete(closed));
    closing.add(closed);
    return closed;
  };

  const endSession = (id: string): void => {
    const session = sessions.get(id);
    if (session === undefined) return;
    sessions.delete(id);
    session.client.end();
    void shut(session.server);
  };

  /** A server that the client which shakes hands has for itself. */
  const openSession = async (): Promise<[id: string, Session]> => {
    if (sessions.size >= maxSessions) {
      const quiet = [...sessions].find(([, { client }]) => !client.busy());
      if (quiet === undefined) throw new Refused(503, 'Too many sessions are open');
      endSession(quiet[0]);
    }
    const id = randomBytes(24).toString('base64url');
    const client = newSessionClient((message) => server.fromClient(message));
    const server = await openGuardedServer(options, { toClient: client.toClient, onGone: () => endSession(id) });
    const session = { client, server };
    sessions.set(id, session);
    return [id, session];
  };

  /** One for all who shake no hands; opened anew when its server has gone. */
  const withoutSession = (): Promise<{ clients: HttpClient; server: GuardedServer }> => {
    stateless ??= (async () => {
      const clients = newStatelessClients((message) => server.fromClient(message));
      const server = await openGuardedServer(options, {
        toClient: clients.toClient,
        onGone: () => {
          stateless = null;
          clients.end();
          void shut(server);
        },
      });
      return { clients, server };
    })().catch((error) => {
      stateless = null;
      throw error;
    });
    return stateless;
  };

  /** The session that a request names, which is the least quiet now. @throws Refused */
  const sessionOf = (request: IncomingMessage): Session => {
    const id = request.headers['mcp-session-id'];
    if (typeof id !== 'string') throw new Refused(400, 'Mcp-Session-Id is missing: shake hands first');
    const session = sessions.get(id);
    // A client that hears this shakes hands anew.
    if (session === undefined) throw new Refused(404, 'There is no such session');
    const revision = request.headers['mcp-protocol-version'];
    if (revision !== undefined && !revisions.includes(String(revision)))
      throw new Refused(400, `MCP-Protocol-Version must be one of ${revisions.join(', ')} in a session`);
    sessions.delete(id);
    sessions.set(id, session);
    return session;
  };

  const streamTo = (response: ServerResponse, headers: { [name: string]: string } = {}): MessageStream => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', ...headers });
    response.flushHeaders();
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const stillThere = async () => {
      for (;;) {
        await clock.sleep(stillThereMs, gone.signal, true);
        response.write(': still there\n\n');
      }
    };
    void stillThere().catch(() => {});
    return {
      send: (message) => {
        if (!response.writable) return;
        response.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
        // Whoever does not read what is sent to them is given up on.
        if (response.writableLength > maxWaitingBytes) response.destroy();
      },
      end: () => void response.end(),
    };
  };

  const post = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const message = await readBody(request);
    const accepted = () => void response.writeHead(202).end();
    if (revisionOf(message) !== null) {
      checkRepeated(request, message);
      const { clients } = await withoutSession();
      if (!isRequest(message)) return accepted();
      const hangUp = clients.ask(message, streamTo(response));
      response.once('close', hangUp);
      return;
    }
    const shakes = isRequest(message) && message.method === 'initialize';
    if (shakes && request.headers['mcp-session-id'] === undefined) {
      const [id, { client }] = await openSession();
      response.once('close', client.ask(message, streamTo(response, { 'mcp-session-id': id })));
      return;
    }
    const { client } = sessionOf(request);
    if (!isRequest(message)) {
      client.tell(message);
      return accepted();
    }
    if (client.isOpen(message.id)) throw new Refused(400, 'A request with this id is under way', { id: message.id });
    response.once('close', client.ask(message, streamTo(response)));
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    admit(request, (server.address() as AddressInfo).port, token);
    switch (request.method) {
      case 'POST':
        return post(request, response);
      case 'GET': {
        // Also asked by clients that know neither sessions nor this: they hear that there is no such stream.
        if (request.headers['mcp-session-id'] === undefined) throw notAllowed();
        const { client } = sessionOf(request);
        response.once('close', client.listen(streamTo(response)));
        return;
      }
      case 'DELETE': {
        if (request.headers['mcp-session-id'] === undefined) throw notAllowed();
        sessionOf(request);
        endSession(String(request.headers['mcp-session-id']));
        response.writeHead(204).end();
        return;
      }
      default:
        throw notAllowed();
    }
  };

  const server = createServer((request, response) => {
    answer(request, response).catch((error: Error) => {
      const refused = error instanceof Refused ? error : new Refused(502, 'The server cannot be reached');
      if (refused !== error) tell(error.message);
      if (response.headersSent) return void response.end();
      const body = JSON.stringify(failure(refused.id, refused.code, refused.message));
      response.writeHead(refused.status, {
        'content-type': 'application/json',
        connection: 'close',
        ...refused.headers,
      });
      response.end(body);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const shown = host.includes(':') ? `[${host}]` : host;
  await listening(`http://${shown}:${(server.address() as AddressInfo).port}${endpoint}`);
  await new Promise<void>((resolve) => {
    stop.addEventListener('abort', () => resolve(), { once: true });
    if (stop.aborted) resolve();
  });
  server.close();
  for (const id of [...sessions.keys()]) endSession(id);
  const shared = stateless === null ? null : await (stateless as ReturnType<typeof withoutSession>).catch(() => null);
  shared?.clients.end();
  if (shared !== null) void shut(shared.server);
  await Promise.all(closing);
  server.closeAllConnections();
}

const notAllowed = () => new Refused(405, 'Send a message with POST', { headers: { allow: 'POST, GET, DELETE' } });

/**
 * A page in a browser may reach this port, under any name that resolves to it: it names no host of ours, or
 * comes from another origin. Checked before anything is read.
 * @throws Refused
 */
function admit(request: IncomingMessage, port: number, token: string | null): void {
  const own = ['127.0.0.1', 'localhost', '[::1]'].map((name) => `${name}:${port}`);
  const { host = '', origin, authorization = '' } = request.headers;
  if (!own.includes(host.toLowerCase())) throw new Refused(403, 'The Host is none of this machine’s');
  if (origin !== undefined && !own.some((one) => origin === `http://${one}`))
    throw new Refused(403, 'The Origin is not this server’s');
  if ((request.url ?? '').split('?')[0] !== endpoint) throw new Refused(404, `The address is ${endpoint}`);
  if (token === null) return;
  const [, shown = ''] = /^bearer +(\S+)$/i.exec(authorization) ?? [];
  if (!timingSafeEqual(digest(shown), digest(token)))
    throw new Refused(401, 'The token is missing or another', { headers: { 'www-authenticate': 'Bearer' } });
}

const digest = (text: string) => createHash('sha256').update(text).digest();

/** @throws Refused */
async function readBody(request: IncomingMessage): Promise<Message> {
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') throw new Refused(415, 'The message must be application/json');
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > maxMessageBytes) throw new Refused(413, 'The message is too long');
    parts.push(part);
  }
  try {
    return readMessage(Buffer.concat(parts).toString());
  } catch (error) {
    if (error instanceof BadMessage) throw new Refused(400, error.message, { code: error.code });
    throw error;
  }
}

/** The revision that a message names, which those without sessions do; null = it is of a session. */
function revisionOf(message: Message): string | null {
  const meta = 'method' in message && message.params !== undefined ? message.params._meta : undefined;
  const revision = isMembers(meta) ? meta[revisionKey] : undefined;
  return typeof revision === 'string' ? revision : null;
}

/**
 * What 2026-07-28 has repeated in headers must be what the message says: whoever stands between goes by it.
 * What decides here is the message.
 * @throws Refused
 */
function checkRepeated(request: IncomingMessage, message: Message): void {
  if (!('method' in message)) return;
  const { method, params = {} } = message;
  const name = method === 'resources/read' ? params.uri : params.name;
  const named = ['tools/call', 'resources/read', 'prompts/get'].includes(method) && typeof name === 'string';
  const repeated: [header: string, value: string][] = [
    ['mcp-protocol-version', revisionOf(message)!],
    ['mcp-method', method],
    ...(named ? [['mcp-name', name] as [string, string]] : []),
  ];
  for (const [header, value] of repeated)
    if (request.headers[header] !== headerValue(value))
      throw new Refused(400, `The header ${header} is not what the message says`, {
        code: headerMismatch,
        id: isRequest(message) ? message.id : null,
      });
}
