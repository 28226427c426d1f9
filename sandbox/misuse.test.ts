/** What a thief and a stranger leave behind: enough to see them by, and no more than the record can bear. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '../broker/until.test-support.ts';
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

const requestsOf = async (chain: string) =>
  (
    await deployment.broker.store.prisma.auditEvent.findMany({
      where: { chain, type: 'request.refused' },
      orderBy: { seq: 'asc' },
    })
  ).map(({ actor, payload }) => {
    const { code, method, route } = payload as { code: string; method?: string; route?: string };
    return { actor, said: `${method} ${route}: ${code}` };
  });

test('whoever asks for what is not theirs is on the record, and cannot fill it', async () => {
  const secret = 'ghs_0123456789abcdefghijklmnopqrstuvwxyz';
  const before = (await requestsOf('system')).length;
  const asked = await Promise.all([
    deployment.send('GET', '/v1/admin/manifests'),
    deployment.send('POST', '/v1/admin/keys/rotate', { headers: { authorization: `Bearer ${secret}` } }),
    deployment.send('POST', '/v1/grants', { body: { capability: secret } }),
    deployment.send('POST', '/oauth/introspect', { body: new URLSearchParams({ token: secret }) }),
    deployment.send('GET', `/login/callback?code=${secret}`),
  ]);
  assert.deepEqual(
    asked.map(({ status }) => status),
    [401, 401, 401, 401, 400],
  );
  await until('the refusals of pages too are on record', async () => (await requestsOf('system')).length >= before + 5);
  assert.deepEqual(
    (await requestsOf('system'))
      .slice(before)
      .map(({ said }) => said)
      .sort(),
    [
      'GET /login/callback: bad_request',
      'GET /v1/admin/manifests: unauthenticated',
      'POST /oauth/introspect: unauthenticated',
      'POST /v1/admin/keys/rotate: unauthenticated',
      'POST /v1/grants: unauthenticated',
    ],
  );
  for (let n = 0; n < 30; n += 1) {
    assert.equal((await deployment.send('GET', '/v1/admin/leases')).status, 401, 'the answer stays what it is');
  }
  assert.equal((await requestsOf('system')).length, perMinute, 'with one of the test before');
  await deployment.openAgent();
  const rows = await deployment.broker.store.prisma.auditEvent.findMany();
  assert.ok(!JSON.stringify(rows).includes(secret));
  assert.ok(!deployment.log().includes(secret));
});

test('an agent’s malformed requests, and those for another’s grant, are on its own session’s record', async () => {
  const [agent, other] = [await deployment.openAgent(), await deployment.openAgent()];
  const theirs = await other.grant({ capability: 'read-policy-repository' });
  assert.equal(theirs.status, 201, theirs.text);
  const secret = 'ghs_zyxwvutsrqponmlkjihgfedcba9876543210';
  const replies = [
    await agent.call('GET', `/v1/grants/${(theirs.body as unknown as { id: string }).id}`),
    await agent.call('POST', `/v1/grants/${(theirs.body as unknown as { id: string }).id}/redeem`),
    await agent.grant({ capability: 'read-policy-repository', [secret]: secret }),
    await agent.call('POST', '/v1/grants', undefined, { 'content-type': 'application/json' }),
    await agent.call('GET', `/v1/session?${secret}=1`),
  ];
  assert.deepEqual(
    replies.map(({ status }) => status),
    [404, 404, 400, 400, 400],
  );
  assert.deepEqual(await requestsOf(agent.sessionId), [
    { actor: 'invoice-bot', said: 'GET /v1/grants/:id: not_found' },
    { actor: 'invoice-bot', said: 'POST /v1/grants/:id/redeem: not_found' },
    { actor: 'invoice-bot', said: 'POST /v1/grants: bad_request' },
    { actor: 'invoice-bot', said: 'POST /v1/grants: bad_request' },
    { actor: 'invoice-bot', said: 'GET /v1/session: bad_request' },
  ]);
  assert.deepEqual(await requestsOf(other.sessionId), []);

  // What evaluation refuses has rows of its own; they are bounded, and hold none of the agent's names.
  for (let n = 0; n < 30; n += 1) {
    const params = { [`${secret}${n}`]: n, nested: { [secret]: [secret] } };
    assert.equal((await agent.grant({ capability: 'read-policy-repository', params })).status, 400);
  }
  const refused = await eventsOf(agent.sessionId, 'grant.refused');
  assert.equal(refused.length, perMinute - 5, 'one measure for all refusals of a session');
  assert.equal((await requestsOf(agent.sessionId)).length, 5, 'no second row for the same refusal');
  deployment.clock.advance(60_000);
  await until('the sum is written', async () =>
    (await eventsOf(agent.sessionId, 'grant.refused')).some(({ dropped }) => dropped !== undefined),
  );
  assert.equal((await eventsOf(agent.sessionId, 'grant.refused')).at(-1)?.dropped, 30 - (perMinute - 5));
  const rows = await deployment.broker.store.prisma.auditEvent.findMany();
  assert.ok(!JSON.stringify(rows).includes(secret));
});

test('a body that cannot be read is not quoted in the log', async () => {
  const agent = await deployment.openAgent();
  const secret = 'ghs_aaaabbbbccccddddeeeeffffgggghhhhiiii';
  const send = (headers: { [name: string]: string }) =>
    fetch(`${deployment.broker.url}/v1/grants`, {
      method: 'POST',
      body: secret,
      headers: { authorization: `Bearer ${agent.token}`, ...headers },
    });
  assert.equal((await send({ 'content-type': 'application/json' })).status, 400);
  assert.equal((await send({ 'content-type': `application/json; charset=${secret}` })).status, 415);
  assert.equal((await send({ 'content-type': 'application/json', 'content-encoding': secret })).status, 415);
  assert.ok(!deployment.log().includes(secret));
  assert.equal((await requestsOf(agent.sessionId)).length, 3);
});
