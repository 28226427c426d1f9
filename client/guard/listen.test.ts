/**
 * The guard over HTTP: real clients of both kinds of revision, each with what the session may do; and who is
 * turned away before a message is read.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, it } from 'node:test';
import { promisify } from 'node:util';
import {
  Client as StatelessClient,
  StreamableHTTPClientTransport as StatelessHttp,
} from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { until } from '../../broker/until.test-support.ts';
import { type Harness, openHarness } from '../broker.test-support.ts';
import { startWrit, type Writ } from '../local/local.test-support.ts';
import { guarded, inspectorIn, manifest, publishedServer } from './guard.test-support.ts';

let harness: Harness;
let folder: string;
const started: { child: Writ; exit: Promise<number | null> }[] = [];
before(async () => {
  harness = await openHarness({ manifest });
  folder = await mkdtemp(join(tmpdir(), 'writ-listen-'));
  for (const customer of ['42', '43']) {
    await mkdir(join(folder, 'customers', customer), { recursive: true });
    await writeFile(join(folder, 'customers', customer, 'invoice.txt'), `Invoice ${customer}`);
  }
});
after(async () => {
  for (const { child } of started) child.kill('SIGTERM');
  await Promise.all(started.map(({ exit }) => exit));
  await harness?.close();
  await rm(folder, { recursive: true });
});

/** `writ guard --listen`, on any free port. */
async function listening(server: readonly string[], options: readonly string[] = []) {
  const { args, env } = guarded(harness, server, { options: ['--listen', '127.0.0.1:0', ...options] });
  const child = startWrit(args.slice(1), env);
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve));
  started.push({ child, exit });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  await until('it listens', () => {
    if (child.exitCode !== null) throw new Error(`writ guard ended: ${said}`);
    return /listens at/.test(said);
  });
  const [, url = ''] = /listens at (\S+?)[;,]/.exec(said) ?? [];
  const [, tokenFile] = /what is in (\S+)/.exec(said) ?? [];
  const token = tokenFile === undefined ? null : (await readFile(tokenFile, 'utf8')).trim();
  return { url: new URL(url), token, tokenFile, child, exit };
}
type Listening = Awaited<ReturnType<typeof listening>>;

const bearer = ({ token }: Listening) => ({ Authorization: `Bearer ${token}` });
async function open(guard: Listening): Promise<{ client: Client; transport: StreamableHTTPClientTransport }> {
  const client = new Client({ name: 'test', version: '1' });
  const transport = new StreamableHTTPClientTransport(guard.url, { requestInit: { headers: bearer(guard) } });
  await client.connect(transport as Transport);
  return { client, transport };
}
const names = ({ tools }: { tools: { name: string }[] }) => tools.map(({ name }) => name).sort();
// biome-ignore lint/suspicious/noExplicitAny: results of several servers
const textOf = (result: any): string => result.content?.[0]?.text ?? '';

/** A request as a test wants it, Host included. */
async function send(
  guard: Listening,
  {
    method = 'POST',
    path = '/mcp',
    headers = {},
    body,
  }: {
    method?: string;
    path?: string;
    headers?: { [name: string]: string };
    body?: unknown;
  } = {},
) {
  const all = { 'content-type': 'application/json', ...bearer(guard), ...headers };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = request(
      { host: '127.0.0.1', port: guard.url.port, method, path, headers: all, agent: false },
      resolve,
    );
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
  });
  return { status: response.statusCode, headers: response.headers, text: await text(response) };
}
const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
};

