/** Whatever is wrong with a hook’s input, its environment or its session: the tool is not called. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, rename, rm, symlink } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after as afterAll, before as beforeAll, describe, it } from 'node:test';
import { WritError } from '../errors.ts';
import type { HostSession } from '../local/host-session.ts';
import { serveSession } from '../local/serve.ts';
import { hookCommand, orRefused } from './command-line.ts';
import { type Answered, askHook, askShell } from './hook.test-support.ts';
import type { Agent } from './hook.ts';
import { after, before, prompt, sessionStart, type Told } from './payloads.test-support.ts';

const agents: Agent[] = ['claude-code', 'codex', 'opencode'];
const one: Told = { tool: 'Bash', input: { command: 'ls' }, id: 'toolu_1' };

/** The words of a denial; fails where the agent would go on with the call. */
function denialOf({ code, stdout, stderr }: Answered): string {
  if (code === 2) {
    assert.notEqual(stderr.trim(), '', 'an agent that is given no reason may go on');
    return stderr;
  }
  assert.equal(code, 0, `agents go on after the exit code ${code}: ${stderr}`);
  const { permissionDecision, permissionDecisionReason } = JSON.parse(stdout).hookSpecificOutput;
  assert.equal(permissionDecision, 'deny');
  return permissionDecisionReason;
}

describe('input that is no event', () => {
  const call = before('claude-code', one);
  const inputs: [string, string | Uint8Array | object][] = [
    ['nothing', ''],
    ['half of an event', JSON.stringify(call).slice(0, -20)],
    ['two events', `${JSON.stringify(call)}\n${JSON.stringify(call)}`],
    ['text', 'Bash ls'],
    ['a list', [call]],
    ['null', 'null'],
    ['bytes that are no text', Buffer.from([0x7b, 0xff, 0xfe, 0x7d])],
    ['no name of an event', { ...call, hook_event_name: undefined }],
    ['an event that this version does not know', { ...call, hook_event_name: 'PreToolBatch' }],
    ['an event with the name of a member of every object', { ...call, hook_event_name: 'constructor' }],
    ['no tool', { ...call, tool_name: '' }],
    ['a tool that is no text', { ...call, tool_name: { toString: 'Read' } }],
    ['arguments that are a list', { ...call, tool_input: ['ls'] }],
    ['no arguments', { ...call, tool_input: undefined }],
    ['no id', { ...call, tool_use_id: undefined }],
    ['a hook of opencode that is none', { hook: 'tool.execute', input: {}, output: {} }],
    ['more than any tool is given', `{"hook_event_name":"PreToolUse","pad":"${'x'.repeat(33 * 1024 * 1024)}"}`],
  ];
  for (const [what, input] of inputs)
    it(`${what} is denied`, async () => {
      for (const agent of agents) assert.match(denialOf(await askHook([agent], input)), /denied/);
    });
});

describe('a session that is not there', () => {
  let folder: string;
  let server: Server;
  let answer: (socket: Socket) => void;
  const open = new Set<Socket>();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'writ-hook-'));
    server = createServer((socket) => {
      open.add(socket);
      socket.on('error', () => {});
      answer(socket);
    });
    await new Promise<void>((resolve) => server.listen(join(folder, 'session'), resolve));
    await chmod(join(folder, 'session'), 0o600);
  });
  afterAll(async () => {
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true });
  });
  const asked = async (agent: Agent, socket: string) =>
    denialOf(await askHook([agent, '--timeout', '1'], before(agent, one), { WRIT_SESSION_SOCKET: socket }));

  it('says how to open one', async () => {
    for (const agent of agents) {
      assert.match(denialOf(await askHook([agent], before(agent, one))), /writ session open/);
      assert.match(await asked(agent, ''), /writ session open/);
    }
  });

  it('denies where nobody is behind the path', async () => {
    assert.match(await asked('codex', join(folder, 'nothing')), /There is no session at/);
  });

  it('denies at a socket that others could have put there, whoever answers', async () => {
    answer = (socket) =>
      socket.end(
        `${JSON.stringify({ id: 1, result: { decision: true, context: { id: 'act_1', effect: 'allow' } } })}\n`,
      );
    const path = join(folder, 'session');
    assert.deepEqual(
      await askHook(['codex'], before('codex', one), { WRIT_SESSION_SOCKET: path }),
      { code: 0, stdout: '', stderr: '' },
      'this one is in order',
    );
    await chmod(path, 0o666);
    assert.match(await asked('codex', path), /open to others/);
    await chmod(path, 0o600);
    await chmod(folder, 0o755);
    assert.match(await asked('codex', path), /open to others/);
    await chmod(folder, 0o700);
    await symlink(path, join(folder, 'link'));
    assert.match(await asked('codex', join(folder, 'link')), /not this user’s own/);
  });

  it('denies where what answers makes no sense', async () => {
    const path = join(folder, 'session');
    for (const said of [
      'garbage\n',
      '{"id":1,"result":{"decision":true}}\n',
      '{"id":1,"result":{"decision":true,"context":{"id":"act_1","effect":"deny","reasons":[]}}}\n',
      '{"id":1,"result":{"decision":false,"context":{"id":"act_1","effect":"a-new-one","reasons":[]}}}\n',
      '{"id":2,"result":{"decision":true,"context":{"id":"act_1","effect":"allow"}}}\n',
      '{"id":1,"result":"allow"}\n',
      '',
    ]) {
      answer = (socket) => socket.end(said);
      for (const agent of agents) assert.match(await asked(agent, path), /denied/, said);
    }
  });

  it('denies where nobody answers in time', async () => {
    answer = () => {};
    for (const agent of agents) assert.match(await asked(agent, join(folder, 'session')), /in time/);
  });

  it('tells the person, and holds nothing else up', async () => {
    for (const agent of ['claude-code', 'codex'] as const) {
      const start = await askHook([agent], sessionStart(agent));
      assert.match(JSON.parse(start.stdout).systemMessage, /No session is open here.*Tool calls are denied/);
      const words = await askHook([agent], prompt(agent, 'Hello'));
      assert.match(JSON.parse(words.stdout).systemMessage, /No session is open/);
      const late = await askHook([agent], after(agent, one, 'x'));
      assert.match(JSON.parse(late.stdout).systemMessage, /Tool calls are denied/);
    }
    assert.equal((await askHook(['opencode'], prompt('opencode', 'Hello'))).code, 1);
  });
});

