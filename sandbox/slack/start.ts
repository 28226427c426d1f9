/**
 * A Slack on loopback that enforces what the real one enforces: the Web API of one workspace, signed
 * interactions to the app's endpoint or over Socket Mode, and a page that shows the cards as people see them.
 */
import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Clock } from '../../broker/core/vocabulary.ts';
import type { Block } from './block-kit.ts';
import { answerPage } from './page.ts';
import { answerMethod, readArguments, SlackRefusal } from './web-api.ts';
import type { Answered, Message, SlackUser, Whisper, Workspace } from './workspace.ts';

export interface SlackOptions {
  clock: Clock;
  users: SlackUser[];
  /** Id → name of the rooms that the app is in. */
  channels: { [id: string]: string };
  /** Where interactions are posted; none = over Socket Mode alone. */
  interactionsUrl?: string;
}

/**
 * `hang`: takes the request and never answers; `answer_lost`: does what it is asked, then the connection
 * breaks; `refused`: the app may not write there. A number: asks to be left alone for so many seconds.
 */
export type SlackFault = 'hang' | 'unavailable' | 'refused' | 'answer_lost' | number;

export interface SlackSandbox {
  /** What SLACK_API_URL must be. */
  apiUrl: string;
  pageUrl: string;
  teamId: string;
  botToken: string;
  appToken: string;
  signingSecret: string;
  /** Every message as it stands now, oldest first. */
  messages(): readonly Message[];
  whispers(): readonly Whisper[];
  /** Requests of the Web API received so far. */
  requests(): number;
  calls(method: string): number;
  /** From now on. null = normally. */
  fail(fault: SlackFault | null): void;
  /**
   * Somebody presses a button of a message: the signed interaction goes to the app.
   * @throws Error when the message has no such button
   */
  press(user: string, message: Message, actionId: string): Promise<Answered>;
  /** The body that `press` would send, to be tampered with. */
  pressed(user: string, message: Message, actionId: string): object;
  /** The modal that is open on somebody's screen. */
  modal(user: string): Block | null;
  /** Somebody sends the modal that is open on their screen. */
  submit(user: string, text: string): Promise<Answered>;
  /** Posts a payload to the app's endpoint. @param at when Slack signed it */
  post(payload: object, at?: Date): Promise<Answered>;
  /** Headers of a signed body. */
  sign(body: string, at?: Date): { [header: string]: string };
  /** Interactions are posted there from now on. */
  pointTo(interactionsUrl: string): void;
  sockets(): number;
  /** Closes the sockets, as Slack does when it moves them elsewhere. */
  moveSockets(): void;
  close(): Promise<void>;
}

const maxBody = 1_000_000;