it('clients that shake hands: each with a session and a server of its own, under one of ours', async () => {
  const guard = await listening(publishedServer('server-filesystem', folder), ['--name', 'files']);
  const [one, other] = [await open(guard), await open(guard)];
  assert.ok(one.transport.sessionId !== undefined && one.transport.sessionId !== other.transport.sessionId);
  for (const { client } of [one, other]) {
    assert.deepEqual(names(await client.listTools()), ['list_allowed_directories', 'read_text_file', 'write_file']);
    const read = (customer: string) => ({
      name: 'read_text_file',
      arguments: { path: join(folder, 'customers', customer, 'invoice.txt') },
    });
    assert.equal(textOf(await client.callTool(read('42'))), 'Invoice 42');
    assert.equal((await client.callTool(read('43'))).isError, true);
  }
  const sessions = await harness.broker.store.prisma.action.findMany({
    where: { tool: 'read_text_file' },
    distinct: ['sessionId'],
  });
  assert.equal(sessions.length, 1);

  // One that ends is over; the other goes on.
  const ended = { 'mcp-session-id': String(one.transport.sessionId) };
  await one.transport.terminateSession();
  await one.client.close();
  const ping = { jsonrpc: '2.0', id: 2, method: 'ping' };
  assert.equal((await send(guard, { headers: ended, body: ping })).status, 404);
  await other.client.ping();
  await other.client.close();

  const packed = await inspectorIn(folder);
  const inspect = async (...more: string[]) => {
    const where = [packed, guard.url.href, '--transport', 'http', '--header', `Authorization: Bearer ${guard.token}`];
    const { stdout } = await promisify(execFile)(process.execPath, [...where, ...more]);
    return JSON.parse(stdout);
  };
  assert.deepEqual(names(await inspect('--method', 'tools/list')), [
    'list_allowed_directories',
    'read_text_file',
    'write_file',
  ]);
  const path = `path=${join(folder, 'customers/42/invoice.txt')}`;
  const called = await inspect('--method', 'tools/call', '--tool-name', 'read_text_file', '--tool-arg', path);
  assert.equal(textOf(called), 'Invoice 42');
});

it('what a server says by itself, and what it asks of a client, reaches the client', async () => {
  const guard = await listening(publishedServer('server-everything'));
  const client = new Client({ name: 'test', version: '1' }, { capabilities: { roots: { listChanged: true } } });
  await client.connect(
    new StreamableHTTPClientTransport(guard.url, { requestInit: { headers: bearer(guard) } }) as Transport,
  );
  const progress: number[] = [];
  const slow = await client.callTool(
    { name: 'trigger-long-running-operation', arguments: { duration: 0.2, steps: 2 } },
    undefined,
    {
      onprogress: ({ progress: at }) => progress.push(at),
    },
  );
  assert.match(textOf(slow), /completed/i);
  assert.deepEqual(progress, [1, 2]);
  assert.match(textOf(await client.callTool({ name: 'echo', arguments: { message: 'over HTTP' } })), /over HTTP/);
  assert.equal((await client.callTool({ name: 'get-env', arguments: {} })).isError, true);
  await client.close();
});

it('clients that shake no hands share a server, and hear their own answers alone', async () => {
  const guard = await listening([
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'stateless-server.test-support.ts'),
  ]);
  const openStateless = async () => {
    const client = new StatelessClient(
      { name: 'test', version: '1' },
      { versionNegotiation: { mode: { pin: '2026-07-28' } } },
    );
    await client.connect(new StatelessHttp(guard.url, { requestInit: { headers: bearer(guard) } }));
    return client;
  };
  const clients = await Promise.all([openStateless(), openStateless()]);
  assert.deepEqual(names(await clients[0].listTools()), ['ask_me', 'echo', 'look']);
  // Both count their requests from the same number on.
  const said = await Promise.all(
    clients.flatMap((client, index) =>
      [1, 2, 3].map(async (n) =>
        textOf(await client.callTool({ name: 'echo', arguments: { message: `${index}-${n}` } })),
      ),
    ),
  );
  assert.deepEqual(said, ['0-1', '0-2', '0-3', '1-1', '1-2', '1-3']);
  const denied = await clients[1].callTool({ name: 'hidden', arguments: {} });
  assert.match(textOf(denied), /was denied/);
  await Promise.all(clients.map((client) => client.close()));

  // What headers repeat must be what the message says.
  const _meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' };
  const body = { jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'hidden', arguments: {}, _meta } };
  const headers = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'echo' };
  const told = await send(guard, { headers, body });
  assert.deepEqual([told.status, JSON.parse(told.text).error.code, JSON.parse(told.text).id], [400, -32_020, 7]);
  const without = await send(guard, { body });
  assert.equal(without.status, 400);
});

