/**
 * The guard: stands between an MCP client and an MCP server, and lets everything through but what this
 * session may not do. A tool's call is asked for, forwarded when it is allowed, and its result handed on once
 * it is on record. Knows messages, and neither how they travel nor who decides.
 *
 * Written for no revision of MCP: what differs between them (handshake or none, requests of the server or
 * results that ask for input) is seen in the messages themselves.
 */
import type { Clock } from '../clock.ts';
import { coazErrors, coazOutcome, type Members } from '../coaz.ts';
import { isAllowed } from '../decision.ts';
import { WritError } from '../errors.ts';
import type { HostSession } from '../local/host-session.ts';
import { keepRecent } from '../local/recent.ts';
import { deniedResult, outputOf, undecided } from './answers.ts';
import { type Approvals, newApprovals } from './approvals.ts';
import { canonical } from './canonical.ts';
import { cutCredentials } from './credentials.ts';
import {
  codes,
  failure,
  type Id,
  isRequest,
  isResponse,
  type Message,
  type Request,
  type Response,
} from './message.ts';
import type { Pins } from './pins.ts';
import { newToolList, type ToolList } from './tool-list.ts';

export interface GuardOptions {
  session: HostSession;
  pins: Pins;
  clock: Clock;
  /** What the server is called in the record. */
  serverName: string;
  /** Before the server's own names of tools, in the manifest. */
  prefix: string;
  /** Whether `resources/read` passes without being asked for. */
  passResources: boolean;
  /** Labels of everything that comes from this server. */
  labels: readonly string[];
  /** How long a server may take for one call. */
  callSeconds: number;
  /** How long a call waits for a person, where the client is told of progress; else no longer than 45 s. */
  waitSeconds: number;
  /** Bytes of one result. */
  maxResultBytes: number;
  toClient(message: Message): void;
  toServer(message: Message): void;
  /** For people: one line on standard error. */
  tell(line: string): void;
}

export interface Guard {
  fromClient(message: Message): void;
  fromServer(message: Message): void;
  /** The server has gone: whoever waits for it is told. */
  serverGone(why: string): void;
  /** Stops what is under way; resolves when all of it is on record. */
  close(): Promise<void>;
  /** Resolves when every request of the client is answered. */
  idle(): Promise<void>;
}

/** Requests of one side under way at once. */
const maxInFlight = 512;
/** Continuations of calls that are remembered: a server asked for input, and the client will call again. */
const maxRemembered = 1_000;

