/**
 * The OAuth endpoints, as clients read them: what is taken, what is refused rather than dropped, in which
 * form.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { accessTokenType } from '../broker/sessions/exchange-token.ts';
import { type Deployment, type OpenOptions, proofKey, prove, startDeployment } from './deployment.test-support.ts';

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
let deployment: Deployment;
let own: CryptoKey;
let strangers: CryptoKey;
let server: CryptoKey;

before(async () => {
  const pairs = await Promise.all(
    ['ES256', 'ES256', 'Ed25519'].map((alg) => generateKeyPair(alg, { extractable: true })),
  );
  const [jwk, othersJwk, serverJwk] = await Promise.all(
    pairs.map(async (pair) => JSON.stringify(await exportJWK(pair.publicKey))),
  );
  [own, strangers, server] = pairs.map((pair) => pair.privateKey) as [CryptoKey, CryptoKey, CryptoKey];
  deployment = await startDeployment({
    trust: (source) => `${source}
clients:
  - { client_id: night-job, agent: invoice-bot, jwks: { keys: [${jwk}] } }
  - { client_id: other-job, agent: other-bot, jwks: { keys: [${othersJwk}] } }
resource_servers:
  - { client_id: orders-api, jwks: { keys: [${serverJwk}] } }
`,
  });
});
after(() => deployment.close());

const seconds = () => Math.floor(deployment.clock.now().getTime() / 1000);
const assertion = (more: { [claim: string]: unknown } = {}, key = own, alg = 'ES256', id = 'night-job') =>
  new SignJWT({ jti: randomUUID(), iss: id, sub: id, aud: deployment.broker.url, exp: seconds() + 60, ...more })
    .setProtectedHeader({ alg })
    .sign(key);
const credentials = async (more: { [name: string]: string } = {}, signed?: string) => ({
  grant_type: 'client_credentials',
  client_assertion_type: assertionType,
  client_assertion: signed ?? (await assertion()),
  ...more,
});

/**
 * A refusal as a client reads it: JSON with `error`, a description in ASCII, no challenge unless the header
 * was tried.
 */
