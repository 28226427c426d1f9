/** The local process as it is used: started by the command, asked through its socket. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { until } from '../../broker/until.test-support.ts';
import { type Harness, openHarness } from '../broker.test-support.ts';
import { isAllowed, WritError } from '../index.ts';
import { connectSession } from './connect.ts';
import { agentEnvironment, openHeld, runWrit, startWrit } from './local.test-support.ts';
import { maxLineBytes } from './protocol.ts';

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;

let harness: Harness;
before(async () => {
  harness = await openHarness();
});
after(() => harness.close());

const endReason = async (id: string) =>
  (await harness.broker.store.prisma.session.findUniqueOrThrow({ where: { id } })).endReason;
const newestSession = async () =>
  (await harness.broker.store.prisma.session.findFirstOrThrow({ orderBy: { openedAt: 'desc' } })).id;
/** Says what the socket answers to these bytes, until it hangs up. */
const answersTo = (path: string, bytes: string | Buffer) => {
  const socket = createConnection(path);
  socket.end(bytes);
  return text(socket);
};

describe('a session held for whoever started the process', () => {
  it('is asked for tools, decides calls, takes reports and words, and ends when told to', async (t) => {
    const { socket, ended } = await openHeld(t, harness);
    const session = await connectSession(socket);
    const { sessionId, ended: why } = await session.status();
    assert.equal(why, null);
    assert.deepEqual(
      (await session.tools()).map(({ name }) => name),
      ['read_invoice', 'read_policy', 'list_customers', 'search_invoices', 'send_mail', 'read_rate'],
    );
    const allowed = await session.evaluate({ tool: 'read_invoice', arguments: { id: '7' }, callId: 'call_1' });
    assert.ok(isAllowed(allowed));
    assert.equal(allowed.callId, 'call_1');
    const again = await session.evaluate({ tool: 'read_invoice', arguments: { id: '7' }, callId: 'call_1' });
    assert.equal(again.id, allowed.id, 'the same id and call is the same action');
    await session.finish({ callId: 'call_1' }, { outcome: 'response', output: 'Invoice 7', structured: { total: 3 } });
    const denied = await session.evaluate({ tool: 'drop_table', arguments: {} });
    const row = await harness.broker.store.prisma.action.findUniqueOrThrow({ where: { id: allowed.id } });
    assert.equal(row.outcome, 'response', 'what is decided next waits for the report');
    assert.equal(denied.effect, 'deny');
    assert.equal(denied.reasons[0]?.code, 'tool_unknown');
    await assert.rejects(session.finish({ callId: denied.callId }, { outcome: 'error' }), code('not_found'));
    assert.ok((await session.say('Please write to carol@example.org')) > 0);
    const status = await runWrit(['session', 'status'], { ...agentEnvironment(harness), WRIT_SESSION_SOCKET: socket });
    assert.deepEqual([status.code, status.stdout.startsWith(sessionId)], [0, true]);
    const end = await runWrit(['session', 'end'], { ...agentEnvironment(harness), WRIT_SESSION_SOCKET: socket });
    assert.deepEqual(end, { code: 0, stdout: '', stderr: '' });
    assert.equal(await ended, 0);
    assert.equal(await endReason(sessionId), 'ended_by_agent');
    await assert.rejects(stat(dirname(socket)), 'nothing is left behind');
    await assert.rejects(connectSession(socket), code('no_session'));
    await assert.rejects(session.evaluate({ tool: 'read_policy', arguments: {} }), code('no_session'));
  });

  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const)
    it(`ends with ${signal}`, async (t) => {
      const { child, ended } = await openHeld(t, harness);
      const id = await newestSession();
      child.kill(signal);
      assert.equal(await ended, 0);
      assert.equal(await endReason(id), 'ended_by_agent');
    });

  it('ends when whoever started it has gone', async () => {
    const script = `const { spawn } = require('node:child_process');
      const child = spawn(process.execPath, process.argv.slice(1), { stdio: ['ignore', 'pipe', 'ignore'] });
      child.stdout.once('data', () => process.kill(process.pid, 'SIGKILL'));`;
    const { spawn } = await import('node:child_process');
    const { writCommand } = await import('./local.test-support.ts');
    const parent = spawn(
      process.execPath,
      ['-e', script, writCommand, 'session', 'open', '--input', 'customer_id=42'],
      { env: agentEnvironment(harness), stdio: 'ignore' },
    );
    await new Promise((resolve) => parent.once('exit', resolve));
    const id = await newestSession();
    await until('the session has ended', async () => (await endReason(id)) === 'ended_by_agent');
  });

  it('says what is missing, and opens nothing', async () => {
    const { WRIT_TASK_TYPE: _task, ...env } = agentEnvironment(harness);
    for (const [args, environment, expected] of [
      [[], env, /No task type/],
      [['--task-type', 'no-such-task'], env, /task_type|task type/],
      [['--input', 'customer_id'], agentEnvironment(harness), /must be name=value/],
      [['--input', 'customer_id:=[1]'], agentEnvironment(harness), /must be a number/],
      [['--max-seconds', '1e3'], agentEnvironment(harness), /--max-seconds/],
      [[], { ...env, WRIT_URL: '' }, /WRIT_URL is not set/],
      [[], { PATH: env.PATH!, WRIT_URL: harness.url, WRIT_TASK_TYPE: 'x' }, /Nothing says who the agent is/],
      [[], { ...env, WRIT_TASK_TYPE: 'x', WRIT_CLIENT_ID: 'a' }, /both WRIT_CLIENT_ID and WRIT_CLIENT_KEY_FILE/],
      [[], { ...env, WRIT_TASK_TYPE: 'x', WRIT_CLIENT_ID: 'a', WRIT_SUBJECT_TOKEN_FILE: 'b' }, /both set/],
    ] as const) {
      const { code: exit, stdout, stderr } = await runWrit(['session', 'open', ...args], environment);
      assert.deepEqual([exit, stdout], [1, ''], stderr);
      assert.match(stderr, expected);
    }
  });
});

