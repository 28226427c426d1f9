/**
 * Effects other than allow and deny, before a local process whose session is scripted here: what the model is
 * told, and how a call that waits for a person is found again.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after as afterAll, before as beforeAll, beforeEach, describe, it } from 'node:test';
import type { CallDecision, CallReport } from '../index.ts';
import type { HostCall, HostSession } from '../local/host-session.ts';
import { writCommand } from '../local/local.test-support.ts';
import { serveSession } from '../local/serve.ts';
import { askHook } from './hook.test-support.ts';
import { after, before, type Told } from './payloads.test-support.ts';

/** What the broker decides, and what a person does meanwhile. */
let decide: (call: HostCall) => Partial<CallDecision>;
let status = 'pending';
let waitedFor: () => void = () => {};
const asked: HostCall[] = [];
const finished: ({ id: string } | { callId: string })[] = [];
const nothing = async () => assert.fail('not asked for here');
const session: HostSession = {
  status: nothing,
  tools: nothing,
  say: nothing,
  end: nothing,
  evaluate: async (call) => {
    asked.push(call);
    return { id: 'act_1', callId: call.callId ?? '', effect: 'deny', reasons: [], ...decide(call) };
  },
  approval: async (id, waitSeconds) => {
    if (waitSeconds > 0) waitedFor();
    while (waitSeconds > 0 && status === 'pending') await new Promise((resolve) => setImmediate(resolve));
    return { id, status };
  },
  finish: async (call, _report: CallReport) => {
    finished.push(call);
  },
};
let local: Awaited<ReturnType<typeof serveSession>>;
beforeAll(async () => {
  local = await serveSession(session);
});
afterAll(() => local.close());
beforeEach(() => {
  asked.length = 0;
  finished.length = 0;
  status = 'pending';
});

const env = () => ({ WRIT_SESSION_SOCKET: local.path });
const hook = (event: object, wait = '0') => askHook(['claude-code', '--wait', wait], event, env());
const silent = { code: 0, stdout: '', stderr: '' };
const reasonIn = (answer: { stdout: string }): string =>
  JSON.parse(answer.stdout).hookSpecificOutput.permissionDecisionReason;
const told = (id: string, command = 'git push'): Told => ({ tool: 'Bash', input: { command, x: { b: 1, a: 2 } }, id });
const waits = (): Partial<CallDecision> => ({
  effect: 'approve',
  reasons: [{ code: 'rule', advice: 'A push is looked at first.' }],
  approval: { id: 'gnt_1', status: 'pending', url: 'https://writ.example/approvals/gnt_1' },
});

