/**
 * A mint that fails: what had no effect costs nobody their consent or their envelope, what failed for good
 * says so, and what was minted and cannot be delivered is revoked.
 */
import assert from 'node:assert/strict';
import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { after, before, test } from 'node:test';
import { prepareGround } from '../broker/running.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import { ProviderError } from '../providers/contract.ts';
import { type Agent, type Approver, type Deployment, startDeployment } from './deployment.test-support.ts';

let deployment: Deployment;
let approver: Approver;
before(async () => {
  deployment = await startDeployment({ poolSize: 2 });
  approver = await deployment.approver();
  // The role's room is known: what fails below is the mint.
  const first = await (await deployment.openAgent()).grant({ capability: 'read-customer-files' });
  assert.equal(first.status, 201, first.text);
});
after(() => deployment.close());

async function approved(agent: Agent): Promise<string> {
  const reply = await agent.grant({ capability: 'correct-customer-invoice' });
  assert.equal(reply.status, 202, reply.text);
  await approver.decide(reply.body.id, { verdict: 'approve' });
  return reply.body.id;
}

const redeem = (agent: Agent, id: string, body?: unknown) => agent.call('POST', `/v1/grants/${id}/redeem`, body);
const statusOf = async (agent: Agent, id: string) => (await agent.call('GET', `/v1/grants/${id}`)).body.status;
const eventsOf = async (grantId: string) =>
  (await deployment.broker.store.prisma.auditEvent.findMany({ where: { grantId }, orderBy: { seq: 'asc' } })).map(
    ({ type }) => type,
  );

/** When the broker notices that whoever asked next has gone. */
async function closedAnswer(): Promise<void> {
  const started = Promise.withResolvers<ServerResponse>();
  const take = (message: unknown) => started.resolve((message as { response: ServerResponse }).response);
  diagnostics.subscribe('http.server.request.start', take);
  const response = await started.promise;
  diagnostics.unsubscribe('http.server.request.start', take);
  await once(response, 'close');
}

const throttled = { code: 'Throttling', status: 400 };
const mint = (fault: Parameters<Deployment['world']['aws']['fault']>[1]) =>
  deployment.world.aws.fault('AssumeRoleWithWebIdentity', fault);

test('throttled, the approved grant stays approved, says until when, and is collected without asking a person again', async () => {
  const agent = await deployment.openAgent();
  const id = await approved(agent);
  const consented = (await agent.call('GET', `/v1/grants/${id}`)).body;
  for (const fault of [throttled, throttled]) {
    mint(fault);
    const reply = await redeem(agent, id);
    mint(null);
    assert.deepEqual([reply.status, reply.body.code], [503, 'provider_unavailable'], reply.text);
    assert.ok(Number(reply.headers.get('retry-after')) > 0);
    assert.deepEqual([reply.body.grant_id, reply.body.grant_status], [id, 'approved']);
    assert.equal(reply.body.redeem_by, consented.decide_by);
    const kept = (await agent.call('GET', `/v1/grants/${id}`)).body;
    assert.deepEqual([kept.status, kept.plan, kept.decide_by], ['approved', consented.plan, consented.decide_by]);
  }
  const reply = await redeem(agent, id);
  assert.equal(reply.status, 201, reply.text);
  assert.equal((await agent.call('GET', `/v1/grants/${id}`)).body.lease.id, reply.body.lease.id);
  assert.equal((await redeem(agent, id)).body.code, 'already_redeemed');
  assert.deepEqual(await eventsOf(id), [
    'grant.pending',
    'grant.approved',
    ...['grant.redeemed', 'lease.failed', 'grant.approval_kept'],
    ...['grant.redeemed', 'lease.failed', 'grant.approval_kept'],
    'grant.redeemed',
    'lease.issued',
  ]);
});

test('the approval that was kept ends at its own deadline', async () => {
  const agent = await deployment.openAgent();
  const id = await approved(agent);
  mint(throttled);
  assert.equal((await redeem(agent, id)).body.grant_status, 'approved');
  mint(null);
  for (let waited = 0; waited < 310; waited += 62) {
    deployment.clock.advance(62_000);
    agent.token = (await agent.call('POST', '/v1/session/heartbeat')).body.access_token;
  }
  await until('it has lapsed', async () => (await statusOf(agent, id)) === 'denied');
  assert.deepEqual((await redeem(agent, id)).body.reasons, [{ code: 'not_redeemed' }]);
});

