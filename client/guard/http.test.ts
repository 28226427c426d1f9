/** The way to a server over HTTP: what is sent, and what becomes of each kind of answer. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { after, before, it } from 'node:test';
import { until } from '../../broker/until.test-support.ts';
import { systemClock } from '../clock.ts';
import type { Members } from '../coaz.ts';
import { WritError } from '../errors.ts';
import { headerValue, httpServer } from './http.ts';
import type { Message } from './message.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, body: Members) => void;
let handle: Handler;
const server = createServer(async (request, response) => {
  handle(request, response, request.method === 'POST' ? ((await json(request)) as Members) : {});
});
let address: string;
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
});
after(() => server.close());

const answer = (response: ServerResponse, id: unknown, result: Members) =>
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id, result }));

function open(headers: { [name: string]: string } = {}) {
  const heard: Message[] = [];
  const faults: string[] = [];
  const transport = httpServer(address, headers, systemClock, {
    onMessage: (message) => heard.push(message),
    onFault: (_code, message) => faults.push(message),
    onClose: () => {},
  });
  const ask = async (id: number, method: string, params: Members = {}) => {
    transport.send({ jsonrpc: '2.0', id, method, params });
    const fits = (one: Message) => 'id' in one && one.id === id && !('method' in one);
    await until(`request ${id} is answered`, () => heard.some(fits));
    // biome-ignore lint/suspicious/noExplicitAny: what the server of this test says
    return heard.find(fits) as any;
  };
  return { transport, heard, faults, ask };
}

const _meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' };

it('repeats in headers what 2026-07-28 wants repeated, and says no session', async () => {
  const seen: IncomingMessage['headers'][] = [];
  const inputSchema = {
    type: 'object',
    properties: {
      region: { type: 'string', 'x-mcp-header': 'Region' },
      place: { type: 'object', properties: { city: { type: 'string', 'x-mcp-header': 'City' } } },
    },
  };
  handle = (request, response, { id, method }) => {
    seen.push(request.headers);
    answer(response, id, method === 'tools/list' ? { tools: [{ name: 'look', inputSchema }] } : { content: [] });
  };
  const { transport, ask } = open({ authorization: 'Bearer of the server' });
  await ask(1, 'tools/list', { _meta });
  await ask(2, 'tools/call', { name: 'look', arguments: { region: 'eu', place: { city: 'Zürich' } }, _meta });
  const [, call] = seen;
  assert.equal(call?.authorization, 'Bearer of the server');
  assert.equal(call?.['mcp-protocol-version'], '2026-07-28');
  assert.equal(call?.['mcp-method'], 'tools/call');
  assert.equal(call?.['mcp-name'], 'look');
  assert.equal(call?.['mcp-param-region'], 'eu');
  assert.equal(call?.['mcp-param-city'], headerValue('Zürich'));
  assert.equal(call?.['mcp-session-id'], undefined);
  await transport.close();
});

it('encodes as the specification’s examples do', () => {
  assert.equal(headerValue('us-west1'), 'us-west1');
  assert.equal(headerValue('Hello, 世界'), '=?base64?SGVsbG8sIOS4lueVjA==?=');
  assert.equal(headerValue(' padded '), '=?base64?IHBhZGRlZCA=?=');
  assert.equal(headerValue('line1\nline2'), '=?base64?bGluZTEKbGluZTI=?=');
  assert.equal(headerValue('=?base64?literal?='), '=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=');
});

it('reads a stream of messages, whatever its line breaks, and answers what the stream did not', async () => {
  handle = (_request, response, { id }) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const note = { jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 1, progress: 1 } };
    response.write(`: hello\r\nid: 1\r\ndata:\r\n\r\nevent: message\r\ndata: ${JSON.stringify(note)}\r`);
    if (id === 2) return response.end('\n\r\n');
    response.end(`\n\r\ndata: {"jsonrpc":"2.0",\ndata: "id":${id},"result":{"ok":true}}\n\n`);
  };
  const { transport, heard, faults, ask } = open();
  assert.deepEqual((await ask(1, 'ping')).result, { ok: true });
  assert.equal(heard.filter((one) => 'method' in one).length, 1);
  assert.match((await ask(2, 'ping')).error.message, /answered 200 and no message/);
  assert.deepEqual(faults, []);
  await transport.close();
});

it('answers for a server that refuses, redirects, or is not there', async () => {
  const { transport, ask } = open();
  handle = (_request, response) => response.writeHead(401).end();
  assert.match((await ask(1, 'ping')).error.message, /answered 401/);
  handle = (_request, response) => response.writeHead(307, { location: 'http://127.0.0.1:9/' }).end();
  assert.match((await ask(2, 'ping')).error.message, /did not answer/);
  handle = (request) => request.socket.destroy();
  assert.match((await ask(3, 'ping')).error.message, /did not answer/);
  handle = (_request, response, { id }) =>
    response
      .writeHead(404, { 'content-type': 'application/json' })
      .end(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32_601, message: 'no such method' } }));
  assert.equal((await ask(4, 'ping')).error.message, 'no such method', 'an error that is a message is handed on');
  await transport.close();
});

it('is https, or on this machine', () => {
  const events = { onMessage: () => {}, onFault: () => {}, onClose: () => {} };
  for (const url of ['http://mcp.example.com/', 'ftp://127.0.0.1/', 'mcp', 'http://127.0.0.1.example.com/'])
    assert.throws(
      () => httpServer(url, {}, systemClock, events),
      (error) => error instanceof WritError && error.code === 'insecure_url',
    );
});