describe('a session that slept', () => {
  it('is woken from the environment and held for a command, once, by the same workload', async () => {
    const resume = async (handle: string, env: { [name: string]: string }, ...more: string[]) =>
      runWrit(['session', 'resume', ...(handle === '' ? [] : [handle]), ...more], env);
    const env = agentEnvironment(harness);
    const { WRIT_TASK_TYPE: _task, ...bare } = env;
    const session = await harness.open();
    const { resume: handle } = await session.sleep();
    // Nothing is opened by what is wrong, and the handle stays good.
    for (const [given, environment, expected] of [
      ['', env, /writ session resume HANDLE/],
      [handle, { ...bare, WRIT_URL: '' }, /WRIT_URL is not set/],
      [handle, { PATH: env.PATH!, WRIT_URL: harness.url }, /Nothing says who the agent is/],
      [`${session.id}.${'x'.repeat(43)}`, bare, /./],
    ] as const) {
      const { code: exit, stdout, stderr } = await resume(given, environment);
      assert.deepEqual([exit, stdout], [1, ''], stderr);
      assert.match(stderr, expected);
    }
    const probe = `console.log(JSON.stringify({ socket: process.env.WRIT_SESSION_SOCKET, identity: Object.keys(process.env).filter((name) => /^ACTIONS_/.test(name)) }))`;
    // It needs no task type: that is the session's.
    const woken = await resume(handle, bare, '--', process.execPath, '-e', probe);
    assert.equal(woken.code, 0, woken.stderr);
    const { socket, identity } = JSON.parse(woken.stdout);
    assert.ok(socket);
    assert.deepEqual(identity, [], 'as of `open`: the command gets none');
    assert.equal(await endReason(session.id), 'ended_by_agent');
    const again = await resume(handle, bare);
    assert.deepEqual([again.code, again.stdout], [1, ''], 'it is over');
  });
});

describe('a session held for a command', () => {
  const probe = `
    const { env } = process;
    console.log(JSON.stringify({
      socket: env.WRIT_SESSION_SOCKET,
      identity: Object.keys(env).filter((name) => /^(ACTIONS_|WRIT_CLIENT|WRIT_SUBJECT)/.test(name)),
      secret: JSON.stringify([env, process.argv]).match(/eyJ[\\w-]+\\.[\\w-]+\\.[\\w-]+/),
    }));`;
  const open = (...command: string[]) => ['session', 'open', '--input', 'customer_id=42', ...command];

  it('gives it the socket and no identity, returns its exit code, and ends', async () => {
    const { code: exit, stdout } = await runWrit(
      open('--', process.execPath, '-e', `${probe} process.exitCode = 7`, '--', '--help'),
      agentEnvironment(harness),
    );
    assert.equal(exit, 7);
    const { socket, identity, secret } = JSON.parse(stdout);
    assert.deepEqual([identity, secret], [[], null]);
    await assert.rejects(stat(socket));
    assert.equal(await endReason(await newestSession()), 'ended_by_agent');
  });

  it('leaves it the identity when told to', async () => {
    const command = open('--keep-identity', '--', process.execPath, '-e', probe);
    const { stdout } = await runWrit(command, agentEnvironment(harness));
    assert.deepEqual(JSON.parse(stdout).identity.sort(), [
      'ACTIONS_ID_TOKEN_REQUEST_TOKEN',
      'ACTIONS_ID_TOKEN_REQUEST_URL',
    ]);
  });

  it('passes a signal on, and ends after the command has', async (t) => {
    const forever = 'process.on("SIGTERM", () => process.exit(3)); console.log("up"); setInterval(() => {}, 1000)';
    const child = startWrit(open('--', process.execPath, '-e', forever), agentEnvironment(harness));
    t.after(() => void child.kill('SIGTERM'));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const id = await newestSession();
    child.kill('SIGTERM');
    assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 3);
    assert.equal(await endReason(id), 'ended_by_agent');
  });

  it('ends when the command cannot be started', async () => {
    const { code: exit, stderr } = await runWrit(open('--', 'no-such-command'), agentEnvironment(harness));
    assert.equal(exit, 127);
    assert.match(stderr, /no-such-command could not be started: ENOENT/);
    assert.equal(await endReason(await newestSession()), 'ended_by_agent');
  });

  it('dies by SIGKILL: the socket is dead, and nothing of the session was on disk', async (t) => {
    const { child, socket, ended } = await openHeld(t, harness);
    const folder = dirname(socket);
    for (const name of await readdir(folder))
      await assert.rejects(readFile(join(folder, name)), { code: 'ENXIO' }, 'a socket and nothing else');
    const session = await connectSession(socket);
    child.kill('SIGKILL');
    await ended;
    await assert.rejects(session.evaluate({ tool: 'read_policy', arguments: {} }), code('no_session'));
    await assert.rejects(connectSession(socket), code('no_session'));
    await rm(folder, { recursive: true });
  });
});