export function newGuard(options: GuardOptions): Guard {
  const { session, clock, tell } = options;
  /** Requests that the server has not answered: the client's, and our own. */
  const asked = new Map<Id, (response: Response) => void>();
  /** Requests of the client that are not answered yet, each with what stops it. */
  const open = new Map<Id, AbortController>();
  /** Requests that the client has not answered: the server's, and our own. */
  const askedClient = new Map<Id, ((response: Response) => void) | null>();
  /** By the server's own state: the call that it will be the continuation of. */
  const continued = new Map<string, { callId: string; key: string }>();
  const idlers: (() => void)[] = [];
  let ownIds = 0;
  let gone: string | null = null;

  const ask = (request: Request): Promise<Response> =>
    new Promise((resolve) => {
      if (gone !== null) return resolve(failure(request.id, codes.internal, gone));
      asked.set(request.id, resolve);
      options.toServer(request);
    });
  const ownId = () => {
    ownIds += 1;
    return `writ-${ownIds}-${crypto.randomUUID()}`;
  };
  const askServer = (method: string, params: Members) => ask({ jsonrpc: '2.0', id: ownId(), method, params });
  const askClient = (method: string, params: Members): Promise<Response> =>
    new Promise((resolve) => {
      const id = ownId();
      askedClient.set(id, resolve);
      options.toClient({ jsonrpc: '2.0', id, method, params });
    });
  const notifyClient = (method: string, params?: Members) =>
    options.toClient({ jsonrpc: '2.0', method, ...(params === undefined ? {} : { params }) });

  const tools: ToolList = newToolList({ ...options, askServer });
  const approvals: Approvals = newApprovals({ ...options, askClient, notifyClient });

  /** Answers one request of the client; null = it was cancelled, and is not answered. */
  const answer = async (request: Request, stop: AbortSignal): Promise<Response | null> => {
    switch (request.method) {
      case 'initialize': {
        approvals.initialized(request.params);
        const response = await ask(request);
        tools.initialized(response.result);
        return response;
      }
      case 'tools/list': {
        const response = await ask(request);
        return response.result === undefined
          ? response
          : { ...response, result: await tools.admitted(response.result) };
      }
      case 'resources/read':
        return options.passResources ? ask(request) : call(request, stop);
      case 'tools/call':
        return call(request, stop);
      default:
        return ask(request);
    }
  };

  const call = async (request: Request, stop: AbortSignal): Promise<Response | null> => {
    const { requestState, inputResponses: _inputs, ...plain } = request.params ?? {};
    const { id, method } = request;
    const mapped = coazOutcome(
      { method, id, params: plain },
      { subject: options.serverName, server: options.serverName },
    );
    if (mapped.kind !== 'ask')
      return failure(id, coazErrors.mapping, mapped.kind === 'pass' ? 'not a call' : mapped.reason);
    // Its result would come later, by another request: nobody could say which call it is of.
    if (plain.task !== undefined) return failure(id, codes.params, 'Calls as tasks are not taken behind writ guard');
    const tool = `${options.prefix}${mapped.tool}`;
    const denied = (text: string) => deniedResult(request, text);

    if (method === 'tools/call') {
      const held = await tools.heldBack(mapped.tool, plain._meta);
      if (held !== null) {
        // Nothing is listed under this name: the attempt is on record, and denied.
        await session.evaluate({ tool: `${tool}#held-back`.slice(0, 128), arguments: {} }).catch(() => {});
        return denied(held);
      }
    }

    const ours = typeof requestState === 'string' ? approvals.callOf(requestState) : undefined;
    const theirs = typeof requestState === 'string' ? continued.get(requestState) : undefined;
    const key = `${tool} ${canonical(mapped.args)}`;
    const callId = ours ?? (theirs?.key === key ? theirs.callId : undefined) ?? approvals.pendingCall(key);
    const asking = { tool, arguments: mapped.args, promptedBy: `mcp:${options.serverName}`.slice(0, 256) };
    const decision = await approvals.decide(request, key, { ...asking, callId: callId ?? crypto.randomUUID() }, stop);
    if ('answer' in decision) return { jsonrpc: '2.0', id, result: decision.answer };
    if (!isAllowed(decision.decision)) {
      tools.narrowed(decision.decision, notifyClient);
      return denied(decision.text);
    }
    const action = { id: decision.decision.id };
    if (stop.aborted) {
      await session.finish(action, { outcome: 'error' });
      return null;
    }
    // What answers a question of ours is none of the server's.
    const forwarded: Request = ours === undefined ? request : { ...request, params: plain };
    const response = await inTime(forwarded, stop);
    if (response === null) {
      await session.finish(action, { outcome: 'error' });
      if (stop.aborted) return null;
      return denied(`The server did not answer the call of ${tool} within ${options.callSeconds} s.`);
    }
    return handOn(request, response, { tool, action, callId: decision.decision.callId, key });
  };

  /** The server's answer; null when it did not come in time, or is not waited for any more. */
  const inTime = async (request: Request, stop: AbortSignal): Promise<Response | null> => {
    const waited = new AbortController();
    const late = clock.sleep(options.callSeconds * 1000, AbortSignal.any([stop, waited.signal])).then(
      () => null,
      () => null,
    );
    const response = await Promise.race([ask(request), late]);
    waited.abort();
    if (response !== null) return response;
    if (asked.delete(request.id) && !stop.aborted)
      options.toServer({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { requestId: request.id, reason: 'too late' },
      });
    return null;
  };

  /** Reports what came back, and then hands it on. */
  const handOn = async (
    request: Request,
    response: Response,
    { tool, action, callId, key }: { tool: string; action: { id: string }; callId: string; key: string },
  ): Promise<Response> => {
    const { value, count } = cutCredentials({ result: response.result, error: response.error });
    if (count > 0) tell(`${count} credentials were cut out of what ${tool} returned`);
    const { result, error } = value;
    if (error !== undefined || result === undefined) {
      const output = error === undefined ? '' : [error.message, JSON.stringify(error.data) ?? ''].join('\n');
      await session.finish(action, { outcome: 'error', output, ...labelled() });
      return { jsonrpc: '2.0', id: request.id, ...(error === undefined ? {} : { error }) };
    }
    if (result.resultType === 'input_required' && typeof result.requestState === 'string') {
      // The call goes on in the client's next request, which is the same action.
      keepRecent(continued, result.requestState, { callId, key }, maxRemembered);
      return { ...response, result };
    }
    const asTask = result.task !== undefined || result.resultType === 'task';
    const { output, structured } = outputOf(result);
    const outcome = result.isError === true || asTask ? 'error' : 'response';
    await session.finish(action, {
      outcome,
      output,
      ...(structured === undefined ? {} : { structured }),
      ...labelled(),
    });
    if (asTask)
      return deniedResult(request, `${tool} answered with a task; its result would come in without being looked at.`);
    const bytes = Buffer.byteLength(JSON.stringify(result));
    if (bytes <= options.maxResultBytes) return { ...response, result };
    return deniedResult(
      request,
      `The call of ${tool} was made, but its result of ${bytes} bytes is larger than the ${options.maxResultBytes} that are let through. Ask for less.`,
    );
  };

  const labelled = () => (options.labels.length === 0 ? {} : { labels: [...options.labels] });

  const answerRequest = async (request: Request): Promise<void> => {
    const stop = new AbortController();
    open.set(request.id, stop);
    let response: Response | null;
    try {
      response = await answer(request, stop.signal);
    } catch (error) {
      // Nothing that goes wrong on the way lets a call through, or its result.
      const text = undecided(request, error);
      if (!(error instanceof WritError)) tell(`${request.method}: ${(error as Error).stack ?? error}`);
      const isCall = request.method === 'tools/call';
      response = isCall ? deniedResult(request, text) : failure(request.id, codes.internal, text);
    }
    open.delete(request.id);
    if (response !== null && !stop.signal.aborted) options.toClient(clean(response));
    if (open.size === 0) for (const resolve of idlers.splice(0)) resolve();
  };
  const idle = () =>
    new Promise<void>((resolve) => {
      if (open.size === 0) resolve();
      else idlers.push(resolve);
    });

  /** What comes from the server is looked at, whatever it is. */
  const clean = <T extends Message>(message: T): T => {
    const { value, count } = cutCredentials(message);
    if (count > 0) tell(`${count} credentials were cut out of a message of the server`);
    return value;
  };

  return {
    fromClient: (message) => {
      if (isResponse(message)) {
        const waiting = message.id === null ? undefined : askedClient.get(message.id);
        if (message.id === null || waiting === undefined) return tell('the client answered what nobody asked');
        askedClient.delete(message.id);
        if (waiting === null) options.toServer(message);
        else waiting(message);
        return;
      }
      if (!isRequest(message)) {
        if (message.method === 'notifications/cancelled') {
          const of = message.params?.requestId as Id;
          open.get(of)?.abort();
          const settle = asked.get(of);
          // What the server has not been asked, it need not stop.
          if (settle === undefined) return;
          asked.delete(of);
          settle(failure(of, codes.internal, 'The request was cancelled'));
        }
        options.toServer(message);
        return;
      }
      const { id } = message;
      if (open.has(id) || asked.has(id)) {
        // Answered under this id it would be taken for the answer to the first.
        options.toClient(failure(null, codes.invalid, `A request with the id ${JSON.stringify(id)} is under way`));
        return;
      }
      if (open.size >= maxInFlight) {
        options.toClient(failure(id, codes.internal, `${maxInFlight} requests are under way`));
        return;
      }
      void answerRequest(message);
    },
    fromServer: (message) => {
      if (isResponse(message)) {
        const waiting = message.id === null ? undefined : asked.get(message.id);
        if (message.id === null || waiting === undefined)
          return tell(
            `the server answered a request that is not open (${JSON.stringify(message.id)}); nobody hears it`,
          );
        asked.delete(message.id);
        waiting(message);
        return;
      }
      if (isRequest(message)) {
        if (askedClient.has(message.id) || askedClient.size >= maxInFlight) {
          options.toServer(failure(message.id, codes.invalid, 'This id is in use, or too much is asked at once'));
          return;
        }
        askedClient.set(message.id, null);
      }
      if (message.method === 'notifications/tools/list_changed') tools.changed();
      options.toClient(clean(message));
    },
    serverGone: (why) => {
      gone ??= why;
      const waiting = [...asked];
      asked.clear();
      for (const [id, settle] of waiting) settle(failure(id, codes.internal, gone));
    },
    close: () => {
      for (const stop of open.values()) stop.abort();
      for (const [id, settle] of asked) settle(failure(id, codes.internal, 'The guard ends'));
      asked.clear();
      return idle();
    },
    idle,
  };
}
