/**
 * Published servers and clients, before a real broker: what each can do behind the guard is what the session
 * may.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Client as StatelessClient } from '@modelcontextprotocol/client';
import { StdioClientTransport as StatelessStdio } from '@modelcontextprotocol/client/stdio';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { createTestDatabase, testBackends } from '../../broker/store/store.test-support.ts';
import { until } from '../../broker/until.test-support.ts';
import { freePort } from '../../sandbox/free-port.ts';
import { type Harness, openHarness, outcomeOf } from '../broker.test-support.ts';
import { openHeld } from '../local/local.test-support.ts';
import { guarded, inspectorIn, manifest, publishedServer } from './guard.test-support.ts';

let harness: Harness;
let folder: string;
before(async () => {
  harness = await openHarness({ manifest });
  folder = await mkdtemp(join(tmpdir(), 'writ-files-'));
  await mkdir(join(folder, 'customers/42'), { recursive: true });
  await mkdir(join(folder, 'customers/43'), { recursive: true });
  await writeFile(join(folder, 'customers/42/invoice.txt'), 'Invoice 42');
  await writeFile(join(folder, 'customers/43/invoice.txt'), 'Invoice 43');
});
/** For tests that failed before they hung up. */
const opened: { close(): Promise<void> }[] = [];
after(async () => {
  await Promise.all(opened.map((client) => client.close().catch(() => {})));
  await harness?.close();
  await rm(folder, { recursive: true });
});

type Started = ReturnType<typeof guarded>;
const open = async (server: Started) => {
  const client = new Client({ name: 'test', version: '1' });
  opened.push(client);
  await client.connect(new StdioClientTransport({ ...server, stderr: 'inherit' }));
  return client;
};
const names = ({ tools }: { tools: { name: string }[] }) => tools.map(({ name }) => name).sort();
// biome-ignore lint/suspicious/noExplicitAny: results of four servers
const textOf = (result: any): string => result.content?.[0]?.text ?? '';
const newest = async (tool: string) =>
  harness.broker.store.prisma.action.findFirst({ where: { tool }, orderBy: { askedAt: 'desc' } });

describe('server-filesystem', () => {
  it('lists and reads what the task is about; writes nothing else', async () => {
    const client = await open(guarded(harness, publishedServer('server-filesystem', folder)));
    assert.deepEqual(names(await client.listTools()), ['list_allowed_directories', 'read_text_file', 'write_file']);
    const own = { path: join(folder, 'customers/42/invoice.txt') };
    assert.equal(textOf(await client.callTool({ name: 'read_text_file', arguments: own })), 'Invoice 42');
    assert.equal(await outcomeOf(harness, 'read_text_file'), 'response');
    const foreign = { path: join(folder, 'customers/43/invoice.txt') };
    const denied = await client.callTool({ name: 'read_text_file', arguments: foreign });
    assert.equal(denied.isError, true);
    assert.match(textOf(denied), /path must match/);
    const path = join(folder, 'run.sh');
    assert.equal(
      (await client.callTool({ name: 'write_file', arguments: { path, content: 'rm -rf /' } })).isError,
      true,
    );
    await assert.rejects(readFile(path));
    assert.equal((await client.callTool({ name: 'move_file', arguments: {} })).isError, true);
    await client.close();
  });

  it('is one of several hosts of one session', async (t) => {
    const held = await openHeld(t, harness);
    const env = { WRIT_SESSION_SOCKET: held.socket };
    const clients = [
      await open(guarded(harness, publishedServer('server-filesystem', folder), { env })),
      await open(guarded(harness, publishedServer('server-everything'), { env })),
    ];
    assert.match(textOf(await clients[0]!.callTool({ name: 'list_allowed_directories' })), /Allowed directories/);
    assert.match(textOf(await clients[1]!.callTool({ name: 'echo', arguments: { message: 'hi' } })), /hi/);
    const [one, two] = [await newest('list_allowed_directories'), await newest('echo')];
    assert.equal(one?.sessionId, two?.sessionId);
    for (const client of clients) await client.close();
    held.child.kill();
    await held.ended;
  });
});

describe('server-everything', () => {
  it('keeps its structured results, progress, prompts and resources', async () => {
    const client = await open(
      guarded(harness, publishedServer('server-everything'), { options: ['--name', 'everything'] }),
    );
    assert.ok(names(await client.listTools()).includes('echo'));
    const weather = await client.callTool({ name: 'get-structured-content', arguments: { location: 'New York' } });
    assert.equal(typeof (weather.structuredContent as { temperature: unknown }).temperature, 'number');
    const progress: number[] = [];
    const slow = { name: 'trigger-long-running-operation', arguments: { duration: 0.3, steps: 3 } };
    await client.callTool(slow, undefined, { onprogress: ({ progress: at }) => progress.push(at) });
    // The last comes together with the result, and the client hears of the one or of both.
    assert.deepEqual(progress.slice(0, 2), [1, 2]);
    assert.ok((await client.listPrompts()).prompts.length > 0);
    const { resources } = await client.listResources();
    assert.ok(resources.length > 0);
    const outside = resources.find(({ uri }) => !uri.startsWith('demo://static'));
    await assert.rejects(client.readResource({ uri: `file:///etc/passwd` }), /-32001.*uri must match|uri must match/);
    if (outside !== undefined) await client.readResource({ uri: outside.uri }).catch(() => {});
    const read = await client.readResource({ uri: resources.find(({ uri }) => uri.startsWith('demo:'))!.uri });
    assert.ok(read.contents.length > 0);
    assert.equal(await outcomeOf(harness, 'resources/read'), 'response');
    await client.close();
  });
});