async function refused(options: OpenOptions, error: string, words: RegExp, status = 400): Promise<void> {
  const reply = await deployment.tokenRequest(options);
  assert.deepEqual([reply.status, reply.body.error], [status, error], reply.text);
  assert.match(String(reply.headers.get('content-type')), /^application\/json/);
  assert.match(String(reply.headers.get('cache-control')), /no-store/);
  assert.match(reply.body.error_description ?? '', words);
  assert.match(reply.body.error_description ?? '', /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
  assert.equal(reply.headers.has('www-authenticate'), status === 401, reply.text);
}

test('what would change what is given, and is not understood, is refused', async () => {
  const basic = { authorization: `Basic ${Buffer.from('night-job:secret').toString('base64')}` };
  await refused({ headers: basic }, 'invalid_client', /private_key_jwt/, 401);
  await refused({ form: await credentials(), headers: basic }, 'invalid_client', /private_key_jwt/, 401);
  await refused({ headers: { authorization: 'Bearer x' } }, 'invalid_client', /private_key_jwt/, 401);
  await refused({ form: { client_secret: 'x' } }, 'invalid_client', /private_key_jwt/);
  // In our words, whatever checks them.
  await refused({ form: { grant_type: '' } }, 'invalid_request', /grant_type is required$/);
  await refused({ form: { dpop_jkt: 'short' } }, 'invalid_request', /dpop_jkt must match /);
  const another = JSON.stringify([{ type: 'tusk', task_type: 'x' }]);
  await refused({ form: { authorization_details: another } }, 'invalid_authorization_details', /type must be task/);
  await refused({ form: { actor_token: 'x' } }, 'invalid_request', /actor_token/);
  await refused({ form: { actor_token_type: accessTokenType } }, 'invalid_request', /actor_token_type/);
  await refused({ form: { dpop_jkt: 'A'.repeat(43) } }, 'invalid_request', /dpop_jkt needs a DPoP proof/);
  await refused({ form: await credentials({ dpop_jkt: 'A'.repeat(43) }) }, 'invalid_request', /dpop_jkt/);
  const proof = await prove(await proofKey(), {
    method: 'POST',
    url: `${deployment.broker.url}/oauth/token`,
    at: deployment.clock.now(),
  });
  await refused({ form: { dpop_jkt: 'A'.repeat(43) }, headers: { DPoP: proof } }, 'invalid_request', /not the key/);
  // A client that says who it is beside the subject token is held to it.
  const subjectToken = await deployment.world.subjectToken();
  const exchange = async (signed: string): Promise<OpenOptions> => ({
    form: { client_assertion_type: assertionType, client_assertion: signed, subject_token: subjectToken },
  });
  await refused(await exchange(await assertion({ exp: seconds() - 60 })), 'invalid_client', /expired/);
  await refused(
    await exchange(await assertion({}, strangers, 'ES256', 'other-job')),
    'invalid_client',
    /another agent/,
  );
  const once = await assertion();
  assert.equal((await deployment.tokenRequest(await exchange(once))).status, 200);
  await refused(
    { form: { ...(await exchange(once)).form, subject_token: await deployment.world.subjectToken() } },
    'invalid_client',
    /used before/,
  );
  await refused({ form: { grant_type: 'authorization_code', code: 'x' } }, 'unsupported_grant_type', /./);
  await refused({ form: { grant_type: '' } }, 'invalid_request', /grant_type/);
});

test('an assertion says why it was not taken, and may be made as libraries make it', async () => {
  const { url } = deployment.broker;
  const open = async (signed: string) => deployment.tokenRequest({ form: await credentials({}, signed) });
  for (const aud of [url, `${url}/oauth/token`, [url, `${url}/oauth/token`], [url]])
    assert.equal((await open(await assertion({ aud }))).status, 200, String(aud));
  assert.equal((await open(await assertion({ exp: seconds() + 3_600 }))).status, 200);
  const cases: [signed: Promise<string>, RegExp][] = [
    [assertion({ exp: seconds() - 60 }), /expired/],
    [assertion({ exp: seconds() + 7_200 }), /3600 s ahead/],
    [assertion({ aud: 'https://other.example.com' }), /for somebody else/],
    [assertion({ aud: [url, 'https://other.example.com'] }), /addressed to others/],
    [assertion({}, strangers), /signature/i],
    [assertion({}, own, 'ES256', 'nobody'), /not listed/],
    [assertion({ jti: undefined }), /claim|missing/i],
  ];
  for (const [signed, words] of cases)
    await refused({ form: await credentials({}, await signed) }, 'invalid_client', words);
  await refused({ form: await credentials({ client_id: 'other-job' }) }, 'invalid_client', /client_id/);
  await refused({ form: await credentials({ client_assertion_type: 'urn:x' }) }, 'invalid_client', /JWT bearer/);
});

test('empty is left out, resource and audience may be repeated, and each must be this broker', async () => {
  const { url } = deployment.broker;
  const send = async (more: [string, string][]) => {
    const form = new URLSearchParams(await credentials({ authorization_details: JSON.stringify([task]) }));
    for (const [name, value] of more) form.append(name, value);
    return deployment.send('POST', '/oauth/token', { body: form });
  };
  const good = await send([
    ['resource', url],
    ['resource', `${url}/`],
    ['audience', url],
    ['scope', ''],
    ['client_secret', ''],
    ['dpop_jkt', ''],
    ['unheard_of', 'x'],
  ]);
  assert.equal(good.status, 200, good.text);
  const other = await send([
    ['resource', url],
    ['resource', 'https://other.example.com'],
  ]);
  assert.deepEqual([other.status, other.body.error], [400, 'invalid_target']);
  const twice = await send([
    ['client_id', 'night-job'],
    ['client_id', 'night-job'],
  ]);
  assert.deepEqual([twice.status, twice.body.error], [400, 'invalid_request']);
});

const task = { type: 'task', task_type: 'answer-invoice-question', inputs: { customer_id: '42' } };

test('the answer says the task as it holds and what it may ask for; scope narrows that', async () => {
  const whole = (await deployment.tokenRequest({ task: { envelope: { wall_time_seconds: 600 } } })).body;
  const names = whole.scope?.split(' ') ?? [];
  assert.ok(names.length > 2);
  const [detail] = whole.authorization_details ?? [];
  assert.deepEqual(detail, { ...task, capabilities: names, envelope: { wall_time_seconds: 600, max_grants: 20 } });
  assert.equal(whole.expires_in, 174);

  const [first, second] = names as [string, string];
  for (const options of [{ form: { scope: `${first} ${second}` } }, { task: { capabilities: [first, second] } }]) {
    const agent = await deployment.openAgent(options);
    assert.equal(agent.opened.scope, `${first} ${second}`);
    assert.equal((await agent.grant({ capability: names[2]! })).status, 403);
  }
  await refused({ form: { scope: `${first} admin` } }, 'invalid_scope', /admin/);
  await refused({ form: { scope: `${first}  ${second}` } }, 'invalid_request', /scope/);
  await refused({ form: { scope: first }, task: { capabilities: [second] } }, 'invalid_scope', /other capabilities/);
  await refused({ task: { capabilities: [first, 'admin'] } }, 'invalid_authorization_details', /capabilities/);
  // A child's scope is its parent's at most.
  const parent = await deployment.openAgent({ form: { scope: first } });
  const child = { subjectToken: parent.token, form: { subject_token_type: accessTokenType, scope: second } };
  await refused(child, 'invalid_scope', /parent/);
  const own = await deployment.tokenRequest({ ...child, form: { ...child.form, scope: first } });
  assert.deepEqual([own.status, own.body.scope], [200, first]);
});

test('a parameter of something else is refused at every endpoint; one that nobody knows is ignored', async () => {
  const agent = await deployment.openAgent();
  const { token } = agent;
  const signed = async () => ({ client_assertion: await assertion(), client_assertion_type: assertionType });
  const server1 = async () => ({
    client_assertion: await assertion({}, server, 'Ed25519', 'orders-api'),
    client_assertion_type: assertionType,
  });
  const send = (path: string, form: { [name: string]: string }, headers: { [name: string]: string } = {}) =>
    deployment.send('POST', path, { body: new URLSearchParams(form), headers });
  const reads = async (path: string, form: { [name: string]: string }, name: string, error = 'invalid_request') => {
    const answer = await send(path, form);
    const paths = (answer.body.errors as { path: string }[] | undefined)?.map((one) => one.path) ?? [name];
    assert.deepEqual([answer.status, answer.body.error, paths], [400, error, [name]], `${path}: ${answer.text}`);
  };
  for (const name of ['subject_token', 'auth_req_id', 'refresh_token', 'code', 'username', 'password', 'request_uri'])
    await refused({ form: { ...(await credentials()), [name]: 'x' } }, 'invalid_request', new RegExp(name));
  for (const name of ['auth_req_id', 'request', 'requested_subject', 'req_cnf', 'assertion'])
    await refused({ form: { [name]: 'x' } }, 'invalid_request', new RegExp(name));
  await refused({ form: { client_id: 'night-job' } }, 'invalid_client', /has a key/);
  assert.equal((await deployment.tokenRequest({ form: { client_id: 'a-label', state: 'x', nonce: 'y' } })).status, 200);
  const poll = { grant_type: 'urn:openid:params:grant-type:ciba', auth_req_id: 'x' };
  for (const name of ['subject_token', 'resume'])
    await reads('/oauth/token', { ...poll, ...(await signed()), [name]: 'x' }, name);

  const ask = async () => ({
    ...(await signed()),
    scope: 'openid',
    login_hint: 'user:approver@example.com',
    authorization_details: JSON.stringify([
      { type: 'task', task_type: 'answer-invoice-question', inputs: { customer_id: '42' } },
      { type: 'grant', capability: 'write-customer-files' },
    ]),
  });
  for (const name of [
    'dpop_jkt',
    'user_code',
    'client_notification_token',
    'actor_token',
    'request',
    'request_uri',
    'id_token_hint',
  ])
    await reads('/oauth/bc-authorize', { ...(await ask()), [name]: 'x' }, name);
  for (const name of ['resource', 'audience'])
    await reads('/oauth/bc-authorize', { ...(await ask()), [name]: 'https://other.example' }, name, 'invalid_target');
  await reads('/oauth/bc-authorize', { ...(await ask()), scope: 'openid read-statements' }, 'scope', 'invalid_scope');
  const proven = await send('/oauth/bc-authorize', await ask(), { dpop: 'junk' });
  assert.deepEqual([proven.status, proven.body.error], [400, 'invalid_dpop_proof'], proven.text);

  for (const path of ['/oauth/introspect', '/oauth/revoke']) {
    for (const authorization of ['Bearer junk', 'Digest x', `Token ${token}`]) {
      const answer = await send(path, { token }, { authorization });
      assert.deepEqual([answer.status, answer.body.error], [401, 'invalid_token'], `${path} ${authorization}`);
    }
    const bare = await send(path, { token }, { authorization: 'Basic' });
    assert.deepEqual([bare.status, bare.body.error], [401, 'invalid_client']);
    await reads(path, { token, scope: 'x' }, 'scope');
    await reads(path, { token, actor_token: 'x' }, 'actor_token');
    const named = await send(path, { token, client_id: 'night-job' }, { authorization: `Bearer ${token}` });
    assert.deepEqual([named.status, named.body.error], [401, 'invalid_client'], named.text);
  }
  const both = await send('/oauth/introspect', { token, ...(await server1()) }, { authorization: `Bearer ${token}` });
  assert.deepEqual([both.status, both.body.error], [400, 'invalid_request'], both.text);
  const withProof = await send('/oauth/introspect', { token, ...(await server1()) }, { dpop: 'junk' });
  assert.deepEqual([withProof.status, withProof.body.error], [400, 'invalid_dpop_proof'], withProof.text);
  const revoking = await send('/oauth/revoke', { token }, { dpop: 'junk' });
  assert.deepEqual([revoking.status, revoking.body.error], [400, 'invalid_dpop_proof'], revoking.text);
  assert.equal(
    (await agent.call('GET', '/v1/session')).body.session.status,
    'active',
    'nothing of it revoked the token',
  );
  assert.equal((await send('/oauth/revoke', { token }, { authorization: `Bearer ${token}` })).status, 200);
});

test('revocation needs no client; one that is named must be the token’s', async () => {
  const agent = await deployment.openAgent();
  const { token } = agent;
  const revoke = (form: { [name: string]: string } = {}, headers: { [name: string]: string } = {}) =>
    deployment.send('POST', '/oauth/revoke', { body: new URLSearchParams({ token, ...form }), headers });
  const signed = (client_assertion: string) => ({ client_assertion, client_assertion_type: assertionType });
  const basic = { authorization: `Basic ${Buffer.from('night-job:secret').toString('base64')}` };
  const once = await assertion();
  await deployment.tokenRequest({ form: await credentials({}, once) });
  for (const [form, headers, status] of [
    [{}, basic, 401],
    [{ client_secret: 'x' }, {}, 400],
    [signed(await assertion({ exp: seconds() - 300 })), {}, 400],
    [signed(await assertion({}, strangers)), {}, 400],
    [signed(await assertion({}, strangers, 'ES256', 'other-job')), {}, 400],
    [signed(once), {}, 400],
    [{ client_assertion_type: assertionType }, {}, 400],
  ] as const) {
    const answer = await revoke(form, headers);
    assert.deepEqual([answer.status, answer.body.error], [status, 'invalid_client'], answer.text);
  }
  const state = async () => (await agent.call('GET', '/v1/session')).body.session.status;
  assert.equal(await state(), 'active');
  assert.equal((await revoke(signed(await assertion({ aud: `${deployment.broker.url}/oauth/revoke` })))).status, 200);
  assert.equal(await state(), 'ended');
  assert.equal((await revoke()).status, 200, 'again, and by nobody in particular');
});

test('introspection: for resource servers with a key of their own; without its key a bound token is alive, no more', async () => {
  const key = await proofKey();
  const bound = await deployment.openAgent({ key });
  const url = `${deployment.broker.url}/oauth/introspect`;
  const ask = async (form: { [name: string]: string }, headers: { [name: string]: string } = {}) =>
    deployment.send('POST', '/oauth/introspect', {
      body: new URLSearchParams({ token: bound.token, ...form }),
      headers,
    });
  const signed = (more = {}) => assertion(more, server, 'Ed25519', 'orders-api');
  const asServer = async (client_assertion: string, more = {}) =>
    ask({ client_assertion, client_assertion_type: assertionType, ...more });

  const told = await asServer(await signed());
  assert.deepEqual(
    [told.status, told.body.active, told.body.sub, told.body.token_type],
    [200, true, 'invoice-bot', 'DPoP'],
  );
  assert.deepEqual((told.body as { cnf?: object }).cnf, { jkt: key.jkt });
  assert.equal((await asServer(await signed({ aud: url }))).body.active, true);
  assert.deepEqual((await asServer(await signed(), { token: 'x' })).body, { active: false });
  const once = await signed();
  await asServer(once);
  const again = await asServer(once);
  assert.deepEqual([again.status, again.body.error], [400, 'invalid_client']);
  // An agent's client is no resource server, and a resource server opens no session.
  assert.equal((await asServer(await assertion())).body.error, 'invalid_client');
  await refused({ form: await credentials({}, await signed()) }, 'invalid_client', /not listed/);

  for (const scheme of ['Bearer', 'DPoP'])
    assert.deepEqual((await ask({}, { authorization: `${scheme} ${bound.token}` })).body, { active: true });
  const prover = (by: typeof key) => prove(by, { method: 'POST', url, at: deployment.clock.now(), token: bound.token });
  const proof = await prover(key);
  const full = await ask({}, { authorization: `DPoP ${bound.token}`, DPoP: proof });
  assert.equal(full.body.sub, 'invoice-bot');
  for (const bad of [proof, await prover(await proofKey())]) {
    const reply = await ask({}, { authorization: `DPoP ${bound.token}`, DPoP: bad });
    assert.deepEqual([reply.status, reply.body.error], [400, 'invalid_dpop_proof'], reply.text);
  }
  const basic = await ask({}, { authorization: 'Basic eDp5' });
  assert.deepEqual(
    [basic.status, basic.body.error, basic.headers.get('www-authenticate')],
    [401, 'invalid_client', 'Basic realm="writ"'],
  );
  const nobody = await ask({});
  assert.deepEqual([nobody.status, nobody.body.error], [401, 'invalid_token']);
  const own = await deployment.openAgent();
  const bearer = await ask({ token: own.token }, { authorization: `Bearer ${own.token}` });
  assert.equal(bearer.body.sub, 'invoice-bot', 'of a token that is bound to no key its holder is told all');
});

test('metadata: what clients require, and whose tokens the API takes (RFC 9728)', async () => {
  const { url } = deployment.broker;
  const resource = (await deployment.send('GET', '/.well-known/oauth-protected-resource')).body as {
    [name: string]: unknown;
  };
  assert.deepEqual([resource.resource, resource.authorization_servers], [url, [url]]);
  const challenge = (await deployment.send('GET', '/v1/session')).headers.get('www-authenticate') ?? '';
  assert.ok(challenge.includes(`resource_metadata="${url}/.well-known/oauth-protected-resource"`), challenge);
  assert.match(challenge, /^DPoP algs="ES256 /);
});
