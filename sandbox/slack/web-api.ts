/**
 * Slack's Web API as far as a broker calls it: bodies as the real one takes them (a form whose structured
 * fields are JSON, or JSON), errors by their names.
 */
import type { Clock } from '../../broker/core/vocabulary.ts';
import { type Block, checkBlocks, checkModal } from './block-kit.ts';
import type { Message, Workspace } from './workspace.ts';

export type Arguments = { [name: string]: unknown };

/** `ok: false` with this error. */
export class SlackRefusal extends Error {}

const refuse = (error: string): never => {
  throw new SlackRefusal(error);
};

/** Fields that are JSON within a form. */
const structured = ['blocks', 'metadata', 'view'];

export function readArguments(contentType: string, body: string, query: URLSearchParams): Arguments {
  if (contentType.startsWith('application/json')) {
    try {
      return JSON.parse(body) as Arguments;
    } catch {
      return refuse('invalid_json');
    }
  }
  const form = new URLSearchParams(contentType.startsWith('application/x-www-form-urlencoded') ? body : '');
  const given: Arguments = { ...Object.fromEntries(query), ...Object.fromEntries(form) };
  for (const name of structured) {
    if (typeof given[name] !== 'string') continue;
    try {
      given[name] = JSON.parse(given[name]);
    } catch {
      refuse(
        name === 'metadata'
          ? 'invalid_metadata_format'
          : name === 'view'
            ? 'invalid_arguments'
            : 'invalid_blocks_format',
      );
    }
  }
  return given;
}

export interface ApiDeps {
  workspace: Workspace;
  clock: Clock;
  botToken: string;
  appToken: string;
  /** Address of a socket that is good for one connection. */
  newSocketUrl(): string;
}

/** @throws SlackRefusal */
export function answerMethod(deps: ApiDeps, method: string, token: string | null, given: Arguments): object {
  if (token === null || token === '') return refuse('not_authed');
  if (method === 'apps.connections.open') {
    if (token === deps.botToken) return refuse('not_allowed_token_type');
    if (token !== deps.appToken) return refuse('invalid_auth');
    return { url: deps.newSocketUrl() };
  }
  if (token === deps.appToken) return refuse('not_allowed_token_type');
  if (token !== deps.botToken) return refuse('invalid_auth');
  const answer = methods[method];
  return answer === undefined ? refuse('unknown_method') : answer(deps, given);
}

