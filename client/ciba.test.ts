/** CIBA in poll mode, by an OAuth client that knows nothing of Writ (openid-client, as it is). */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as oauth from 'openid-client';
import { type Harness, openHarness } from './broker.test-support.ts';
import { clientAssertion } from './identity.ts';

const grantType = 'urn:openid:params:grant-type:ciba';
const details = (capability = 'write-customer-files', more = {}) =>
  JSON.stringify([
    { type: 'task', task_type: 'answer-invoice-question', inputs: { customer_id: '42' } },
    { type: 'grant', capability, ttl_seconds: 600, ...more },
  ]);

describe('CIBA, poll mode', () => {
  let harness: Harness;
  let config: oauth.Configuration;
  before(async () => {
    harness = await openHarness();
    const key = await crypto.subtle.importKey(
      'pkcs8',
      harness.clientKey.privateKey.export({ type: 'pkcs8', format: 'der' }),
      { name: 'ECDSA', namedCurve: 'P-256' },
      false,
      ['sign'],
    );
    config = await oauth.discovery(
      new URL(harness.front.url),
      'invoice-bot-key',
      undefined,
      oauth.PrivateKeyJwt({ key, kid: 'one' }),
      { execute: [oauth.allowInsecureRequests] },
    );
  });
  after(() => harness.close());

  const start = (more: { [name: string]: string } = {}) =>
    oauth.initiateBackchannelAuthentication(config, {
      scope: 'openid',
      login_hint: 'owner@example.com',
      binding_message: 'Invoice 42',
      authorization_details: details(),
      ...more,
    });
  const grantOf = (authReqId: string) =>
    harness.broker.store.prisma.grant.findFirstOrThrow({ where: { sessionId: authReqId.split('.')[0]! } });
  /** One poll, by hand. */
  const poll = async (authReqId: string) => {
    const key = { clientId: 'invoice-bot-key', key: harness.clientKey.privateKey, kid: 'one' };
    const form = {
      grant_type: grantType,
      auth_req_id: authReqId,
      client_id: 'invoice-bot-key',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await clientAssertion(key, harness.front.url, new Date()),
    };
    const answer = await fetch(`${harness.front.url}/oauth/token`, { method: 'POST', body: new URLSearchParams(form) });
    return (await answer.json()).error as string | undefined;
  };

  test('a person approves, the client gets a session with an approved grant, and collects it', async () => {
    const asked = await start();
    assert.deepEqual([asked.interval, asked.expires_in > 3600], [5, true]);
    assert.ok(['authorization_pending', 'slow_down'].includes((await poll(asked.auth_req_id)) ?? ''));
    const grant = await grantOf(asked.auth_req_id);
    assert.equal(grant.justification, 'Invoice 42');
    await harness.decide(`${harness.front.url}/approvals/${grant.id}`, 'approve');
    const handle = oauth.getDPoPHandle(config, await oauth.randomDPoPKeyPair());
    // The client would wait five seconds before its first poll.
    const tokens = await oauth.pollBackchannelAuthenticationGrant(
      config,
      { ...asked, interval: 0 },
      {},
      { DPoP: handle },
    );
    assert.equal(tokens.token_type, 'dpop');
    const [task, ...granted] = tokens.authorization_details as { [member: string]: unknown }[];
    assert.deepEqual([task?.type, task?.task_type], ['task', 'answer-invoice-question']);
    assert.deepEqual(granted, [{ type: 'grant', grant_id: grant.id, capability: 'write-customer-files' }]);
    const redeem = new URL(`${harness.front.url}/v1/grants/${grant.id}/redeem`);
    const collected = await oauth.fetchProtectedResource(
      config,
      tokens.access_token,
      redeem,
      'POST',
      '{}',
      new Headers({ 'content-type': 'application/json' }),
      { DPoP: handle },
    );
    assert.equal(collected.status, 201);
    assert.equal(((await collected.json()) as { credential: { type: string } }).credential.type, 'aws');
    // The session is bound to the client's key now.
    assert.equal(await poll(asked.auth_req_id), 'invalid_dpop_proof');
    await oauth.tokenRevocation(config, tokens.access_token);
    assert.equal(await poll(asked.auth_req_id), 'expired_token');
  });

  test('a denial is access_denied, and what is no request of this client’s is invalid_grant', async () => {
    const asked = await start();
    const grant = await grantOf(asked.auth_req_id);
    await harness.decide(`${harness.front.url}/approvals/${grant.id}`, 'deny', 'Not on a Friday.');
    await assert.rejects(
      oauth.pollBackchannelAuthenticationGrant(config, { ...asked, interval: 0 }),
      (error) => error instanceof oauth.ResponseBodyError && error.error === 'access_denied',
    );
    const id = asked.auth_req_id.split('.')[0];
    for (const forged of ['x', `${id}.`, `${id}.${'A'.repeat(43)}`]) assert.equal(await poll(forged), 'invalid_grant');
    // Another workload of the same agent has a handle of its own, and it is none of this client's.
    const other = await harness.open();
    const { resume } = await other.sleep();
    assert.equal(await poll(resume), 'invalid_grant');
  });

  test('polled twice in a turn it says slow_down; a request nobody can be asked about leaves no session', async () => {
    const asked = await start();
    const said = await Promise.all([poll(asked.auth_req_id), poll(asked.auth_req_id), poll(asked.auth_req_id)]);
    assert.ok(said.includes('slow_down'), said.join());
    const refused: [{ [name: string]: string }, string][] = [
      // Policy alone allows it.
      [{ authorization_details: details('read-customer-files') }, 'invalid_request'],
      [{ authorization_details: details('write-customer-files', { params: { bucket: 'other' } }) }, 'access_denied'],
      [{ authorization_details: details('unheard-of') }, 'invalid_authorization_details'],
      [{ authorization_details: '[]' }, 'invalid_authorization_details'],
      [{ request: 'x' }, 'invalid_request'],
      [{ client_secret: 'x' }, 'invalid_client'],
      [{ login_hint: '' }, 'invalid_request'],
    ];
    for (const [more, code] of refused)
      await assert.rejects(
        start(more),
        (error) => error instanceof oauth.ResponseBodyError && error.error === code,
        JSON.stringify(more),
      );
    const open = await harness.broker.store.prisma.session.findMany({
      where: { endedAt: null, subject: { path: ['issuer'], equals: 'private_key_jwt' } },
    });
    assert.deepEqual(
      open.map(({ id, status }) => [id, status]),
      [[asked.auth_req_id.split('.')[0], 'asleep']],
    );
  });
});
