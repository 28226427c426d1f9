/** What a thief and a stranger leave behind: enough to see them by, and no more than the record can bear. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Deployment, proofKey, prove, startDeployment } from './deployment.test-support.ts';

const perMinute = 8;
let deployment: Deployment;
before(async () => {
  deployment = await startDeployment({ env: { WRIT_REFUSALS_PER_MINUTE: String(perMinute) } });
});
after(() => deployment.close());

const eventsOf = async (chain: string, type: string) =>
  (await deployment.broker.store.prisma.auditEvent.findMany({ where: { chain, type }, orderBy: { seq: 'asc' } })).map(
    ({ payload }) => payload as { reason?: string; code?: string; dropped?: number },
  );

test('a bound token in the wrong hands is put on the record of its session, with what was wrong', async () => {
  const key = await proofKey();
  const agent = await deployment.openAgent({ key });
  const thief = await proofKey();
  const url = `${deployment.broker.url}/v1/session`;
  const right = { method: 'GET', url, at: deployment.clock.now(), token: agent.token };
  const send = (headers: { [name: string]: string }) => deployment.send('GET', '/v1/session', { headers });
  const authorization = `DPoP ${agent.token}`;
  const proof = await prove(key, right);
  assert.equal((await send({ authorization, DPoP: proof })).status, 200);
  const tries: [reason: string, headers: { [name: string]: string }][] = [
    ['replayed', { authorization, DPoP: proof }],
    ['wrong_key', { authorization, DPoP: await prove(thief, right) }],
    ['wrong_token_hash', { authorization, DPoP: await prove(key, { ...right, token: 'another' }) }],
    ['no_proof', { authorization: `Bearer ${agent.token}` }],
    ['sent_as_bearer', { authorization: `Bearer ${agent.token}`, DPoP: await prove(key, right) }],
  ];
  for (const [reason, headers] of tries) {
    const reply = await send(headers);
    assert.deepEqual([reply.status, reply.body.code], [401, 'invalid_dpop_proof'], reason);
  }
  assert.deepEqual(
    (await eventsOf(agent.sessionId, 'session.misused')).map(({ reason }) => reason),
    tries.map(([reason]) => reason),
  );

  // He cannot fill the record, nor keep its owner from working.
  const more = await Promise.all(Array.from({ length: 30 }, () => send({ authorization: `Bearer ${agent.token}` })));
  assert.equal(more.filter(({ status }) => status === 429).length, 30 - (perMinute - tries.length));
  assert.equal((await eventsOf(agent.sessionId, 'session.misused')).length, perMinute);
  assert.equal((await agent.call('GET', '/v1/session')).status, 200);
  // A token nobody signed names no session, so it is on no session's record.
  assert.equal((await send({ authorization: 'DPoP e30.e30.AA', DPoP: proof })).status, 401);
});

test('strangers at the token endpoint cause so many rows a minute; who has a token gets in all the same', async () => {
  const before = (await eventsOf('system', 'session.refused')).length;
  const form = { grant_type: 'client_credentials', authorization_details: '[{"type":"task"}]' };
  const replies = await Promise.all(
    Array.from({ length: 50 }, () => deployment.send('POST', '/oauth/token', { body: new URLSearchParams(form) })),
  );
  const limited = replies.filter(({ status }) => status === 429);
  assert.equal(limited.length, 50 - perMinute);
  for (const reply of limited) {
    assert.equal(reply.body.error, 'rate_limited');
    assert.ok(Number(reply.headers.get('retry-after')) > 0);
  }
  assert.equal((await eventsOf('system', 'session.refused')).length - before, perMinute);
  await deployment.openAgent();
});
