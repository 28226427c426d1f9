/** COAZ-MCP: what each MCP message asks for, as the binding's default mappings say. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CoazOutcome, coazOutcome } from './coaz.ts';

const asker = { subject: 'support-bot', agent: 'support-bot', server: 'https://mcp.example.com' };
const server = ['mcp_server', 'https://mcp.example.com'];

/** Method, parameters → action, resource, what else is in the context. */
const asked: [string, { [name: string]: unknown }, string[], { [name: string]: unknown }?][] = [
  ['initialize', { protocolVersion: '2025-11-25' }, server, { protocol_version: '2025-11-25' }],
  ['tools/list', {}, server],
  ['tools/call', { name: 'get_customer', arguments: { id: 'c-1' } }, ['tool', 'get_customer']],
  ['resources/list', {}, server],
  ['resources/read', { uri: 'file:///a.txt' }, ['resource', 'file:///a.txt']],
  ['resources/subscribe', { uri: 'file:///a.txt' }, ['resource', 'file:///a.txt']],
  ['resources/unsubscribe', { uri: 'file:///a.txt' }, ['resource', 'file:///a.txt']],
  ['prompts/list', {}, server],
  ['prompts/get', { name: 'review' }, ['prompt', 'review']],
  ['completion/complete', { ref: { type: 'ref/prompt', name: 'review' } }, ['prompt', 'review']],
  ['completion/complete', { ref: { type: 'ref/resource', uri: 'file:///a' } }, ['resource', 'file:///a']],
  ['logging/setLevel', { level: 'debug' }, server, { level: 'debug' }],
  ['tasks/get', { taskId: 't1' }, ['task', 't1']],
  ['tasks/result', { taskId: 't1' }, ['task', 't1']],
  ['tasks/cancel', { taskId: 't1' }, ['task', 't1']],
  ['tasks/list', {}, server],
];

const requestOf = (outcome: CoazOutcome) => {
  assert.equal(outcome.kind, 'ask', JSON.stringify(outcome));
  return outcome.kind === 'ask' ? outcome.request : undefined;
};

describe('COAZ-MCP', () => {
  for (const [method, params, [type, id], more = {}] of asked) {
    test(`${method} ${JSON.stringify(params)} is asked for`, () => {
      const { arguments: given, ...context } = requestOf(coazOutcome({ id: 1, method, params }, asker))?.context ?? {};
      assert.deepEqual(requestOf(coazOutcome({ id: 1, method, params }, asker)), {
        subject: { type: 'identity', id: 'support-bot' },
        action: { name: method },
        resource: { type, id },
        context: { ...context, arguments: given },
      });
      assert.deepEqual(context, { agent: 'support-bot', ...more });
    });
  }

  test('a tool’s arguments go along as they are; of any other method, its parameters without `_meta`', () => {
    const call = {
      id: 1,
      method: 'tools/call',
      params: { name: 'send', arguments: { to: ['a', 'b'] }, _meta: { x: 1 } },
    };
    const outcome = coazOutcome(call, { ...asker, callId: 'call_7' });
    assert.deepEqual(outcome.kind === 'ask' && [outcome.tool, outcome.args], ['send', { to: ['a', 'b'] }]);
    assert.deepEqual(requestOf(outcome)?.context, {
      agent: 'support-bot',
      arguments: { to: ['a', 'b'] },
      call_id: 'call_7',
    });
    const read = coazOutcome({ id: 2, method: 'resources/read', params: { uri: 'file:///a', _meta: {} } }, asker);
    assert.deepEqual(read.kind === 'ask' && [read.tool, read.args], ['resources/read', { uri: 'file:///a' }]);
  });

  test('ping and notifications pass without a question; nothing that wants an answer does', () => {
    assert.deepEqual(coazOutcome({ id: 1, method: 'ping' }, asker), { kind: 'pass' });
    assert.deepEqual(coazOutcome({ method: 'notifications/progress', params: {} }, asker), { kind: 'pass' });
    assert.equal(coazOutcome({ id: 1, method: 'notifications/tools/call' }, asker).kind, 'deny');
  });

  test('a method that the binding does not know is refused', () => {
    for (const method of ['tools/execute', 'TOOLS/CALL', 'tools/call ', 'constructor', '__proto__', 'toString'])
      assert.equal(coazOutcome({ id: 1, method, params: { name: 'x' } }, asker).kind, 'deny', method);
  });

  test('what the mapping needs and does not find is a mapping error', () => {
    for (const [method, params] of [
      ['tools/call', undefined],
      ['tools/call', { name: 7 }],
      ['tools/call', { name: '' }],
      ['tools/call', { name: ['read'] }],
      ['tools/call', { name: 'read', arguments: ['a'] }],
      ['tools/call', ['read']],
      ['resources/read', { name: 'x' }],
      ['completion/complete', { ref: 'ref/prompt' }],
      ['initialize', {}],
      ['tasks/get', { taskId: null }],
    ] as [string, never][]) {
      const outcome = coazOutcome({ id: 1, method, params }, asker);
      assert.equal(outcome.kind, 'invalid', `${method} ${JSON.stringify(params)}`);
    }
  });

  test('a mapping that the server declares changes nothing', () => {
    const params = {
      name: 'wipe_disk',
      arguments: {},
      'x-authzen-mapping': { evaluation: { action: { name: 'noop' } } },
    };
    const outcome = coazOutcome({ id: 1, method: 'tools/call', params }, asker);
    assert.equal(outcome.kind === 'ask' && outcome.tool, 'wipe_disk');
    assert.equal(requestOf(outcome)?.resource.id, 'wipe_disk');
  });
});