export async function startSlack(options: SlackOptions): Promise<SlackSandbox> {
  const { clock } = options;
  const random = () => randomBytes(12).toString('hex');
  const workspace: Workspace = {
    teamId: 'T0SANDBOX',
    appId: 'A0WRIT',
    botId: 'B0WRIT',
    botUser: 'U0WRIT',
    users: options.users,
    channels: new Map(Object.entries(options.channels).map(([id, name]) => [id, { name }])),
    messages: [],
    whispers: [],
    views: [],
    triggers: new Map(),
  };
  const botToken = `xoxb-${random()}`;
  const appToken = `xapp-${random()}`;
  const signingSecret = random();
  let interactionsUrl = options.interactionsUrl;
  let fault: SlackFault | null = null;
  let requests = 0;
  const calls = new Map<string, number>();

  const tickets = new Set<string>();
  const sockets = new Set<WebSocket>();
  const acks = new Map<string, (payload: unknown) => void>();

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const api = {
    workspace,
    clock,
    botToken,
    appToken,
    newSocketUrl: () => {
      const ticket = random();
      tickets.add(ticket);
      return `ws://${host}/link/?ticket=${ticket}&app_id=${workspace.appId}`;
    },
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', `http://${host}`);
    const body = await readBody(request);
    const method = /^\/api\/([\w.]+)$/.exec(url.pathname)?.[1];
    if (method === undefined) return answerPage({ workspace, press, submit }, request, url, body, response);
    requests += 1;
    calls.set(method, (calls.get(method) ?? 0) + 1);
    if (fault === 'hang') return;
    if (fault === 'unavailable') return void response.writeHead(503).end('upstream');
    if (typeof fault === 'number') {
      response.writeHead(429, { 'retry-after': String(fault), 'content-type': 'application/json' });
      return void response.end(JSON.stringify({ ok: false, error: 'ratelimited' }));
    }
    let result: object;
    try {
      const given = readArguments(request.headers['content-type'] ?? '', body, url.searchParams);
      const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
      if (fault === 'refused' && method.startsWith('chat.')) throw new SlackRefusal('not_in_channel');
      result = { ok: true, ...answerMethod(api, method, bearer ?? (given.token as string | undefined) ?? null, given) };
    } catch (error) {
      if (!(error instanceof SlackRefusal)) throw error;
      result = { ok: false, error: error.message };
    }
    if (fault === 'answer_lost' && method.startsWith('chat.')) return void response.destroy();
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(result));
  }

  const upgrades = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => {
    const ticket = new URL(request.url ?? '/', `http://${host}`).searchParams.get('ticket') ?? '';
    if (!tickets.delete(ticket)) return socket.destroy();
    upgrades.handleUpgrade(request, socket, head, (connected) => {
      sockets.add(connected);
      connected.on('close', () => sockets.delete(connected));
      connected.on('message', (data) => {
        const { envelope_id, payload } = JSON.parse(String(data)) as { envelope_id: string; payload?: unknown };
        acks.get(envelope_id)?.(payload);
        acks.delete(envelope_id);
      });
      connected.send(
        JSON.stringify({ type: 'hello', num_connections: sockets.size, connection_info: { app_id: workspace.appId } }),
      );
    });
  });

  /** Over a socket where the app holds one, else to its endpoint. */
  async function send(payload: object): Promise<Answered> {
    const [socket] = sockets;
    if (socket === undefined) return post(payload);
    const envelope_id = randomUUID();
    const acknowledged = new Promise<Answered>((resolve) => {
      acks.set(envelope_id, (body) => resolve({ status: 200, body: JSON.stringify(body ?? {}) }));
      socket.once('close', () => resolve({ status: 0, body: 'the socket closed' }));
    });
    socket.send(JSON.stringify({ envelope_id, type: 'interactive', accepts_response_payload: true, payload }));
    return acknowledged;
  }

  async function post(payload: object, at = clock.now()): Promise<Answered> {
    if (interactionsUrl === undefined) throw new Error('the app has no endpoint and no socket');
    const body = new URLSearchParams({ payload: JSON.stringify(payload) }).toString();
    const response = await fetch(interactionsUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...sign(body, at) },
      body,
    });
    return { status: response.status, body: await response.text() };
  }

  function sign(body: string, at = clock.now()): { [header: string]: string } {
    const timestamp = String(Math.floor(at.getTime() / 1000));
    const signature = createHmac('sha256', signingSecret).update(`v0:${timestamp}:${body}`).digest('hex');
    return { 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${signature}` };
  }

  /** What every interaction says of who, where and when. */
  const about = (user: string) => {
    const trigger = `${clock.now().getTime()}.${random()}`;
    workspace.triggers.set(trigger, { user, until: clock.now().getTime() + 3000 });
    const person = workspace.users.find(({ id }) => id === user);
    return {
      team: { id: workspace.teamId, domain: 'sandbox' },
      user: { id: user, username: person?.name ?? user, team_id: person?.teamId ?? workspace.teamId },
      api_app_id: workspace.appId,
      trigger_id: trigger,
    };
  };

  function pressed(user: string, message: Message, actionId: string): object {
    const buttons = message.blocks
      .filter(({ type }) => type === 'actions')
      .flatMap(({ elements, block_id }) =>
        (elements as { action_id: string; value?: string }[]).map((one) => ({ ...one, block_id })),
      );
    const button = buttons.find(({ action_id }) => action_id === actionId);
    if (button === undefined) throw new Error(`the message has no button ${actionId}`);
    const { action_id, value, block_id } = button;
    return {
      type: 'block_actions',
      ...about(user),
      container: { type: 'message', message_ts: message.ts, channel_id: message.channel, is_ephemeral: false },
      channel: { id: message.channel, name: workspace.channels.get(message.channel)?.name },
      message,
      response_url: `http://${host}/actions/${random()}`,
      actions: [{ type: 'button', action_id, block_id, value, action_ts: String(clock.now().getTime() / 1000) }],
    };
  }

  const press: SlackSandbox['press'] = (user, message, actionId) => send(pressed(user, message, actionId));

  async function submit(user: string, text: string): Promise<Answered> {
    const open = workspace.views.findLast((one) => one.user === user);
    if (open === undefined) throw new Error(`${user} has no modal open`);
    const field = (open.view.blocks as { type: string; block_id: string; element: { action_id: string } }[]).find(
      ({ type }) => type === 'input',
    );
    workspace.views.splice(workspace.views.indexOf(open), 1);
    const value = text === '' ? null : text;
    const values =
      field === undefined
        ? {}
        : { [field.block_id]: { [field.element.action_id]: { type: 'plain_text_input', value } } };
    return send({ type: 'view_submission', ...about(user), view: { ...open.view, id: open.id, state: { values } } });
  }

  return {
    apiUrl: `http://${host}/api/`,
    pageUrl: `http://${host}/`,
    teamId: workspace.teamId,
    botToken,
    appToken,
    signingSecret,
    messages: () => workspace.messages,
    whispers: () => workspace.whispers,
    requests: () => requests,
    calls: (method) => calls.get(method) ?? 0,
    fail: (kind) => {
      fault = kind;
    },
    press,
    pressed,
    modal: (user) => workspace.views.findLast((one) => one.user === user)?.view ?? null,
    submit,
    post,
    sign,
    pointTo: (target) => {
      interactionsUrl = target;
    },
    sockets: () => sockets.size,
    moveSockets: () => {
      for (const socket of sockets) {
        socket.send(JSON.stringify({ type: 'disconnect', reason: 'refresh_requested' }));
        socket.close();
      }
    },
    close: async () => {
      for (const socket of sockets) socket.terminate();
      upgrades.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > maxBody) throw new Error('too large');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}