it('turns away pages of a browser, whoever shows no token, and what is no message', async () => {
  const guard = await listening(publishedServer('server-memory'), ['--name', 'memory']);
  const { port } = guard.url;
  const answered = async (what: Parameters<typeof send>[1]) =>
    (await send(guard, { body: initialize, ...what })).status;
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1',
    '127.0.0.1:1',
    `127.0.0.1.evil.example:${port}`,
  ])
    assert.equal(await answered({ headers: { host } }), 403, host);
  for (const origin of ['https://evil.example', 'null', `https://127.0.0.1:${port}`, 'http://localhost:1'])
    assert.equal(await answered({ headers: { origin } }), 403, origin);
  const other = `${guard.token!.slice(0, -1)}${guard.token!.endsWith('A') ? 'B' : 'A'}`;
  for (const authorization of ['', 'Bearer', 'Bearer x', `Bearer ${other}`, `Basic ${guard.token}`]) {
    const { status, headers } = await send(guard, { body: initialize, headers: { Authorization: authorization } });
    assert.deepEqual([status, headers['www-authenticate']], [401, 'Bearer'], authorization);
  }
  assert.equal(await answered({ path: '/' }), 404);
  assert.equal(await answered({ path: `/mcp/../../${guard.token}` }), 404);
  assert.equal(await answered({ method: 'PUT', body: undefined }), 405);
  for (const method of ['GET', 'DELETE'])
    assert.equal(await answered({ method, body: undefined }), 405, `${method} without a session`);
  assert.equal(await answered({ headers: { 'content-type': 'text/plain' } }), 415);
  assert.equal(await answered({ body: 'not json' }), 400);
  assert.equal(await answered({ body: [initialize] }), 400);
  assert.equal(await answered({ body: { jsonrpc: '2.0', id: 1, method: 'tools/list' } }), 400, 'without a session');
  assert.equal(await answered({ headers: { 'mcp-session-id': 'x'.repeat(32) } }), 404);

  // Shown in order: a session, a revision that there is none of, and an id that is under way.
  const { status, headers } = await send(guard, {
    body: initialize,
    headers: { host: `LOCALHOST:${port}`, origin: `http://localhost:${port}` },
  });
  assert.equal(status, 200);
  const session = { 'mcp-session-id': String(headers['mcp-session-id']) };
  assert.match(session['mcp-session-id'], /^[\w-]{32}$/);
  const ping = { jsonrpc: '2.0', id: 2, method: 'ping' };
  assert.equal(await answered({ headers: { ...session, 'mcp-protocol-version': '1900-01-01' }, body: ping }), 400);
  assert.equal(await answered({ headers: { ...session, 'mcp-protocol-version': '2025-11-25' }, body: ping }), 200);
  assert.equal(
    await answered({ headers: session, body: { jsonrpc: '2.0', method: 'notifications/initialized' } }),
    202,
  );
  assert.equal(await answered({ headers: session, method: 'DELETE', body: undefined }), 204);
  assert.equal(await answered({ headers: session, body: ping }), 404);

  // The token is this user's alone, and ends with the process.
  const { mode } = await stat(guard.tokenFile!);
  assert.equal(mode & 0o777, 0o600);
  guard.child.kill('SIGTERM');
  assert.equal(await guard.exit, 0);
  await assert.rejects(stat(guard.tokenFile!), { code: 'ENOENT' });
});

it('listens on this machine alone; without a token only where that is said', async () => {
  const refused = async (...options: string[]) => {
    const { args, env } = guarded(harness, publishedServer('server-memory'), { options });
    const child = startWrit(args.slice(1), env);
    const exit = new Promise<number | null>((resolve) => child.once('close', resolve));
    const said = await text(child.stderr);
    assert.notEqual(await exit, 0, options.join(' '));
    return said;
  };
  for (const at of ['0.0.0.0:8080', '192.0.2.1:80', 'example.com:80', '127.0.0.1:70000', '[::]:80', ''])
    assert.match(await refused('--listen', at), /--listen must be a port of this machine/, at);
  assert.match(await refused('--no-token'), /are for --listen/);
  const guard = await listening(publishedServer('server-memory'), ['--no-token']);
  assert.equal(guard.token, null);
  assert.equal((await send(guard, { body: initialize, headers: { Authorization: '' } })).status, 200);
  assert.equal((await send(guard, { body: initialize, headers: { host: 'evil.example' } })).status, 403);
});