const methods: { [method: string]: (deps: ApiDeps, given: Arguments) => object } = {
  'auth.test': ({ workspace }) => ({
    url: 'https://sandbox.slack.example/',
    team: 'Sandbox',
    user: 'writ',
    team_id: workspace.teamId,
    user_id: workspace.botUser,
    bot_id: workspace.botId,
    is_enterprise_install: false,
  }),

  'users.info': ({ workspace }, { user }) => {
    const found = workspace.users.find(({ id }) => id === user);
    if (found === undefined) return refuse('user_not_found');
    return {
      user: {
        id: found.id,
        team_id: found.teamId ?? workspace.teamId,
        name: found.name.toLowerCase(),
        deleted: found.deleted === true,
        is_bot: found.bot === true,
        is_restricted: found.guest === true,
        is_ultra_restricted: false,
        is_stranger: found.teamId !== undefined && found.teamId !== workspace.teamId,
        is_email_confirmed: found.emailConfirmed !== false,
        profile: { email: found.email, real_name: found.name, display_name: found.name },
      },
    };
  },

  'conversations.open': ({ workspace }, { users }) =>
    workspace.users.some(({ id }) => id === users)
      ? { channel: { id: roomFor(workspace, String(users)) } }
      : refuse('user_not_found'),

  'conversations.info': ({ workspace }, { channel }) => {
    const room = workspace.channels.get(String(channel));
    return room === undefined
      ? refuse('channel_not_found')
      : { channel: { id: channel, name: room.name, is_member: true } };
  },

  'conversations.history': ({ workspace }, { channel, oldest, cursor, limit, include_all_metadata }) => {
    if (!workspace.channels.has(String(channel))) return refuse('channel_not_found');
    const most = limit === undefined ? 100 : Number(limit);
    if (!Number.isInteger(most) || most < 1 || most > 999) return refuse('invalid_limit');
    const from = cursor === undefined || cursor === '' ? 0 : Number(cursor);
    if (!Number.isInteger(from)) return refuse('invalid_cursor');
    const since = oldest === undefined ? 0 : Number(oldest);
    if (Number.isNaN(since)) return refuse('invalid_ts_oldest');
    const all = workspace.messages.filter((one) => one.channel === channel && Number(one.ts) > since).reverse();
    const page = all.slice(from, from + most);
    const more = from + most < all.length;
    return {
      messages: page.map((one) => shown(one, include_all_metadata === true || include_all_metadata === 'true')),
      has_more: more,
      response_metadata: { next_cursor: more ? String(from + most) : '' },
    };
  },

  'chat.postMessage': ({ workspace, clock }, given) => {
    const channel = roomFor(workspace, String(given.channel ?? ''));
    const message = { ...content(given), channel, ts: nextTs(workspace, clock) };
    const posted: Message = { ...message, bot_id: workspace.botId, user: workspace.botUser, edited: false };
    workspace.messages.push(posted);
    return { channel, ts: posted.ts, message: shown(posted, true) };
  },

  'chat.update': ({ workspace }, given) => {
    if (!workspace.channels.has(String(given.channel))) return refuse('channel_not_found');
    const message = workspace.messages.find(({ channel, ts }) => channel === given.channel && ts === given.ts);
    if (message === undefined) return refuse('message_not_found');
    const { metadata, ...rest } = content(given);
    // Metadata that is not given again stays.
    Object.assign(message, rest, metadata === undefined ? {} : { metadata }, { edited: true });
    return { channel: message.channel, ts: message.ts, text: message.text };
  },

  'chat.postEphemeral': ({ workspace, clock }, given) => {
    const channel = roomFor(workspace, String(given.channel ?? ''));
    if (!workspace.users.some(({ id }) => id === given.user)) return refuse('user_not_in_channel');
    const { text } = content(given);
    workspace.whispers.push({ channel, user: String(given.user), text });
    return { message_ts: nextTs(workspace, clock) };
  },

  'views.open': ({ workspace, clock }, given) => {
    const trigger = workspace.triggers.get(String(given.trigger_id ?? ''));
    if (trigger === undefined) return refuse('invalid_trigger_id');
    workspace.triggers.delete(String(given.trigger_id));
    if (trigger.until < clock.now().getTime()) return refuse('expired_trigger_id');
    let view: Block;
    try {
      view = checkModal(given.view);
    } catch {
      return refuse('invalid_arguments');
    }
    const open = { id: `V${workspace.views.length + 1}`, user: trigger.user, view };
    workspace.views.push(open);
    return { view: { ...view, id: open.id } };
  },
};

/** A person's id writes to the room that they share with the app. */
function roomFor(workspace: Workspace, channel: string): string {
  if (workspace.channels.has(channel)) return channel;
  const user = workspace.users.find(({ id }) => id === channel);
  if (user === undefined) return refuse('channel_not_found');
  const room = `D${user.id.slice(1)}`;
  workspace.channels.set(room, { name: user.name });
  return room;
}

function content(given: Arguments): Pick<Message, 'text' | 'blocks' | 'metadata'> {
  const text = given.text ?? '';
  if (typeof text !== 'string') return refuse('invalid_arguments');
  if (text.length > 40_000) return refuse('msg_too_long');
  if (text === '' && given.blocks === undefined) return refuse('no_text');
  let blocks: Block[] = [];
  try {
    if (given.blocks !== undefined) blocks = checkBlocks(given.blocks, 'message');
  } catch {
    return refuse('invalid_blocks');
  }
  const metadata = given.metadata as Message['metadata'] | undefined;
  if (metadata !== undefined) {
    const { event_type, event_payload } = metadata;
    if (typeof event_type !== 'string' || !/^[\w.-]{1,255}$/.test(event_type)) return refuse('invalid_metadata_schema');
    if (typeof event_payload !== 'object' || event_payload === null) return refuse('invalid_metadata_schema');
  }
  return { text, blocks, ...(metadata === undefined ? {} : { metadata }) };
}

function shown({ ts, text, blocks, metadata, bot_id, user }: Message, all: boolean): object {
  return { type: 'message', ts, text, blocks, bot_id, user, ...(all && metadata !== undefined ? { metadata } : {}) };
}

/** Unique in the workspace, and in order. */
function nextTs({ messages, whispers }: Workspace, clock: Clock): string {
  const count = messages.length + whispers.length + 1;
  return `${Math.floor(clock.now().getTime() / 1000)}.${String(count).padStart(6, '0')}`;
}