describe('what a model may write into a call', () => {
  /** What the hook handed over. */
  const seen: { tool: string; arguments: unknown }[] = [];
  let local: Awaited<ReturnType<typeof serveSession>>;
  beforeAll(async () => {
    const nothing = async () => assert.fail('not asked for here');
    const session: HostSession = {
      status: nothing,
      tools: nothing,
      finish: nothing,
      approval: nothing,
      say: nothing,
      end: nothing,
      evaluate: async ({ tool, arguments: args }) => {
        seen.push({ tool, arguments: args });
        throw new WritError('bad_request', 'context.arguments must not contain control characters');
      },
    };
    local = await serveSession(session);
  });
  afterAll(() => local.close());
  const asked = async (agent: Agent, told: Told) =>
    denialOf(await askHook([agent], before(agent, told), { WRIT_SESSION_SOCKET: local.path }));

  it('reaches the broker as it is, and a refusal of it reaches the model', async () => {
    const texts = ['a\u0000b', '\u202etxt.exe', '\ud800', '\u2028', '﷽', '"}\n{"id":1,"result":{}}', '𝟕'];
    for (const text of texts)
      for (const agent of agents) {
        const told = { tool: 'Bash', input: { command: text, ['__proto__']: { x: text } }, id: text };
        assert.match(await asked(agent, told), /denied: context\.arguments must not contain/);
        assert.deepEqual(seen.pop(), { tool: 'Bash', arguments: told.input });
      }
  });

  it('is denied unread where nobody could decide on it', async () => {
    for (const agent of agents) {
      const big = { tool: 'Write', input: { content: 'é'.repeat(600_000) }, id: 'toolu_big' };
      assert.match(await asked(agent, big), /have 1200\d\d\d bytes.*smaller parts/);
      const deep = `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`;
      const told = JSON.stringify(before(agent, { ...one, input: { deep: 0 } })).replace('{"deep":0}', deep);
      assert.match(denialOf(await askHook([agent], told, { WRIT_SESSION_SOCKET: local.path })), /denied/);
    }
    assert.equal(seen.length, 0);
  });
});

describe('a hook that cannot run', () => {
  const line = (writ: string) => orRefused(hookCommand({ agent: 'codex', writ, waitSeconds: 1 }));

  it('is a denial in an agent’s settings, whatever it ends with', async () => {
    const ends = ['sh -c "exit 1"', 'sh -c "exit 126"', 'node -e "process.kill(process.pid, 9)"', 'no-such-program'];
    for (const writ of ends) assert.match(denialOf(await askShell(line(writ), {})), /could not be asked/, writ);
  });

  it('is a denial where it was started wrongly', async () => {
    for (const args of [
      ['codex', '--wait', 'x'],
      ['codex', '--no-such-option'],
      ['codex', 'more'],
      ['no-such-agent'],
      [],
    ])
      assert.equal((await askHook(args, before('codex', one))).code, 2, args.join(' '));
  });

  it('is not what becomes of a denial on its way through the shell', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'writ-hook-'));
    const socket = join(folder, 'session');
    await rename(folder, `${folder}-gone`);
    const { writCommand } = await import('../local/local.test-support.ts');
    const own = `"${process.execPath}" "${writCommand}"`;
    const answer = await askShell(line(own), before('codex', one), { WRIT_SESSION_SOCKET: socket });
    assert.match(denialOf(answer), /There is no session at/);
    assert.equal(denialOf(await askShell(line(own), {})).split('\n').length, 2, 'one reason, and not a second one');
    await rm(`${folder}-gone`, { recursive: true });
  });
});
