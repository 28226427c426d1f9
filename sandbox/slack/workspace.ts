/** A workspace: its people, rooms and messages, and what is open on whose screen. */
import type { Block } from './block-kit.ts';

export interface SlackUser {
  id: string;
  email: string;
  name: string;
  /** Default: yes. */
  emailConfirmed?: boolean;
  /** Another workspace's, who is here through a shared room. */
  teamId?: string;
  guest?: boolean;
  deleted?: boolean;
  bot?: boolean;
}

export interface Message {
  channel: string;
  ts: string;
  text: string;
  blocks: Block[];
  metadata?: { event_type: string; event_payload: { [name: string]: unknown } };
  bot_id: string;
  user: string;
  edited: boolean;
}

/** What the app answered to an interaction. */
export interface Answered {
  status: number;
  body: string;
}

/** Seen by one person alone, until they reload. */
export interface Whisper {
  channel: string;
  user: string;
  text: string;
}

export interface OpenView {
  id: string;
  user: string;
  view: Block;
}

export interface Workspace {
  teamId: string;
  appId: string;
  botId: string;
  botUser: string;
  users: SlackUser[];
  /** Rooms that the app is in. A room of one person with the app is made when it is written to. */
  channels: Map<string, { name: string }>;
  /** Oldest first. */
  messages: Message[];
  whispers: Whisper[];
  views: OpenView[];
  /** Trigger → who pressed, and until when it opens something. Good once. */
  triggers: Map<string, { user: string; until: number }>;
}

/** A person's view of text: what Slack's markup makes of it. */
export interface Rendered {
  text: string;
  links: string[];
  mentions: string[];
  agentWords: string[];
}

interface TextObject {
  type: 'plain_text' | 'mrkdwn';
  text: string;
}

const textsOf = (block: Block): TextObject[] => {
  if (block.type === 'context') return block.elements as TextObject[];
  if (block.type === 'actions') return (block.elements as { text: TextObject }[]).map(({ text }) => text);
  return block.text === undefined ? [] : [block.text as TextObject];
};

const plainOf = (text: string) => text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');

/**
 * As a person reads it. `plain_text` is literal; in `mrkdwn`, and in the text that stands for the blocks in a
 * notification, `<…>` is a link or calls somebody. What a line of the card says to be the agent's own words
 * sets the next block apart as such.
 */
export function render({ text, blocks }: Pick<Message, 'text' | 'blocks'>): Rendered {
  const all = blocks.flatMap(textsOf);
  const marked = [text, ...all.filter(({ type }) => type === 'mrkdwn').map((one) => one.text)];
  const tags = marked.flatMap((one) => [...one.matchAll(/<([^>]*)>/g)].map(([, tag]) => tag!));
  const calls = tags.filter((tag) => /^[@!#]/.test(tag));
  const buttons = blocks.filter(({ type }) => type === 'actions').flatMap(({ elements }) => elements as Block[]);
  return {
    text: all.map((one) => (one.type === 'plain_text' ? one.text : plainOf(one.text))).join('\n'),
    links: [
      ...buttons.flatMap(({ url }) => (typeof url === 'string' ? [url] : [])),
      ...tags.filter((tag) => !calls.includes(tag)).map((tag) => tag.split('|', 1)[0]!),
    ],
    mentions: calls,
    agentWords: blocks.flatMap((block, index) => {
      const before = blocks[index - 1];
      const told = before?.type === 'context' && textsOf(before).some((one) => /agent’s own words/.test(one.text));
      return told ? textsOf(block).map((one) => one.text) : [];
    }),
  };
}
