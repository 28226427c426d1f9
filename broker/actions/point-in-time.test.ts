/** What a rule may look at besides history: where a call comes from, what is attested, whose grant. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Broker } from '../compose/start.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { attestedClaims } from '../manifests/attested-claims.ts';
import { readManifest } from '../manifests/read.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';
import { bodyOf, call, codes } from './asking.test-support.ts';
import { Folded, start } from './histories.test-support.ts';

const compiled = (rules: object[]) => {
  const whole = {
    apiVersion: 'writ/v1',
    agent: 'some-bot',
    owner: 'team:billing',
    description: 'Tries things.',
    envelope: { wall_time: '30m' },
    task_types: { work: { description: 'Work.', inputs: {} } },
    capabilities: {},
    tools: { deploy: {}, read: { entity: `order:\${args.id}` }, look: { entity: `page:\${args.id}` } },
    rules: rules.map((rule, n) => ({ id: `rule-${n}`, on: { tool: 'deploy' }, effect: 'deny', ...rule })),
  };
  const read = readManifest(JSON.stringify(whole), {});
  assert.ok(read.ok, JSON.stringify(read));
  return read.compiled;
};

/** @returns the effect, and what was lacking */
function decide(rules: object[], from: { address?: string; attested?: JsonObject | null }) {
  const folded = new Folded({ 'some-bot': compiled(rules) });
  const who = {
    ...{ rootId: 'root', agent: 'some-bot', principal: 'some-bot', openedAt: start },
    ...{ task: { task_type: 'work', inputs: {} }, onBehalfOf: null, declaredOnBehalfOf: null },
    attested: from.attested ?? null,
  };
  const asked = { tool: 'deploy', args: {}, costMicroUsd: null, address: from.address ?? null };
  const { decision } = folded.ask(who, asked, start).evaluation;
  return [decision.effect, ...decision.reasons.flatMap(({ code, path }) => (code === 'field_missing' ? [path] : []))];
}

test('from the office only', () => {
  const office = [{ unless: { network: ['10.1.0.0/16', '2001:db8::/32', '192.0.2.7'] } }];
  const cases: [string, string][] = [
    ['10.1.2.3', 'allow'],
    ['::ffff:10.1.2.3', 'allow'],
    ['::ffff:a01:203', 'allow'],
    ['::ffff:a02:1', 'deny'],
    // As proxies pass them on.
    ['10.1.2.3:51234', 'allow'],
    ['10.2.0.1:51234', 'deny'],
    ['[2001:db8:5::1]:443', 'allow'],
    ['2001:db8:5::1%eth0', 'allow'],
    ['10.2.0.1', 'deny'],
    ['2001:db8:5::1', 'allow'],
    ['2001:db9::1', 'deny'],
    ['192.0.2.7', 'allow'],
    ['192.0.2.8', 'deny'],
  ];
  for (const [address, effect] of cases) assert.deepEqual(decide(office, { address }), [effect], address);
  for (const address of ['', '10.1.2.3, 10.1.2.4', 'localhost', '10.1.2.3/8'])
    assert.deepEqual(decide(office, { address }), ['deny', 'network'], address);
  assert.deepEqual(decide(office, {}), ['deny', 'network']);
});

test('from the main branch only, as the platform attests it', () => {
  const main = [{ unless: { attested: { ref: 'refs/heads/main' } } }];
  assert.deepEqual(decide(main, { attested: { ref: 'refs/heads/main' } }), ['allow']);
  assert.deepEqual(decide(main, { attested: { ref: 'refs/heads/main2' } }), ['deny']);
  assert.deepEqual(decide(main, { attested: null }), ['deny', 'attested.ref']);
  assert.deepEqual(
    decide(main, { attested: { ref: ['refs/heads/x', 'refs/heads/main'] } }),
    ['allow'],
    'one of a list',
  );
  const nested = [{ unless: { attested: { 'kubernetes.io': { namespace: { pattern: 'prod-.*' } }, level: 3 } } }];
  assert.deepEqual(decide(nested, { attested: { 'kubernetes.io': { namespace: 'prod-1' }, level: 3 } }), ['allow']);
  assert.deepEqual(decide(nested, { attested: { 'kubernetes.io': { namespace: 'a-prod-1' }, level: 3 } }), ['deny']);
  assert.deepEqual(decide(nested, { attested: { 'kubernetes.io': 'prod-1', level: 3 } }), [
    'deny',
    'attested.kubernetes.io.namespace',
  ]);
});

