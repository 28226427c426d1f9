/** A rate far outside an agent's own: what is usual is learned, and what is far more is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readManifest } from '../manifests/read.ts';
import { Folded, start } from './histories.test-support.ts';

const hour = 3_600_000;

function agent(rate: object) {
  const whole = {
    apiVersion: 'writ/v1',
    agent: 'some-bot',
    owner: 'team:billing',
    description: 'Tries things.',
    envelope: { wall_time: '30m' },
    task_types: { work: { description: 'Work.', inputs: {} } },
    capabilities: {},
    tools: { refund: {} },
    rules: [{ id: 'unusual', on: { tool: 'refund' }, scope: 'agent', when: { rate }, effect: 'deny' }],
  };
  const read = readManifest(JSON.stringify(whole), {});
  assert.ok(read.ok, JSON.stringify(read));
  const folded = new Folded({ 'some-bot': read.compiled });
  let runs = 0;
  /** @returns how many of so many calls at that hour were let through; every hour is another session */
  return (at: number, calls: number, args = {}) => {
    runs += 1;
    const who = {
      ...{ rootId: `run-${runs}`, agent: 'some-bot', principal: 'some-bot', openedAt: start },
      ...{ task: { task_type: 'work', inputs: {} }, onBehalfOf: null, declaredOnBehalfOf: null },
    };
    const effects = Array.from({ length: calls }, (_, n) => {
      const asked = { tool: 'refund', args, costMicroUsd: null };
      return folded.ask(who, asked, start + at * hour + n).effect;
    });
    return effects.filter((effect) => effect === 'allow').length;
  };
}

test('what is usual passes, five times that does not, whatever session asks', () => {
  const run = agent({ over: '1h', times: 5, at_least: 3 });
  for (let at = 0; at <= 20; at += 1) assert.equal(run(at, 2), 2);
  assert.equal(run(20.6, 50), 8, 'ten in an hour');
});

test('it grows with what is usual, and nothing is usual after a long time', () => {
  const run = agent({ over: '1h', times: 2, at_least: 2 });
  for (let at = 0; at < 40; at += 1) run(at * 1.05, 2 + Math.floor(at / 4));
  const now = run(42.5, 100);
  assert.ok(now > 12 && now < 25, `${now}`);
  assert.equal(run(2000, 100), 2);
});

test('of an agent without a past, so many as are fine in any case', () => {
  assert.equal(agent({ over: '1h', times: 5, at_least: 3 })(0, 50), 3);
});

test('each customer has a rate of his own', () => {
  const run = agent({ over: '1h', times: 5, at_least: 1, same: ['arg:customer'] });
  for (let at = 0; at <= 10; at += 1) run(at, 1, { customer: 'a' });
  assert.equal(run(10.6, 50, { customer: 'a' }), 4, 'five in an hour');
  assert.equal(run(10.6, 50, { customer: 'b' }), 1);
});
