/**
 * The counterpart is as strict as Slack: tokens, bodies, limits, triggers; and its page sends what it shows.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { manualClock } from '../../broker/core/clock.ts';
import { openBrowser } from '../oidc/browser.ts';
import { type SlackSandbox, startSlack } from './start.ts';

const clock = manualClock(new Date('2026-03-04T12:00:00Z'));
const users = [{ id: 'U0ONE', email: 'one@example.com', name: 'One' }];
const plain = (text: string) => ({ type: 'plain_text', text });
const button = { type: 'button', text: plain('Press <b>'), action_id: 'press', value: 'v' };
const card = [
  { type: 'section', text: plain('<script>alert(1)</script>') },
  { type: 'actions', elements: [button] },
];

async function withSlack(work: (slack: SlackSandbox, call: Call) => Promise<void>): Promise<void> {
  const slack = await startSlack({ clock, users, channels: { C0ROOM: 'room' } });
  const call: Call = async (method, given, token = slack.botToken) => {
    const answer = await fetch(`${slack.apiUrl}${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token === '' ? {} : { authorization: `Bearer ${token}` }) },
      body: JSON.stringify(given),
    });
    const { ok, error } = (await answer.json()) as { ok: boolean; error?: string };
    return ok ? 'ok' : (error ?? '');
  };
  try {
    await work(slack, call);
  } finally {
    await slack.close();
  }
}
type Call = (method: string, given: object, token?: string) => Promise<string>;

test('tokens, methods, rooms and messages are checked, and refused by Slack’s names', () =>
  withSlack(async (slack, call) => {
    const message = { channel: 'C0ROOM', text: 'hello' };
    assert.equal(await call('chat.postMessage', message, ''), 'not_authed');
    assert.equal(await call('chat.postMessage', message, 'xoxb-wrong'), 'invalid_auth');
    assert.equal(await call('chat.postMessage', message, slack.appToken), 'not_allowed_token_type');
    assert.equal(await call('apps.connections.open', {}), 'not_allowed_token_type');
    assert.equal(await call('chat.shout', message), 'unknown_method');
    assert.equal(await call('chat.postMessage', { ...message, channel: 'C0ELSE' }), 'channel_not_found');
    assert.equal(await call('chat.postMessage', { channel: 'C0ROOM' }), 'no_text');
    assert.equal(await call('chat.update', { ...message, ts: '1.000001' }), 'message_not_found');
    assert.equal(await call('users.info', { user: 'U0TWO' }), 'user_not_found');
    assert.equal(await call('views.open', { trigger_id: 'made-up', view: {} }), 'invalid_trigger_id');
    assert.equal(await call('chat.postMessage', message), 'ok');
    slack.fail(30);
    const limited = await fetch(`${slack.apiUrl}auth.test`, { method: 'POST' });
    assert.deepEqual([limited.status, limited.headers.get('retry-after')], [429, '30']);
  }));

test('Block Kit’s limits hold', () =>
  withSlack(async (_slack, call) => {
    const post = (...blocks: object[]) => call('chat.postMessage', { channel: 'C0ROOM', text: 'x', blocks });
    const section = (text: object) => ({ type: 'section', text });
    const actions = (...elements: object[]) => ({ type: 'actions', elements });
    assert.equal(await post(...card), 'ok');
    assert.equal(await post(...Array.from({ length: 50 }, () => ({ type: 'divider' }))), 'ok');
    assert.equal(await post(section(plain('x'.repeat(3000)))), 'ok');
    for (const blocks of [
      Array.from({ length: 51 }, () => ({ type: 'divider' })),
      [section(plain('x'.repeat(3001)))],
      [section(plain(''))],
      [section({ type: 'html', text: 'x' })],
      [{ type: 'header', text: plain('x'.repeat(151)) }],
      [{ type: 'header', text: { type: 'mrkdwn', text: 'x' } }],
      [actions({ ...button, text: plain('x'.repeat(76)) })],
      [actions({ ...button, value: 'x'.repeat(2001) })],
      [actions({ ...button, action_id: 'x'.repeat(256) })],
      [actions({ ...button, style: 'green' })],
      [actions(button, button)],
      [
        { type: 'divider', block_id: 'a' },
        { type: 'divider', block_id: 'a' },
      ],
      [{ type: 'divider', colour: 'red' }],
      [{ type: 'marquee' }],
    ])
      assert.equal(await post(...blocks), 'invalid_blocks', JSON.stringify(blocks).slice(0, 100));
  }));

test('its page shows text as text, and its button sends the signed interaction', () =>
  withSlack(async (slack, call) => {
    const got: { headers: { [name: string]: string | string[] | undefined }; body: string }[] = [];
    const app = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request.setEncoding('utf8')) body += chunk;
      got.push({ headers: request.headers, body });
      response.end();
    });
    await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
    slack.pointTo(`http://127.0.0.1:${(app.address() as AddressInfo).port}/slack/interactions`);
    await call('chat.postMessage', { channel: 'C0ROOM', text: 'x', blocks: card });
    const browser = openBrowser();
    const page = await browser.open(slack.pageUrl);
    assert.ok(!page.html.includes('<script>'));
    await browser.submit(page, {});
    const [sent] = got;
    assert.equal(sent?.headers['x-slack-signature'], slack.sign(sent?.body ?? '')['x-slack-signature']);
    const payload = JSON.parse(new URLSearchParams(sent?.body).get('payload') ?? '{}');
    assert.deepEqual([payload.user.id, payload.actions[0].value], ['U0ONE', 'v']);
    // What opens a modal is good once, and for three seconds.
    const view = { type: 'modal', title: plain('Why'), blocks: [] };
    clock.advance(3_001);
    assert.equal(await call('views.open', { trigger_id: payload.trigger_id, view }), 'expired_trigger_id');
    assert.equal(await call('views.open', { trigger_id: payload.trigger_id, view }), 'invalid_trigger_id');
    app.closeAllConnections();
    await new Promise((resolve) => app.close(resolve));
  }));
