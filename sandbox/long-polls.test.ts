/** Agents who wait, many at a time, cost the broker next to nothing and starve nobody. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { until } from '../broker/until.test-support.ts';
import { type Agent, type Deployment, startDeployment } from './deployment.test-support.ts';

let deployment: Deployment;
before(async () => {
  deployment = await startDeployment();
});
after(() => deployment.close());

/** Beats the clock by hand, so that long polls look. */
async function beat(times = 1): Promise<void> {
  for (let i = 0; i < times; i += 1) {
    deployment.clock.advance(200);
    await wait(5);
  }
}

/** Goes on beating until it is there. */
async function beating<T>(what: string, coming: Promise<T>): Promise<T> {
  let here = false;
  void coming.finally(() => {
    here = true;
  });
  await until(what, async () => {
    await beat();
    return here;
  });
  return coming;
}

async function pending(agent: Agent): Promise<string> {
  const reply = await agent.grant({ capability: 'correct-customer-invoice' });
  assert.equal(reply.status, 202, reply.text);
  return reply.body.id;
}

test('the fifth wait of a session is told to come back; its end takes place all the same', async () => {
  const agent = await deployment.openAgent();
  const id = await pending(agent);
  const polls = Array.from({ length: 5 }, () => agent.call('GET', `/v1/grants/${id}?wait=60`));
  const fifth = await Promise.race(polls);
  assert.equal(fifth.status, 429);
  assert.equal(fifth.body.code, 'rate_limited');
  assert.ok(Number(fifth.headers.get('retry-after')) > 0);
  assert.equal((await agent.call('GET', `/v1/grants/${id}`)).status, 200, 'looking without waiting is no wait');
  const ended = await agent.call('POST', '/v1/session/end?wait=60');
  assert.deepEqual([ended.status, ended.body.session.status], [200, 'ended']);
  const answers = await beating('the waits hear of it', Promise.all(polls));
  const outcomes = answers.map(({ status, body }) => `${status} ${body.status}`).toSorted();
  assert.deepEqual(outcomes, [...Array(4).fill('200 denied'), '429 429']);
});

test('how many wait makes no difference to the database', async () => {
  const agents = await Promise.all(Array.from({ length: 12 }, () => deployment.openAgent()));
  const waits: Promise<unknown>[] = [];
  const statements = async () => {
    const before = deployment.broker.store.roundTrips();
    await beat(10);
    return deployment.broker.store.roundTrips() - before;
  };
  const quiet = await statements();
  for (const agent of agents) {
    const id = await pending(agent);
    for (let i = 0; i < 4; i += 1) waits.push(agent.call('GET', `/v1/grants/${id}?wait=60`));
  }
  await wait(100);
  const busy = await statements();
  assert.ok(busy - quiet <= 20, `${waits.length} waits cost ${busy - quiet} statements in ten beats`);
  await Promise.all(agents.map((agent) => agent.call('POST', '/v1/session/end')));
  await beating('all of them hear of it', Promise.all(waits));
});

test('who waits for the end of his session hears of it when the last lease is settled', async () => {
  const agent = await deployment.openAgent();
  const issued = await agent.grant({ capability: 'read-policy-repository' });
  assert.equal(issued.status, 201, issued.text);
  const { body } = await beating('he hears of it', agent.call('POST', '/v1/session/end?wait=60'));
  assert.deepEqual(
    body.leases.map(({ status }) => status),
    ['revoked'],
  );
});
