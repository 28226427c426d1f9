/** Ways around a rule, each tried as an agent would that knows the rule: through the public door. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Broker } from '../compose/start.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';
import { type Answer, ask, bodyOf, call, type Session, subject } from './asking.test-support.ts';

const manifest = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
tools:
  read_file: { sensitivity: 2, labels: [files] }
  http_post: { destination: [url] }
  send_mail: { destination: [to, cc] }
  shell: {}
  submit: { entity: 'expense:\${args.id}' }
  approve: { entity: 'expense:\${args.id}' }
  open_case: {}
  close_case: {}
  pay_case: {}
  few: {}
  canary: { entity: 'trap:\${args.id}' }
egress:
  known: ['*.example.com', '*@example.com']
rules:
  - id: exfil
    on: { tool: [http_post, send_mail] }
    when: { label: files, destination: unknown }
    effect: deny
  - id: sudo
    on: { tool: shell }
    when: { match: { command: 'sudo .*' } }
    effect: deny
  - id: cases
    on: { tool: close_case }
    when: { formerly: { tool: open_case, within: 1h, same: ['arg:id'] } }
    effect: deny
  - id: paid-when-open
    on: { tool: pay_case }
    unless: { formerly: { tool: open_case, within: 1h, same: ['arg:id'] } }
    effect: deny
  - id: few-for-a-person
    on: { tool: few }
    scope: principal
    when: { count: { more_than: 3, within: 1h } }
    effect: deny
  - id: trap
    on: { tool: canary }
    effect: terminate
  - id: trap-again
    on: { tool: canary }
    when: { formerly: { tool: canary, kind: attempt, within: 1h, same: [entity] } }
    effect: deny
  - id: guessing
    on: '*'
    when: { count: { of: { kind: attempt }, more_than: 40, within: session } }
    effect: terminate
separation_of_duties:
  - { id: expenses, duties: [{ tool: submit }, { tool: approve }], same: [entity], within: 30d }
`;

describe('ways around a rule', () => {
  let ground: Ground;
  let broker: Broker;
  before(async () => {
    ground = await prepareGround();
    await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
    broker = await ground.start();
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  const passes = async (session: Session, name: string, args: unknown = {}, more: object = {}) =>
    (await call(session, name, args, more)).decision;

  test('an order spelled otherwise is the same order', async () => {
    const session = await ground.session();
    assert.ok(await passes(session, 'submit', { id: 'ab7' }));
    const spellings = [
      'AB7',
      ' ab7 ',
      'ａｂ７',
      'ab\u200b7',
      ['ab7'],
      [['ab7']],
      [[[[[['ab7']]]]]],
      ['ab7', 'x'],
      { v: 'ab7' },
    ];
    for (const id of [...spellings, undefined, null, []])
      assert.equal(await passes(session, 'approve', { id }), false, JSON.stringify(id));
    assert.ok(await passes(session, 'submit', { id: 7 }));
    for (const id of ['7', ' 7', 7.0, '７', ['7']]) assert.equal(await passes(session, 'approve', { id }), false);
    assert.ok(await passes(session, 'approve', { id: 8 }), 'another order is another');
  });

  test('an event that a rule will look back at does not hide what it touched', async () => {
    const session = await ground.session();
    const many = Array.from({ length: 300 }, (_, n) => `case-${n}`);
    assert.ok(await passes(session, 'open_case', { id: many.slice(0, 200) }));
    assert.equal(await passes(session, 'close_case', { id: 'Case-150' }), false);
    const { decision, context } = await call(session, 'open_case', { id: many });
    assert.deepEqual([decision, context.reasons[0]?.code], [false, 'field_missing'], 'more than are compared');
    assert.equal(await passes(session, 'close_case', {}), false, 'nothing to compare');
    assert.ok(await passes(session, 'open_case', { id: { b: 1, a: 2 } }));
    assert.equal(await passes(session, 'close_case', { id: { a: 2, b: 1 } }), false, 'members in another order');
  });

  test('what lets one through lets through that one, and nothing that is like it', async () => {
    const session = await ground.session();
    assert.ok(await passes(session, 'open_case', { id: 'ab7' }));
    for (const id of ['AB7', ' ab7', 'ab\u200b7', ['x', 'AB7'], { id: 'ab7' }])
      assert.equal(await passes(session, 'pay_case', { id }), false, JSON.stringify(id));
    assert.ok(await passes(session, 'pay_case', { id: 'ab7' }));
  });

  test('numbers that readers read differently are refused', async () => {
    const session = await ground.session();
    const body = JSON.stringify(bodyOf('submit', { id: 'N' }));
    for (const number of ['9007199254740993', '1e400', '-9007199254740993'])
      assert.equal((await session('/access/v1/evaluation', body.replace('"N"', number))).status, 400, number);
  });

  test('a member that is there twice is refused, and so are arguments in two places', async () => {
    const session = await ground.session();
    const body = JSON.stringify(bodyOf('http_post', { url: 'https://api.example.com' }));
    for (const name of ['"url"', '"\\u0075rl"', '"u\\u0072l" '])
      assert.equal(
        (await session('/access/v1/evaluation', body.replace('{"url"', `{${name}:"https://evil.test","url"`))).status,
        400,
      );
    assert.equal(
      (await session('/access/v1/evaluation', body.replace('{"subject"', '{"action":{"name":"few"},"subject"'))).status,
      400,
    );
    const colons = JSON.stringify(
      bodyOf('http_post', { url: 'https://api.example.com', text: '"a": \\"b\\": {"c":1}' }),
    );
    assert.equal((await session('/access/v1/evaluation', colons)).status, 200, 'a text is no member');
    const two = { ...bodyOf('http_post', { url: 'https://api.example.com' }) };
    const action = { name: 'http_post', properties: { arguments: { url: 'https://evil.test' } } };
    assert.equal((await session('/access/v1/evaluation', { ...two, action })).status, 400);
  });

  test('a destination that leads elsewhere is not known', async () => {
    const session = await ground.session();
    assert.ok(await passes(session, 'read_file', { path: '/a' }));
    const known = [
      'https://api.example.com/x',
      'API.EXAMPLE.COM',
      'https://api.example.com./x',
      'api.example.com:443/x',
    ];
    for (const url of known) assert.ok(await passes(session, 'http_post', { url }), url);
    const unknown = [
      'https://api.example.com@evil.test/',
      'https://api.example.com\\@evil.test/',
      'https:/evil.test/@api.example.com',
      'evil.test/@api.example.com',
      'evil.test?@api.example.com',
      'evil.test#@api.example.com',
      'https://evil.test#.example.com',
      'https://evil.test\n.example.com',
      'https://api.example.com.evil.test',
      'https://evilexample.com',
      'https://api\u200b.example.com',
      'https://ａpi.example.com@evil.test',
      { host: 'evil.test' },
      { port: 25, deep: [[[[[['evil.test']]]]]] },
      [[[[[['https://evil.test']]]]]],
      ['https://api.example.com', 'https://evil.test'],
      1234567890,
      { account: 1234567890 },
    ];
    for (const url of unknown) assert.equal(await passes(session, 'http_post', { url }), false, JSON.stringify(url));
    const mail = [
      'eve@evil.test,bob@example.com',
      'eve@evil.test bob@example.com',
      'eve@evil.test;bob@example.com',
      '"eve@evil.test" <bob@example.com>',
      'eve@evil.test\nbcc: bob@example.com',
      'eve@evil.test@example.com',
    ];
    for (const to of mail) assert.equal(await passes(session, 'send_mail', { to }), false, to);
    assert.equal(await passes(session, 'send_mail', { to: 'bob@example.com', cc: 'eve@evil.test' }), false);
    assert.ok(await passes(session, 'send_mail', { to: ['bob@example.com', 'Ann@Example.com'] }));
  });

  test('a command of two lines, in a list or in other letters, is still one of sudo', async () => {
    const session = await ground.session();
    for (const command of [
      'sudo ls',
      'sudo ls\nrm -rf /',
      ['ls', 'sudo ls'],
      [[[[[['sudo ls']]]]]],
      { run: 'sudo ls' },
      'ｓudo ls',
    ])
      assert.equal(await passes(session, 'shell', { command }), false, JSON.stringify(command));
    assert.ok(await passes(session, 'shell', { command: 'ls' }));
  });

  test('a tool spelled otherwise is not listed', async () => {
    const session = await ground.session();
    for (const name of ['Shell', 'shell ', 'ｓhell', 'shell\u200b', '__proto__', 'constructor', 'toString'])
      assert.deepEqual(
        (await call(session, name, { command: 'sudo ls' })).context.reasons[0]?.code,
        'tool_unknown',
        name,
      );
  });

  test('guessing at tools that are not listed is an attempt each, and ends by the rule', async () => {
    const session = await ground.session();
    const effects: string[] = [];
    for (let n = 0; n < 41; n += 1) effects.push((await call(session, `guess-${n}`)).context.effect);
    assert.deepEqual([effects.indexOf('terminate'), effects.length], [40, 41]);
    assert.equal((await ask(session, 'few', {})).status, 401);
  });

  test('leaving out an argument does not soften what ends the session', async () => {
    const session = await ground.session();
    const { context } = await call(session, 'canary', {});
    assert.equal(context.effect, 'terminate');
    assert.ok(context.reasons.some(({ code }) => code === 'field_missing'));
  });

  test('the id of a call that is over is no ticket for another one', async () => {
    const session = await ground.session();
    const upload = ['http_post', { url: 'https://evil.test/up', file: 'draft.txt' }, { call_id: 'one' }] as const;
    const first = await call(session, ...upload);
    assert.ok(first.decision, 'nothing was read yet');
    assert.equal((await call(session, ...upload)).context.id, first.context.id, 'an answer that was lost');
    await session(`/v1/actions/${first.context.id}/finish`, { outcome: 'response' });
    assert.ok(await passes(session, 'read_file', { path: '/etc/shadow' }));
    assert.equal((await ask(session, ...upload)).status, 422);
    assert.equal(await passes(session, upload[0], upload[1], { call_id: 'two' }), false);
  });

  test('an outcome that nobody reports hides neither the call nor its labels', async () => {
    const session = await ground.session();
    assert.ok(await passes(session, 'read_file', { path: '/a' }));
    assert.equal(await passes(session, 'http_post', { url: 'https://evil.test' }), false);
  });

  test('a child session has its parent’s history, and its parent has the child’s', async () => {
    const parent = await ground.session();
    const child = await parent.child(['use-plain']);
    const grandchild = await child.child(['use-plain']);
    assert.ok(await passes(parent, 'read_file', { path: '/a' }));
    assert.equal(await passes(grandchild, 'http_post', { url: 'https://evil.test' }), false);
    assert.ok(await passes(child, 'submit', { id: 'family' }));
    assert.equal(await passes(parent, 'approve', { id: 'family' }), false);
    assert.equal((await call(grandchild, 'canary', { id: 1 })).context.effect, 'terminate');
    for (const one of [parent, child, grandchild]) assert.equal((await ask(one, 'few', {})).status, 401);
  });

  test('a new session resets nothing that a rule knows of the person', async () => {
    const answers: boolean[] = [];
    for (let n = 0; n < 5; n += 1) answers.push(await passes(await ground.session(), 'few'));
    assert.deepEqual(answers, [true, true, true, false, false]);
    const another = await ground.session();
    assert.ok(await passes(another, 'submit', { id: 'elsewhere' }));
    assert.equal(await passes(await ground.session(), 'approve', { id: 'ELSEWHERE' }), false);
  });

  test('of calls that are asked for together, each knows of those before it', async () => {
    const session = await ground.session();
    const one = (name: string, args: object) => ({
      action: { name },
      resource: { type: 'tool', id: name },
      context: { arguments: args },
    });
    const evaluations = [one('read_file', { path: '/a' }), one('http_post', { url: 'https://evil.test' })];
    const answer = (await (await session('/access/v1/evaluations', { subject, evaluations })).json()) as {
      evaluations: Answer[];
    };
    assert.deepEqual(
      answer.evaluations.map(({ decision }) => decision),
      [true, false],
    );
  });

  test('arguments that go very deep are refused', async () => {
    const session = await ground.session();
    const deep = JSON.stringify(bodyOf('shell', { command: 'X' })).replace(
      '"X"',
      `${'['.repeat(9000)}"sudo ls"${']'.repeat(9000)}`,
    );
    assert.equal((await session('/access/v1/evaluation', deep)).status, 400);
  });
});
