/** Calls that a person must agree to, through the guard, with a person who signs in and decides. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { type Harness, openHarness } from '../broker.test-support.ts';
import { endClients, guarded, manifest, rawClient, textOf } from './guard.test-support.ts';

let harness: Harness;
before(async () => {
  harness = await openHarness({ manifest });
});
after(async () => {
  endClients();
  await harness.close();
});

const urlIn = (text: string) => /(http:\S+?)[.]?(?:\s|$)/.exec(text)?.[1] ?? assert.fail(`no address in: ${text}`);
const decisions = () => harness.broker.store.prisma.action.findMany({ where: { tool: 'ask_me', effect: 'approve' } });

it('without anybody to wait: says where and what to do, and goes on when asked again', async () => {
  const client = await rawClient(harness, { options: ['--wait', '1'] });
  const pending = await client.call(1, 'ask_me', { what: 'a' });
  assert.equal(pending.result.isError, true);
  assert.match(
    textOf(pending),
    /was not made: Somebody looks at this first.*call ask_me again with the same arguments/s,
  );
  assert.equal((await decisions()).length, 1);
  await client.call(2, 'ask_me', { what: 'a' });
  assert.equal((await decisions()).length, 1, 'the same call, not another one');
  await harness.decide(urlIn(textOf(pending)), 'approve');
  assert.equal(textOf(await client.call(3, 'ask_me', { what: 'a' })), 'ask_me done');
  const another = await client.call(4, 'ask_me', { what: 'a' });
  assert.equal(another.result.isError, true, 'they agreed to one call');
  assert.equal((await decisions()).length, 2);
  await client.close();
});

it('waits as long as the client is told of progress', async () => {
  const client = await rawClient(harness);
  const called = client.call(1, 'ask_me', { what: 'b' }, { _meta: { progressToken: 'p1' } });
  const { params } = await client.heard(({ method }) => method === 'notifications/progress');
  assert.equal(params.progressToken, 'p1');
  await harness.decide(await newestPage(), 'approve');
  assert.equal(textOf(await called), 'ask_me done');
  await client.close();
});

it('is told what a person said no to', async () => {
  const client = await rawClient(harness);
  const called = client.call(1, 'ask_me', { what: 'c' }, { _meta: { progressToken: 1 } });
  await client.heard(({ method }) => method === 'notifications/progress');
  await harness.decide(await newestPage(), 'deny', 'Not today');
  const answer = await called;
  assert.equal(answer.result.isError, true);
  assert.match(textOf(answer), /was denied/);
  await client.close();
});

it('gives a client that shows pages the page (2025-11-25)', async () => {
  const client = await rawClient(harness, { capabilities: { elicitation: { url: {} } } });
  const called = client.call(1, 'ask_me', { what: 'd' });
  const shown = await client.heard(({ method }) => method === 'elicitation/create');
  assert.equal(shown.params.mode, 'url');
  client.say({ jsonrpc: '2.0', id: shown.id, result: { action: 'accept' } });
  await harness.decide(shown.params.url, 'approve');
  assert.equal(textOf(await called), 'ask_me done');
  const complete = await client.heard(({ method }) => method === 'notifications/elicitation/complete');
  assert.equal(complete.params.elicitationId, shown.params.elicitationId);
  await client.close();
});

it('asks a client without handshake for it, and goes on when it comes back (2026-07-28)', async () => {
  const server = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'stateless-server.test-support.ts'),
  ];
  const client = new Client(
    { name: 'test', version: '1' },
    { versionNegotiation: { mode: { pin: '2026-07-28' } }, capabilities: { elicitation: { url: {} } } },
  );
  const shown: string[] = [];
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    assert.ok('url' in params);
    shown.push(params.url);
    await harness.decide(params.url, 'approve');
    return { action: 'accept' };
  });
  await client.connect(new StdioClientTransport({ ...guarded(harness, server), stderr: 'inherit' }));
  try {
    const { content } = await client.callTool({ name: 'ask_me', arguments: {} });
    assert.deepEqual(content, [{ type: 'text', text: 'done after all' }]);
    assert.equal(shown.length, 1);
  } finally {
    await client.close();
  }
});

it('does not believe a state that it has not given', async () => {
  const client = await rawClient(harness, { options: ['--wait', '1'] });
  const forged = await client.call(1, 'ask_me', { what: 'e' }, { requestState: 'writ.forged', inputResponses: {} });
  assert.equal(forged.result.isError, true);
  await client.close();
});

it('a call that is cancelled while a person is asked is not made', async () => {
  const client = await rawClient(harness);
  client.say({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name: 'ask_me', arguments: { what: 'f' }, _meta: { progressToken: 1 } },
  });
  await client.heard(({ method }) => method === 'notifications/progress');
  client.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
  assert.equal(await client.close(), 0);
  assert.equal(client.seen.filter(({ id }) => id === 1).length, 0);
});

/** The page of what was asked last. */
async function newestPage(): Promise<string> {
  const { id } = await harness.broker.store.prisma.grant.findFirstOrThrow({ orderBy: { requestedAt: 'desc' } });
  return `${harness.url}/approvals/${id}`;
}