test('of the platform’s claims those are kept that a rule asks for', () => {
  const { manifest } = compiled([
    { when: { attested: { ref: 'refs/heads/main', actor: { pattern: '.*' } } } },
    { when: [{ attested: { 'kubernetes.io': { namespace: 'a' } } }, { network: ['::1'] }] },
    { when: { elapsed: '1h' }, unless: { attested: { 'kubernetes.io': { pod: { name: 'b' } } } } },
  ]);
  const claims = {
    ...{ sub: 'x', ref: 'refs/heads/other', actor: ['a', 1], secret: 's' },
    'kubernetes.io': { namespace: 'b', pod: { name: 'c', uid: 'd' } },
  };
  assert.deepEqual(attestedClaims(manifest, claims), {
    ref: 'refs/heads/other',
    actor: ['a', 1],
    'kubernetes.io': { namespace: 'b', pod: { name: 'c' } },
  });
  assert.equal(attestedClaims(manifest, { sub: 'x', ref: { is: 'an object' } }), null);
});

test('a kind of resource that was never touched', () => {
  const rules = [{ on: '*', scope: 'agent', when: { first_time: 'resource_family' }, effect: 'deny' }];
  const folded = new Folded({ 'some-bot': compiled(rules) });
  const ask = (rootId: string, tool: string, id: number) =>
    folded.ask(
      {
        ...{ rootId, agent: 'some-bot', principal: 'some-bot', openedAt: start, onBehalfOf: null },
        ...{ declaredOnBehalfOf: null, task: { task_type: 'work', inputs: {} } },
      },
      { tool, args: { id }, costMicroUsd: null },
      start,
    ).effect;
  assert.equal(ask('one', 'read', 1), 'deny');
  assert.equal(ask('one', 'deploy', 1), 'allow', 'it touches nothing');
});

const manifest = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
  wide-plain: { description: More of it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m }
tools: { read: {}, write: {} }
rules:
  - { id: office, on: { tool: read }, unless: { network: [192.0.2.0/24] }, effect: deny }
  - { id: office-too, on: { tier: 2 }, unless: { network: [192.0.2.0/24] }, effect: deny }
  - { id: nothing-after, on: { tool: write }, when: { formerly: { provider: plain, within: session } }, effect: deny }
`;

describe('over HTTP', () => {
  let ground: Ground;
  let broker: Broker;
  before(async () => {
    ground = await prepareGround();
    await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
    broker = await ground.start({ WRIT_TRUST_PROXY: '1' });
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  test('the address is the one that the trusted proxy saw', async () => {
    const session = await ground.session();
    const from = async (forwarded: string | null, path: string, body: object) => {
      const headers = forwarded === null ? {} : { 'x-forwarded-for': forwarded };
      const response = await session.withHeaders(path, body, headers);
      return [response.status, (await response.json()) as { decision?: boolean }] as const;
    };
    const ask = async (forwarded: string | null) =>
      (await from(forwarded, '/access/v1/evaluation', bodyOf('read', {})))[1].decision;
    assert.equal(await ask('192.0.2.9'), true);
    assert.equal(await ask('198.51.100.1'), false);
    assert.equal(await ask('192.0.2.9, 198.51.100.1'), false, 'what the caller wrote himself');
    assert.equal(await ask(null), false);
    const wide = { capability: 'wide-plain', params: {} };
    assert.equal((await from('198.51.100.1', '/v1/grants', wide))[0], 403);
    assert.equal((await from('192.0.2.9', '/v1/grants', wide))[0], 202, 'a person must approve');
    assert.equal((await from('198.51.100.1', '/v1/grants', { capability: 'use-plain', params: {} }))[0], 201);
    assert.deepEqual(codes(await call(session, 'write')), ['rule'], 'by what provider a grant was');
  });
});
