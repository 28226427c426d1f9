/**
 * Clients over HTTP, as one stream of messages each way: what the guard says finds the answer that it belongs
 * to. Knows streams, and nothing of HTTP besides.
 *
 * Until 2025-11-25 a client shakes hands and has a session, with a server of its own behind it. Since
 * 2026-07-28 each request stands for itself, so that all such clients share one server: ids and progress
 * tokens of two that chose the same are told apart.
 */
import { type Id, isMembers, isRequest, isResponse, type Message, type Request } from './message.ts';

/** What one answer or one listening client hears. */
export interface MessageStream {
  send(message: Message): void;
  end(): void;
}

export interface HttpClient {
  /** A request whose answer is this stream. @returns called when whoever asked has hung up */
  ask(request: Request, stream: MessageStream): () => void;
  /** A notification, or the answer to a question of ours. */
  tell(message: Exclude<Message, Request>): void;
  toClient(message: Message): void;
  /** Whether anything is under way, or listens. */
  busy(): boolean;
  /** Everybody who waits is let go. */
  end(): void;
}

/** What is kept for a client that does not listen, until it does; of more, the oldest is lost. */
const maxKept = 256;

const progressTokenOf = (message: Message): unknown => {
  if (!('method' in message) || message.params === undefined) return undefined;
  if (message.method === 'notifications/progress') return message.params.progressToken;
  return isRequest(message) && isMembers(message.params._meta) ? message.params._meta.progressToken : undefined;
};

/** One client that has shaken hands. */
export interface SessionClient extends HttpClient {
  /** The stream of what belongs to no request. @returns called when it has hung up */
  listen(stream: MessageStream): () => void;
  isOpen(id: Id): boolean;
}

export function newSessionClient(toGuard: (message: Message) => void): SessionClient {
  const open = new Map<Id, { stream: MessageStream; token: unknown }>();
  const kept: Message[] = [];
  let listening: MessageStream | null = null;

  /** Of what belongs to no request, or to one that we cannot name. */
  const anywhere = (message: Message) => {
    const stream = listening ?? [...open.values()].at(-1)?.stream;
    if (stream !== undefined) return stream.send(message);
    kept.push(message);
    if (kept.length > maxKept) kept.shift();
  };
  const flush = (stream: MessageStream) => {
    for (const message of kept.splice(0)) stream.send(message);
  };
  return {
    ask: (request, stream) => {
      open.set(request.id, { stream, token: progressTokenOf(request) });
      flush(stream);
      toGuard(request);
      // A client that hung up has not cancelled (2025-11-25, "Disconnection"): its answer is lost, no more.
      return () => open.delete(request.id);
    },
    tell: toGuard,
    toClient: (message) => {
      if (isResponse(message)) {
        const asked = message.id === null ? undefined : open.get(message.id);
        if (asked === undefined) return;
        open.delete(message.id!);
        asked.stream.send(message);
        return asked.stream.end();
      }
      const token = progressTokenOf(message);
      const of =
        isRequest(message) || token === undefined ? undefined : [...open.values()].find((one) => one.token === token);
      if (of === undefined) anywhere(message);
      else of.stream.send(message);
    },
    listen: (stream) => {
      listening?.end();
      listening = stream;
      flush(stream);
      return () => {
        if (listening === stream) listening = null;
      };
    },
    isOpen: (id) => open.has(id),
    busy: () => open.size > 0 || listening !== null,
    end: () => {
      for (const { stream } of open.values()) stream.end();
      open.clear();
      listening?.end();
    },
  };
}

/** What a subscription's notifications name it by (2026-07-28, "Subscribe and Notify"). */
const subscriptionKey = 'io.modelcontextprotocol/subscriptionId';

/** All clients that shake no hands. */
export function newStatelessClients(toGuard: (message: Message) => void): HttpClient {
  const open = new Map<Id, { stream: MessageStream; request: Request }>();
  let asked = 0;

  /** As the one who asked it names itself. */
  const restored = (message: Message, { id, method, params }: Request): Message => {
    if (isResponse(message)) {
      const meta = message.result?._meta;
      if (!isMembers(meta) || meta[subscriptionKey] === undefined) return { ...message, id };
      return { ...message, id, result: { ...message.result, _meta: { ...meta, [subscriptionKey]: id } } };
    }
    const given = message.params ?? {};
    const own = isMembers(params?._meta) ? params._meta.progressToken : undefined;
    if (message.method === 'notifications/progress') return { ...message, params: { ...given, progressToken: own } };
    if (method !== 'subscriptions/listen' || !isMembers(given._meta)) return message;
    return { ...message, params: { ...given, _meta: { ...given._meta, [subscriptionKey]: id } } };
  };
  const sendTo = (of: { stream: MessageStream; request: Request } | undefined, message: Message) =>
    of?.stream.send(restored(message, of.request));

  return {
    ask: (request, stream) => {
      asked += 1;
      const id = `http-${asked}`;
      open.set(id, { stream, request });
      const meta = request.params?._meta;
      const named =
        isMembers(meta) && meta.progressToken !== undefined
          ? { ...request.params, _meta: { ...meta, progressToken: id } }
          : request.params;
      toGuard({ ...request, id, ...(named === undefined ? {} : { params: named }) });
      // Hanging up is what cancels.
      return () => {
        if (open.delete(id)) toGuard({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } });
      };
    },
    // Ids of this revision are of one request alone, so that nothing can be told of another.
    tell: () => {},
    toClient: (message) => {
      if (isResponse(message)) {
        const of = message.id === null ? undefined : open.get(message.id);
        if (of === undefined) return;
        open.delete(message.id!);
        sendTo(of, message);
        return of.stream.end();
      }
      // Servers of this revision ask by their results; one that asks otherwise is not heard.
      if (isRequest(message)) return;
      const meta = message.params?._meta;
      const name = progressTokenOf(message) ?? (isMembers(meta) ? meta[subscriptionKey] : undefined);
      if (name !== undefined) return sendTo(open.get(name as Id), message);
      // The guard's own word that the list has changed: for everybody who listens.
      for (const of of open.values()) if (of.request.method === 'subscriptions/listen') sendTo(of, message);
    },
    busy: () => open.size > 0,
    end: () => {
      for (const { stream } of open.values()) stream.end();
      open.clear();
    },
  };
}