describe('who attacks the socket', () => {
  let held: Awaited<ReturnType<typeof openHeld>>;
  before(async () => {
    held = await openHeld(null, harness);
  });
  after(async () => {
    held.child.kill();
    await held.ended;
  });

  it('of another user finds it closed', async () => {
    assert.equal((await stat(held.socket)).mode & 0o777, 0o600);
    assert.equal((await stat(dirname(held.socket))).mode & 0o777, 0o700);
  });

  for (const [what, bytes] of [
    ['no JSON', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['no UTF-8', Buffer.from([0xff, 0xfe, 0x0a])],
    ['no object', '[1]\n'],
    ['no method of ours', '{"id":1,"method":"grant"}\n'],
    ['a method of an object', '{"id":1,"method":"constructor"}\n'],
    ['no id', '{"method":"tools"}\n'],
    ['a line without end', Buffer.alloc(maxLineBytes + 2, 'a')],
  ] as const)
    it(`with ${what} is told so and hung up on, and nobody else is disturbed`, async () => {
      const answer = JSON.parse(await answersTo(held.socket, bytes));
      assert.deepEqual([answer.id, answer.error.code], [null, 'bad_request']);
      const session = await connectSession(held.socket);
      assert.equal((await session.status()).ended, null);
      session.close();
    });

  it('with parameters of the wrong kind is refused, and may go on', async () => {
    const wrong = [
      { method: 'evaluate', params: {} },
      { method: 'evaluate', params: { tool: 7 } },
      { method: 'evaluate', params: { tool: 'read_policy', arguments: ['a'] } },
      { method: 'evaluate', params: { tool: 'read_policy', call_id: 'x'.repeat(257) } },
      { method: 'finish', params: { id: 'act_1', outcome: 'fine' } },
      { method: 'approval', params: { id: 'gnt_1', wait_seconds: 1e9 } },
      { method: 'say', params: { text: '' } },
    ];
    const lines = wrong.map((one, id) => `${JSON.stringify({ id, ...one })}\n`).join('');
    const answers = (await answersTo(held.socket, lines)).trim().split('\n');
    assert.deepEqual(
      answers.map((line) => JSON.parse(line).error?.code),
      wrong.map(() => 'bad_request'),
    );
  });

  it('with many requests at once is answered as many as there may be', async () => {
    const lines = Array.from({ length: 200 }, (_, id) => `${JSON.stringify({ id, method: 'tools' })}\n`).join('');
    const codes = (await answersTo(held.socket, lines)).trim().split('\n');
    const busy = codes.filter((line) => JSON.parse(line).error?.code === 'busy');
    assert.equal(codes.length, 200);
    assert.equal(busy.length, 136);
  });

  it('by putting a socket of their own in its place is not believed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'writ-test-'));
    const fake = createServer((socket) => socket.resume().end('{"id":1,"result":{"decision":true}}\n'));
    const path = join(folder, 'session');
    await new Promise<void>((resolve) => fake.listen(path, resolve));
    try {
      await chmod(path, 0o666);
      await assert.rejects(connectSession(path), code('no_session'));
      await chmod(path, 0o600);
      await chmod(folder, 0o755);
      await assert.rejects(connectSession(path), code('no_session'));
      await chmod(folder, 0o700);
      await symlink(path, join(folder, 'link'));
      await assert.rejects(connectSession(join(folder, 'link')), code('no_session'));
      await assert.rejects(connectSession(folder), code('no_session'));
      const session = await connectSession(path);
      await assert.rejects(session.evaluate({ tool: 'read_policy', arguments: {} }), code('bad_answer'));
    } finally {
      await new Promise((resolve) => fake.close(resolve));
      await rm(folder, { recursive: true });
    }
  });
});
