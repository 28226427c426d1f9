/**
 * MCP over streamable HTTP, towards a server: each message a POST, whose answer is a message or a stream of
 * them. Of revisions 2025-03-26 to 2025-11-25 the session's id and the stream that the server speaks on by
 * itself; of 2026-07-28 the headers that repeat what stands in the message.
 */
import type { Clock } from '../clock.ts';
import { WritError } from '../errors.ts';
import { revisionKey } from './answers.ts';
import { codes, failure, type Id, isMembers, isRequest, isResponse, type Message, readMessage } from './message.ts';
import { eventData } from './server-sent-events.ts';
import { maxMessageBytes, type Transport, type TransportEvents } from './transport.ts';

/** Before a stream that ended is opened again. */
const reopenMs = 2_000;

/**
 * @param headers the server's own, an `Authorization` for example
 * @throws WritError `insecure_url`
 */
export function httpServer(
  address: string,
  headers: { [name: string]: string },
  clock: Clock,
  events: TransportEvents,
): Transport {
  const url = serverUrl(address);
  const closed = new AbortController();
  /** Requests on their way, each with what hangs up on it. */
  const under = new Map<Id, AbortController>();
  /** Of each tool, the arguments that are repeated in headers. */
  const repeated = new Map<string, { header: string; path: string[] }[]>();
  let sessionId: string | null = null;
  let revision: string | null = null;
  let initializeId: Id | null = null;
  /** What is no request is sent one after another: the server should hear of it before what follows. */
  let sent: Promise<void> = Promise.resolve();

  const headersFor = (message: Message): { [name: string]: string } => {
    const params = 'params' in message ? message.params : undefined;
    const own = isMembers(params?._meta) ? params._meta[revisionKey] : undefined;
    const version = typeof own === 'string' ? own : revision;
    return {
      ...headers,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(sessionId === null ? {} : { 'mcp-session-id': sessionId }),
      ...(version === null ? {} : { 'mcp-protocol-version': headerValue(version) }),
      ...(typeof own === 'string' ? mirrored(message, repeated) : {}),
    };
  };

  const take = (text: string) => {
    // An event without data says where a stream may be taken up again; there is no message in it.
    if (text.trim() === '') return;
    let message: Message;
    try {
      message = readMessage(text);
    } catch (error) {
      return events.onFault(codes.parse, (error as Error).message);
    }
    if (isResponse(message)) {
      if (message.id === initializeId && typeof message.result?.protocolVersion === 'string')
        revision = message.result.protocolVersion;
      for (const tool of Array.isArray(message.result?.tools) ? message.result.tools : [])
        if (isMembers(tool) && typeof tool.name === 'string') repeated.set(tool.name, headersOf(tool.inputSchema));
      if (message.id !== null) under.delete(message.id);
    }
    events.onMessage(message);
  };

  const readAll = async (response: Response): Promise<void> => {
    const type = (response.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase();
    if (type === 'text/event-stream' && response.body !== null) {
      for await (const data of eventData(response.body, maxMessageBytes)) take(data);
      return;
    }
    const text = await boundedText(response);
    if (type === 'application/json') take(text);
  };

  const post = async (message: Message): Promise<void> => {
    const id = isRequest(message) ? message.id : null;
    const hungUp = new AbortController();
    if (id !== null) under.set(id, hungUp);
    let status = 'did not answer';
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: headersFor(message),
        body: JSON.stringify(message),
        redirect: 'error',
        signal: AbortSignal.any([closed.signal, hungUp.signal]),
      });
      status = `answered ${response.status} and no message`;
      sessionId = response.headers.get('mcp-session-id') ?? sessionId;
      await readAll(response);
    } catch {
      // Told below, to whoever waits.
    }
    // A request that is still open got no answer, and gets none any more.
    if (id !== null && under.delete(id)) events.onMessage(failure(id, codes.internal, `The server ${status}`));
  };

  /** What the server says by itself, where it has a stream for that (until 2025-11-25). */
  const listen = async (): Promise<void> => {
    while (!closed.signal.aborted) {
      try {
        const response = await fetch(url, {
          headers: {
            ...headers,
            accept: 'text/event-stream',
            ...(sessionId === null ? {} : { 'mcp-session-id': sessionId }),
            ...(revision === null ? {} : { 'mcp-protocol-version': headerValue(revision) }),
          },
          redirect: 'error',
          signal: closed.signal,
        });
        if (!response.ok) {
          await response.body?.cancel();
          return;
        }
        await readAll(response);
      } catch {
        // It ended, or broke: opened again below.
      }
      await clock.sleep(reopenMs, closed.signal, true).catch(() => {});
    }
  };

  return {
    send: (message) => {
      if (isRequest(message)) {
        if (message.method === 'initialize') initializeId = message.id;
        void sent.then(() => post(message));
        return;
      }
      if (!isResponse(message) && message.method === 'notifications/cancelled') {
        const of = message.params?.requestId as Id;
        const open = under.get(of);
        under.delete(of);
        // Hanging up is what cancels since 2026-07-28; before, the server is told as well.
        open?.abort();
        if (revision === null) return;
      }
      sent = sent.then(() => post(message));
      if (!isResponse(message) && message.method === 'notifications/initialized') void sent.then(listen);
    },
    close: async () => {
      await sent.catch(() => {});
      closed.abort();
      if (sessionId !== null) {
        const signal = AbortSignal.timeout(2_000);
        const own = { ...headers, 'mcp-session-id': sessionId };
        await fetch(url, { method: 'DELETE', headers: own, redirect: 'error', signal }).catch(() => {});
      }
      events.onClose('it was closed');
    },
  };
}