describe('a call that a person must agree to', () => {
  it('is made once they have, while the hook waits', async () => {
    status = 'approved';
    decide = () => (asked.length === 1 ? waits() : { effect: 'allow' });
    assert.deepEqual(await hook(before('claude-code', told('toolu_1')), '30'), silent);
    assert.equal(asked.length, 2);
    assert.equal(asked[0]?.callId, asked[1]?.callId);
  });

  it('is denied when they have denied it, with what they said', async () => {
    status = 'denied';
    decide = () =>
      asked.length === 1 ? waits() : { reasons: [{ code: 'denied_by_person', advice: 'Not on a Friday.' }] };
    assert.match(reasonIn(await hook(before('claude-code', told('toolu_2')), '30')), /denied: Not on a Friday\./);
  });

  it('is told to be pending, and found again under the id that they were asked about', async () => {
    decide = waits;
    const first = await hook(before('claude-code', told('toolu_3')));
    assert.match(reasonIn(first), /was not made: A push is looked at first\..*gnt_1.*exactly the same call again/);
    const [pending] = asked.splice(0);
    // Another call is no repetition of it.
    await hook(before('claude-code', told('toolu_4', 'git push --force')));
    assert.notEqual(asked.splice(0)[0]?.callId, pending?.callId);
    // The model asks again: another id, members in another order.
    const again: Told = { tool: 'Bash', input: { x: { a: 2, b: 1 }, command: 'git push' }, id: 'toolu_5' };
    await hook(before('claude-code', again));
    assert.equal(asked.splice(0)[0]?.callId, pending?.callId);
    decide = () => ({ effect: 'allow' });
    const last = { ...again, id: 'toolu_6' };
    assert.deepEqual(await hook(before('claude-code', last)), silent);
    assert.equal(asked.splice(0)[0]?.callId, pending?.callId);
    // And is reported under it.
    assert.deepEqual(await hook(after('claude-code', last, 'pushed')), silent);
    assert.deepEqual(finished, [{ callId: pending?.callId }]);
    // It was allowed once; the next one is a call of its own.
    await hook(before('claude-code', { ...again, id: 'toolu_7' }));
    assert.notEqual(asked[0]?.callId, pending?.callId);
  });

  it('is found again when the agent ended its hook', async () => {
    decide = waits;
    const waiting = new Promise<void>((resolve) => {
      waitedFor = resolve;
    });
    const input = before('claude-code', told('toolu_k', 'npm run release'));
    const child = spawn(process.execPath, [writCommand, 'hook', 'claude-code', '--wait', '60'], {
      env: { ...process.env, ...env() },
    });
    child.stdin.end(JSON.stringify(input));
    await waiting;
    child.kill('SIGKILL');
    await once(child, 'close');
    status = 'approved';
    const [pending] = asked.splice(0);
    decide = () => ({ effect: 'allow' });
    assert.deepEqual(await hook(before('claude-code', told('toolu_l', 'npm run release'))), silent);
    assert.equal(asked[0]?.callId, pending?.callId);
  });

  it('is made by one of two that wait for the same answer', async () => {
    decide = waits;
    const waiting = new Promise<void>((resolve) => {
      waitedFor = resolve;
    });
    const first = hook(before('claude-code', told('toolu_m', 'npm run ship')), '60');
    await waiting;
    const [pending] = asked.splice(0);
    // Takes the id over, and leaves it again.
    await hook(before('claude-code', told('toolu_n', 'npm run ship')));
    assert.equal(asked.splice(0)[0]?.callId, pending?.callId);
    decide = () => ({ effect: 'allow' });
    assert.deepEqual(await hook(before('claude-code', told('toolu_o', 'npm run ship'))), silent);
    status = 'approved';
    assert.match(reasonIn(await first), /asked for twice, and is made once/);
    assert.equal(asked.length, 1);
  });

  it('is made once, however many ask for it at the same time', async () => {
    decide = waits;
    await hook(before('claude-code', told('toolu_8', 'npm publish')));
    const [pending] = asked.splice(0);
    // They have agreed to that one, and to no other.
    decide = ({ callId }) => (callId === pending?.callId ? { effect: 'allow' } : waits());
    const many = ['a', 'b', 'c', 'd'].map((id) => told(`toolu_9${id}`, 'npm publish'));
    const answers = await Promise.all(many.map((one) => hook(before('claude-code', one))));
    assert.equal(answers.filter(({ stdout }) => stdout === '').length, 1);
    assert.equal(asked.filter(({ callId }) => callId === pending?.callId).length, 1);
  });
});

describe('what else a decision says', () => {
  const reasons = [{ code: 'rule', advice: 'Secrets stay.' }];
  for (const [effect, withheld, expected] of [
    ['suspend', undefined, /Secrets stay\. The session is suspended.*until a person has reviewed it/],
    ['downgrade', ['tool:Bash', 'capability:deploy'], /Secrets stay\. .*without tool:Bash, capability:deploy/],
    ['terminate', undefined, /Secrets stay\. The session has ended/],
    ['an-effect-of-tomorrow', undefined, /denied: Secrets stay\./],
  ] as const)
    it(`${effect} reaches the model, and denies`, async () => {
      decide = () => ({ effect, reasons, ...(withheld === undefined ? {} : { withheld }) });
      const call = told('toolu_e');
      assert.match(reasonIn(await hook(before('claude-code', call))), expected);
      const { code, stderr } = await askHook(['opencode'], before('opencode', { ...call, tool: 'bash' }), env());
      assert.equal(code, 2);
      assert.match(stderr, expected);
    });
});