describe('server-memory', () => {
  it('writes and reads its graph', async () => {
    const env = { MEMORY_FILE_PATH: join(folder, 'memory.json') };
    const client = await open(guarded(harness, publishedServer('server-memory'), { env }));
    assert.deepEqual(names(await client.listTools()), ['create_entities', 'read_graph']);
    const entities = [{ name: 'invoice-7', entityType: 'invoice', observations: ['open'] }];
    await client.callTool({ name: 'create_entities', arguments: { entities } });
    assert.match(textOf(await client.callTool({ name: 'read_graph' })), /invoice-7/);
    const gone = await client.callTool({ name: 'delete_entities', arguments: { entityNames: ['invoice-7'] } });
    assert.equal(gone.isError, true);
    assert.match(textOf(await client.callTool({ name: 'read_graph' })), /invoice-7/);
    await client.close();
  });
});

const database = (await testBackends()).includes('postgres');
describe('server-postgres', { skip: database ? false : 'no PostgreSQL answers' }, () => {
  it('under a prefix, asks what a statement may be', async () => {
    const { url, drop } = await createTestDatabase();
    const client = await open(
      guarded(harness, publishedServer('server-postgres', url), { options: ['--prefix', 'db_'] }),
    );
    assert.deepEqual(names(await client.listTools()), ['query']);
    assert.match(textOf(await client.callTool({ name: 'query', arguments: { sql: 'SELECT 6*7 AS answer' } })), /42/);
    const dropped = await client.callTool({ name: 'query', arguments: { sql: 'DROP TABLE session' } });
    assert.equal(dropped.isError, true);
    assert.match(textOf(dropped), /The call of db_query was denied: .*sql must match/);
    await client.close();
    await drop();
  });
});

describe('the inspector', () => {
  it('lists and calls on its command line', async () => {
    const cli = await inspectorIn(folder);
    const { args, env } = guarded(harness, publishedServer('server-filesystem', folder));
    // Its command line takes the server's options for its own: they are put into a file.
    const start = join(folder, 'start.mjs');
    const argv = `process.argv = ${JSON.stringify([process.execPath, ...args])};`;
    await writeFile(start, `${argv} await import(${JSON.stringify(args[0])});`);
    const inspect = async (...more: string[]) => {
      const all = [cli, process.execPath, start, ...more];
      const { stdout } = await promisify(execFile)(process.execPath, all, { env });
      return JSON.parse(stdout);
    };
    assert.deepEqual(names(await inspect('--method', 'tools/list')), [
      'list_allowed_directories',
      'read_text_file',
      'write_file',
    ]);
    const read = ['--method', 'tools/call', '--tool-name', 'read_text_file', '--tool-arg'];
    assert.equal(textOf(await inspect(...read, `path=${join(folder, 'customers/42/invoice.txt')}`)), 'Invoice 42');
    assert.equal((await inspect(...read, `path=${join(folder, 'customers/43/invoice.txt')}`)).isError, true);
  });
});

describe('revision 2026-07-28', () => {
  const server = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'stateless-server.test-support.ts'),
  ];
  const openStateless = async (started: Started) => {
    const client = new StatelessClient(
      { name: 'test', version: '1' },
      { versionNegotiation: { mode: { pin: '2026-07-28' } } },
    );
    opened.push(client);
    await client.connect(new StatelessStdio({ ...started, stderr: 'inherit' }));
    return client;
  };

  it('without a handshake: lists, calls, and is denied', async () => {
    const client = await openStateless(guarded(harness, server));
    assert.deepEqual(names(await client.listTools()), ['ask_me', 'echo', 'look']);
    assert.equal(textOf(await client.callTool({ name: 'echo', arguments: { message: 'hi' } })), 'hi');
    assert.equal(await outcomeOf(harness, 'echo'), 'response');
    const denied = await client.callTool({ name: 'hidden', arguments: {} });
    assert.equal(denied.isError, true);
    assert.match(textOf(denied), /was denied/);
    await client.close();
  });
});

describe('streamable HTTP', () => {
  it('a server of the handshake revisions, with sessions and its own stream', async () => {
    const port = await freePort();
    const [program, script] = publishedServer('server-everything') as [string, string];
    const child = spawn(program, [script, 'streamableHttp'], {
      env: { ...process.env, PORT: String(port) },
      stdio: 'ignore',
    });
    await until('the server listens', () =>
      fetch(`http://127.0.0.1:${port}/mcp`).then(
        () => true,
        () => false,
      ),
    );
    const client = await open(guarded(harness, [], { options: ['--url', `http://127.0.0.1:${port}/mcp`] }));
    assert.match(textOf(await client.callTool({ name: 'echo', arguments: { message: 'over HTTP' } })), /over HTTP/);
    assert.equal((await client.callTool({ name: 'get-env', arguments: {} })).isError, true);
    await client.close();
    child.kill();
  });
});