/** Calls, and the credentials of this server, travel there. */
function serverUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  const local = url !== null && /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
  if (url === null || !(url.protocol === 'https:' || (url.protocol === 'http:' && local)))
    throw new WritError('insecure_url', '--url must be https (http is for loopback only)');
  return url;
}

async function boundedText(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > maxMessageBytes) throw new Error('the answer is too long');
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

/** The headers of 2026-07-28 that repeat what stands in the message ("Request Metadata"). */
function mirrored(
  message: Message,
  repeated: Map<string, { header: string; path: string[] }[]>,
): { [name: string]: string } {
  if (!('method' in message)) return {};
  const { method, params = {} } = message;
  const name = method === 'resources/read' ? params.uri : params.name;
  const isNamed = ['tools/call', 'resources/read', 'prompts/get'].includes(method) && typeof name === 'string';
  const of = method === 'tools/call' && typeof name === 'string' ? (repeated.get(name) ?? []) : [];
  return {
    'mcp-method': headerValue(method),
    ...(isNamed ? { 'mcp-name': headerValue(name) } : {}),
    ...Object.fromEntries(
      of.flatMap(({ header, path }) => {
        const value = path.reduce<unknown>((one, step) => (isMembers(one) ? one[step] : undefined), params.arguments);
        return typeof value === 'string' || typeof value === 'boolean' || Number.isSafeInteger(value)
          ? [[`mcp-param-${header}`, headerValue(String(value))]]
          : [];
      }),
    ),
  };
}

/** The arguments that a schema marks with `x-mcp-header`, by chains of `properties` alone. */
function headersOf(schema: unknown, path: string[] = []): { header: string; path: string[] }[] {
  if (!isMembers(schema) || path.length > 8) return [];
  const own = schema['x-mcp-header'];
  const here = typeof own === 'string' && path.length > 0 && /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/.test(own);
  const below = isMembers(schema.properties) ? Object.entries(schema.properties) : [];
  return [
    ...(here ? [{ header: own, path }] : []),
    ...below.flatMap(([name, property]) => headersOf(property, [...path, name])),
  ];
}

/** "Value Encoding" of the same: what is no plain ASCII is base64 between marks. */
export function headerValue(text: string): string {
  const plain = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text);
  return plain && !/^=\?base64\?.*\?=$/.test(text) ? text : `=?base64?${Buffer.from(text).toString('base64')}?=`;
}
