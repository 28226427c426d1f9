/**
 * The workspace as a person sees it: cards with their buttons, what only they can read, and the modal that is
 * open on their screen. The buttons send the real signed interaction.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Block } from './block-kit.ts';
import type { Answered, Message, Workspace } from './workspace.ts';

export interface PageDeps {
  workspace: Workspace;
  press(user: string, message: Message, actionId: string): Promise<Answered>;
  submit(user: string, text: string): Promise<Answered>;
}

/** `GET /?as=U…`, `POST /press`, `POST /submit`. */
export async function answerPage(
  deps: PageDeps,
  request: IncomingMessage,
  url: URL,
  body: string,
  response: ServerResponse,
): Promise<void> {
  const { workspace } = deps;
  const form = new URLSearchParams(body);
  const as = form.get('as') ?? url.searchParams.get('as') ?? workspace.users[0]?.id ?? '';
  if (request.method === 'POST') {
    const message = workspace.messages.find(
      ({ channel, ts }) => channel === form.get('channel') && ts === form.get('ts'),
    );
    if (url.pathname === '/press' && message !== undefined) await deps.press(as, message, form.get('action') ?? '');
    if (url.pathname === '/submit') await deps.submit(as, form.get('text') ?? '');
    return void response.writeHead(303, { location: `/?as=${encodeURIComponent(as)}` }).end();
  }
  if (url.pathname !== '/') return void response.writeHead(404).end();
  response.writeHead(200, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
  });
  response.end(page(workspace, as));
}

const quoted = (text: unknown) => String(text).replace(/[&<>"']/g, (found) => `&#${found.codePointAt(0)};`);

function page(workspace: Workspace, as: string): string {
  const people = workspace.users.map(
    ({ id, name }) => `<a href="/?as=${quoted(id)}"${id === as ? ' aria-current="true"' : ''}>${quoted(name)}</a>`,
  );
  const rooms = [...workspace.channels].map(([id, { name }]) => {
    const messages = workspace.messages.filter(({ channel }) => channel === id);
    const whispers = workspace.whispers.filter(({ channel, user }) => channel === id && user === as);
    if (messages.length + whispers.length === 0) return '';
    return `<section><h2>#${quoted(name)}</h2>${messages.map((one) => card(one, as)).join('')}${whispers
      .map(({ text }) => `<p class="whisper">Only visible to you: ${quoted(text)}</p>`)
      .join('')}</section>`;
  });
  const open = workspace.views.findLast(({ user }) => user === as);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="${open === undefined ? 2 : 3600}">
<meta name="viewport" content="width=device-width"><title>Sandbox Slack</title><style>
body{font:16px/1.45 system-ui,sans-serif;max-width:46rem;margin:1rem auto;padding:0 1rem;color-scheme:light dark}
nav a{margin-right:1rem}a[aria-current]{font-weight:bold}.card{border:1px solid #8886;border-radius:.5rem;padding:.75rem 1rem;margin:1rem 0}
.card p,.card small{white-space:pre-wrap;overflow-wrap:anywhere}form:not(.card){display:inline}button,.button{font:inherit;margin:.25rem .5rem .25rem 0;padding:.35rem .8rem}
.whisper{opacity:.8;border-left:3px solid #888;padding-left:.6rem}</style>
<h1>Sandbox Slack</h1><nav>You are: ${people.join('')}</nav>${open === undefined ? '' : modal(open.view, as)}${rooms.join('') || '<p>No messages yet.</p>'}</html>`;
}

function card(message: Message, as: string): string {
  return `<article class="card">${message.blocks.map((block) => shown(block, message, as)).join('')}${message.edited ? '<small>(edited)</small>' : ''}</article>`;
}

const words = (object: unknown) => quoted((object as { text: string }).text);

function shown(block: Block, message: Message, as: string): string {
  if (block.type === 'header') return `<h3>${words(block.text)}</h3>`;
  if (block.type === 'section') return `<p>${words(block.text)}</p>`;
  if (block.type === 'context') return `<small>${(block.elements as unknown[]).map(words).join(' ')}</small>`;
  if (block.type === 'divider') return '<hr>';
  if (block.type !== 'actions') return '';
  const buttons = (block.elements as { text: unknown; action_id: string; url?: string }[]).map((button) =>
    button.url === undefined
      ? `<form method="post" action="/press">${hidden({ as, channel: message.channel, ts: message.ts, action: button.action_id })}<button>${words(button.text)}</button></form>`
      : `<a class="button" href="${quoted(button.url)}">${words(button.text)}</a>`,
  );
  return `<div>${buttons.join('')}</div>`;
}

function modal(view: Block, as: string): string {
  const blocks = view.blocks as Block[];
  const told = blocks.filter(({ type }) => type === 'section').map(({ text }) => `<p>${words(text)}</p>`);
  const asked = blocks
    .filter(({ type }) => type === 'input')
    .map(
      ({ label }) =>
        `<label>${words(label)}<br><textarea name="text" required rows="3" cols="50"></textarea></label><br>`,
    );
  return `<form class="card" method="post" action="/submit">${hidden({ as })}<h3>${words(view.title)}</h3>${[...told, ...asked].join('')}<button>${view.submit === undefined ? 'Send' : words(view.submit)}</button></form>`;
}

const hidden = (fields: { [name: string]: string }) =>
  Object.entries(fields)
    .map(([name, value]) => `<input type="hidden" name="${name}" value="${quoted(value)}">`)
    .join('');