test('refused for good, or perhaps minted: the grant has failed, and says so', async () => {
  const agent = await deployment.openAgent();
  for (const [fault, status, code] of [
    [{ code: 'AccessDenied', status: 403 }, 502, 'provider_refused'],
    ['hang', 503, 'provider_unavailable'],
  ] as const) {
    const id = await approved(agent);
    mint(fault);
    const asked = deployment.world.aws.requests();
    const answer = redeem(agent, id);
    if (fault === 'hang') {
      const intended = () => deployment.broker.store.prisma.lease.count({ where: { status: 'issuing' } });
      await until('it is asked', async () => (await intended()) > 0 && deployment.world.aws.requests() > asked);
      // What comes of it is not known yet: it was not delivered.
      const meanwhile = await redeem(agent, id);
      assert.deepEqual([meanwhile.status, meanwhile.body.code], [409, 'conflict'], meanwhile.text);
      assert.equal(meanwhile.body.grant_status, 'issuing');
      assert.ok(Number(meanwhile.headers.get('retry-after')) > 0);
      deployment.clock.advance(60_000);
    }
    const reply = await answer;
    mint(null);
    assert.deepEqual([reply.status, reply.body.code, reply.body.grant_status], [status, code, 'failed'], reply.text);
    assert.equal(await statusOf(agent, id), 'failed');
    const late = await redeem(agent, id);
    assert.deepEqual([late.status, late.body.code, late.body.grant_id], [409, 'grant_failed', id]);
  }
});

test('a key that nothing can be encrypted to is refused before anything is minted', async () => {
  const agent = await deployment.openAgent();
  const before = deployment.world.github.requests();
  const smallOrder = Buffer.alloc(32).toString('base64url');
  const keys = [
    { kty: 'OKP', crv: 'X25519', x: smallOrder },
    { kty: 'OKP', crv: 'X25519', x: Buffer.from([1, ...Buffer.alloc(31)]).toString('base64url') },
    { kty: 'OKP', crv: 'X25519', x: 'AAAA' },
    { kty: 'EC', crv: 'P-256', x: smallOrder, y: smallOrder },
    { kty: 'OKP', crv: 'P-256', x: smallOrder },
    { kty: 'EC', crv: 'X25519', x: smallOrder, y: smallOrder },
  ];
  for (const credential_jwk of keys) {
    const reply = await agent.grant({ capability: 'read-policy-repository', credential_jwk });
    assert.deepEqual([reply.status, reply.body.code], [400, 'bad_request'], JSON.stringify(credential_jwk));
    assert.deepEqual(
      reply.body.errors?.map(({ path }: { path: string }) => path),
      ['credential_jwk'],
    );
  }
  assert.equal(deployment.world.github.requests(), before);
  const id = await approved(agent);
  assert.equal((await redeem(agent, id, { credential_jwk: keys[0] })).status, 400);
  assert.equal(await statusOf(agent, id), 'approved', 'and consumes no consent');
});

test('an agent that has gone before its answer leaves no credential behind', async () => {
  const ground = await prepareGround();
  const broker = await ground.start();
  try {
    const post = await ground.session();
    const gone = new AbortController();
    const noticed = closedAnswer();
    const asked = Promise.withResolvers<void>();
    const minting = Promise.withResolvers<void>();
    ground.provider.script.issue = async (_context, mintIt) => {
      asked.resolve();
      await minting.promise;
      return mintIt();
    };
    const reply = post('/v1/grants', { capability: 'use-plain' }, { signal: gone.signal }).catch(() => 'gone');
    await asked.promise;
    gone.abort();
    assert.equal(await reply, 'gone');
    await noticed;
    minting.resolve();
    await until('it is revoked', async () => {
      const [lease] = await broker.store.prisma.lease.findMany();
      return lease?.status === 'revoked' && lease.revokeReason === 'not_delivered';
    });
    assert.deepEqual(ground.provider.alive(), []);
  } finally {
    await broker.stop();
    await ground.close();
  }
});

test('a mint that is refused counts against no envelope', async () => {
  const ground = await prepareGround();
  const broker = await ground.start();
  try {
    const post = await ground.session();
    ground.provider.script.issue = async () => {
      throw new ProviderError('upstream_refused', 'no', { providerCode: 'no' });
    };
    const refused = await post('/v1/grants', { capability: 'use-plain' });
    assert.equal(refused.status, 502);
    assert.equal(((await refused.json()) as { grant_status: string }).grant_status, 'failed');
    const [session] = await broker.store.prisma.session.findMany();
    assert.equal(session?.grantCount, 0);
  } finally {
    await broker.stop();
    await ground.close();
  }
});
