/** Decoys: whoever touches one ends the session, however it is spelled, and is not told what it was. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { boardChannel, boardModule, openBoard } from '../../approvals/board.test-support.ts';
import { channelModules } from '../../approvals/registry.ts';
import type { Broker } from '../compose/start.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';
import { until } from '../until.test-support.ts';
import { call, type Session } from './asking.test-support.ts';

const decoy = 'AKIADECOY7DECOY7DECO';
const manifest = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types:
  work: { description: Work., inputs: {} }
  rest: { description: Rest., inputs: {} }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
  root-plain: { description: All of it., provider: plain, tasks: [rest], tier: 1, max_ttl: 15m, canary: true }
tools:
  read_file: { entity: 'file:\${args.path}' }
  export_payroll: { description: Exports the payroll., canary: true }
  shell: {}
  sudo: {}
  su: {}
rules:
  - { id: no-sudo, message: Nobody is root here., on: { tool: sudo }, effect: terminate }
  - { id: no-su, on: { tool: su }, effect: suspend }
canaries:
  - { id: decoy-key, value: ${decoy} }
  - { id: payroll, path: /srv/payroll }
  - { id: honey, host: '*.honey.example.com' }
  - { id: ghost, entity: 'file:ghost' }
`;

describe('canaries', () => {
  let ground: Ground;
  let broker: Broker;
  const board = openBoard();
  before(async () => {
    ground = await prepareGround();
    await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
    const env = { WRIT_BOARD_BOARD: 'https://board.example' };
    const channels = [...channelModules, boardModule('board', boardChannel('board', board))];
    broker = await ground.start(env, { channels });
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  const touched = async () => {
    const rows = await broker.store.prisma.auditEvent.findMany({
      where: { type: 'canary.touched' },
      orderBy: { at: 'asc' },
    });
    return rows.map(({ payload }) => payload);
  };

  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const percent = (text: string) =>
    encodeURIComponent(text).replace(/[A-Z]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);
  const touches: [string, string, object][] = [
    ['a tool', 'export_payroll', {}],
    ['a value', 'shell', { command: `export KEY=${decoy}` }],
    [
      'in lower case, with a character that nobody sees',
      'shell',
      { command: `x${decoy.toLowerCase().replace('y', 'y\u200b')}` },
    ],
    ['in base64', 'shell', { body: base64(`key: ${decoy}`) }],
    ['in base64 of base64', 'shell', { body: base64(base64(`key: ${decoy}`)) }],
    ['in percent signs', 'shell', { url: `https://a.test/?k=${percent(decoy)}` }],
    ['in hexadecimal digits', 'shell', { body: Buffer.from(decoy).toString('hex') }],
    ['in JSON in JSON', 'shell', { body: JSON.stringify(JSON.stringify({ a: [{ b: decoy }] })) }],
    ['in nested lists', 'shell', { body: [[['x', [decoy]]]] }],
    ['as the name of a member', 'shell', { body: { [decoy]: 1 } }],
    ['cut in two', 'shell', { a: decoy.slice(0, 9), b: decoy.slice(9) }],
    ['with a tool that is not listed', 'curl', { header: decoy }],
    ['a path', 'read_file', { path: '/srv/payroll/march.csv' }],
    ['a path by another way', 'shell', { command: 'cat "/srv/x/..//payroll/./march.csv"' }],
    ['a path in a URL', 'shell', { command: 'curl file:///srv/payroll' }],
    ['a host', 'shell', { command: 'curl https://a.honey.example.com/x' }],
    ['a host in an address', 'shell', { to: ['x@HONEY.example.com'] }],
    ['an entity', 'read_file', { path: 'ghost' }],
  ];
  for (const [what, tool, args] of touches)
    test(`${what}: the session ends`, async () => {
      const session = await ground.session();
      const before = (await touched()).length;
      const answer = await call(session, tool, args);
      assert.deepEqual([answer.decision, answer.context.effect], [false, 'terminate']);
      const told = JSON.stringify(answer);
      for (const name of ['canary', 'decoy-key', 'payroll"', 'honey', 'ghost"']) assert.ok(!told.includes(name), told);
      const rows = await touched();
      assert.equal(rows.length, before + 1);
      assert.deepEqual((rows.at(-1) as { tool: string }).tool, tool);
      const view = (await (await session.get('/v1/session')).json()) as { session: { end_reason: string } };
      assert.equal(view.session.end_reason, 'ended_by_rule');
    });

  const asked: [string, object][] = [
    ['of another task type', { capability: 'root-plain', params: {} }],
    ['with parameters that it does not have', { capability: 'root-plain', params: { no: 'such' } }],
    ['a decoy as a parameter', { capability: 'use-plain', params: { key: [decoy] } }],
  ];
  for (const [what, body] of asked)
    test(`a credential, ${what}: the session ends`, async () => {
      const session = await ground.session();
      const before = (await touched()).length;
      const denied = await session('/v1/grants', body);
      assert.equal(denied.status, 403);
      assert.doesNotMatch(JSON.stringify(await denied.json()), /canary|decoy/);
      assert.equal((await touched()).length, before + 1);
      assert.equal((await session('/v1/grants', { capability: 'use-plain', params: {} })).status, 401);
    });

  const told = (text: string) => board.seen().filter((message) => message.text.includes(text));
  const notices = (sessionId: string) =>
    broker.store.prisma.approvalNotice.findMany({ where: { OR: [{ sessionId }, { grant: { sessionId } }] } });
  const idOf = async (session: Session) =>
    ((await (await session.get('/v1/session')).json()) as { session: { id: string } }).session.id;

  test('the owner is told of each touch, once, without a word of what was sent', async () => {
    const expected = (await touched()).length;
    await until('the board has them', () => told('It touched a decoy').length === expected);
    assert.equal(expected, touches.length + asked.length);
    for (const { text, links } of told('It touched a decoy')) {
      assert.match(links.join(), /^https?:[^,]*[/]sessions[/]ses_[a-z0-9]+$/);
      assert.ok(!text.includes(decoy) && !text.includes('march.csv'), text);
    }
    const rows = await broker.store.prisma.approvalNotice.findMany({ where: { kind: 'incident' } });
    assert.ok(rows.every(({ incident }) => (incident as { owner: string }).owner === 'team:billing'));
  });

  test('a rule that ends a session is told; one that freezes it asks, and that is told once', async () => {
    const [ended, frozen] = [await ground.session(), await ground.session()];
    const [endedId, frozenId] = [await idOf(ended), await idOf(frozen)];
    await call(ended, 'sudo');
    await call(frozen, 'su');
    await until('the board has it', () => told('Nobody is root here. (no-sudo)').length === 1);
    assert.deepEqual(
      (await notices(endedId)).map(({ kind }) => kind),
      ['incident'],
    );
    // Once it has been delivered, silence will be told of too.
    const asked = (await notices(frozenId))
      .map(({ kind }) => kind)
      .filter((kind) => !['escalated', 'reminder'].includes(kind));
    assert.deepEqual(asked, ['pending']);
  });

  test('what is near a decoy is none, and the list tells nobody', async () => {
    const session = await ground.session();
    for (const args of [
      { path: '/srv/payroll-2/x' },
      { path: '/srv' },
      { url: 'https://honey.example.org' },
      { key: decoy.slice(0, -1) },
    ])
      assert.equal((await call(session, 'shell', args)).decision, true, JSON.stringify(args));
    const { tools } = (await (await session.get('/v1/tools')).json()) as { tools: { name: string }[] };
    assert.deepEqual(
      tools.map(({ name }) => name),
      ['read_file', 'export_payroll', 'shell'],
    );
    assert.deepEqual(Object.keys(tools[1]!), Object.keys(tools[0]!));
  });
});
