/**
 * Sessions through the public door (docs/architecture.md, the flow): who may open one, who may use its token,
 * and when it is over.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type CryptoKey,
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  type JSONWebKeySet,
  jwtVerify,
  SignJWT,
} from 'jose';
import * as oauth from 'openid-client';
import { startBroker } from '../broker/compose/start.ts';
import { testBackends } from '../broker/store/store.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import {
  type Agent,
  accessTokenType,
  type Deployment,
  type ProofKey,
  proofKey,
  prove,
  startDeployment,
} from './deployment.test-support.ts';
import { freePort } from './free-port.ts';

let deployment: Deployment;
let clientKey: CryptoKey;
before(async () => {
  const pair = await generateKeyPair('ES256', { extractable: true });
  clientKey = pair.privateKey;
  const jwk = JSON.stringify(await exportJWK(pair.publicKey));
  deployment = await startDeployment({
    trust: (source) => `${source}
  - { issuer: sandbox-ci, agent: invoice-bot, claims: { repository_id: "4712" } }
  - { issuer: sandbox-ci, agent: other-bot, claims: { repository_id: "4712" } }
clients:
  - { client_id: night-job, agent: invoice-bot, jwks: { keys: [${jwk}] } }
`,
  });
});
after(() => deployment.close());

const tokenUrl = () => `${deployment.broker.url}/oauth/token`;
const seconds = () => Math.floor(deployment.clock.now().getTime() / 1000);

async function refusedOpening(options: Parameters<Deployment['tokenRequest']>[0], code: string): Promise<void> {
  const reply = await deployment.tokenRequest(options);
  assert.ok(reply.status >= 400 && reply.status < 500, reply.text);
  assert.equal(reply.body.error, code, reply.text);
  assert.equal(reply.body.access_token, undefined);
}

test('a platform token opens one session, for one agent', async () => {
  const subjectToken = await deployment.world.subjectToken();
  const agent = await deployment.openAgent({ subjectToken });
  assert.deepEqual(
    [agent.opened.token_type, agent.opened.issued_token_type, agent.opened.heartbeat_seconds],
    ['Bearer', accessTokenType, 60],
  );
  await refusedOpening({ subjectToken }, 'invalid_grant');
  await refusedOpening(
    { subjectToken: await deployment.world.subjectToken({ repository_id: '4712' }) },
    'invalid_grant',
  );
  await refusedOpening(
    { subjectToken: await deployment.world.subjectToken({ repository_id: '14711' }) },
    'invalid_grant',
  );
  await refusedOpening(
    { subjectToken: await deployment.world.subjectToken({ environment: 'production2' }) },
    'invalid_grant',
  );
  // A session token is not a platform's token.
  await refusedOpening({ subjectToken: agent.token }, 'invalid_grant');
});

test('the refusals are on record, with a hash of the token and never the token', async () => {
  const subjectToken = await deployment.world.subjectToken({ repository_id: '4712' });
  const reply = await deployment.tokenRequest({ subjectToken });
  const events = await deployment.broker.store.prisma.auditEvent.findMany({
    where: { requestId: reply.headers.get('x-request-id') },
  });
  assert.deepEqual(
    events.map((event) => [event.type, (event.payload as { reason: string }).reason]),
    [['session.refused', 'ambiguous_binding']],
  );
  assert.ok(!JSON.stringify(events).includes(subjectToken));
});

test('the task is declared once, checked against the manifest, and cannot be widened', async () => {
  const cases: [task: { [member: string]: unknown }, path: string][] = [
    [{ task_type: 'no-such-task' }, 'authorization_details[0].task_type'],
    [{ task_type: undefined }, 'authorization_details[0].task_type'],
    [{ inputs: {} }, 'authorization_details[0].inputs.customer_id'],
    [{ inputs: { customer_id: '../43' } }, 'authorization_details[0].inputs.customer_id'],
    [{ inputs: { customer_id: 42 } }, 'authorization_details[0].inputs.customer_id'],
    [{ inputs: { customer_id: '42', more: 'x' } }, 'authorization_details[0].inputs.more'],
    [{ capabilities: ['read-statements', 'no-such'] }, 'authorization_details[0].capabilities[1]'],
    [{ envelope: { wall_time_seconds: 0 } }, 'authorization_details[0].envelope.wall_time_seconds'],
    [{ admin: true }, 'authorization_details[0].admin'],
    [{ type: 'other' }, 'authorization_details[0].type'],
  ];
  for (const [task, path] of cases) {
    const reply = await deployment.tokenRequest({ task });
    assert.equal(reply.status, 400, path);
    assert.equal(reply.body.error, 'invalid_authorization_details', reply.text);
    assert.ok(
      reply.body.errors?.some((fault) => fault.path === path),
      reply.text,
    );
  }
  const wide = await deployment.openAgent({
    task: { envelope: { wall_time_seconds: 604_800, max_grants: 1_000_000 } },
  });
  assert.equal(Date.parse(wide.opened.session_expires_at) - deployment.clock.now().getTime(), 1_800_000);
  assert.equal((await wide.call('GET', '/v1/session')).body.session.grants_left, 20);
});

test('a platform’s token opens sessions for the key that showed it first, and for no other', async () => {
  const subjectToken = await deployment.world.subjectToken();
  const [own, thief] = [await proofKey(), await proofKey()];
  await deployment.openAgent({ subjectToken, key: own });
  await deployment.openAgent({ subjectToken, key: own });
  const proof = (key: typeof own) => prove(key, { method: 'POST', url: tokenUrl(), at: deployment.clock.now() });
  await refusedOpening({ subjectToken, headers: { DPoP: await proof(thief) } }, 'invalid_grant');
  await refusedOpening({ subjectToken }, 'invalid_grant');
  await deployment.openAgent({ subjectToken, key: own });
});

test('private_key_jwt: for the client itself, once', async () => {
  const assertion = (claims: { [claim: string]: unknown } = {}, key = clientKey) =>
    new SignJWT({
      jti: randomUUID(),
      iss: 'night-job',
      sub: 'night-job',
      aud: tokenUrl(),
      exp: seconds() + 60,
      ...claims,
    })
      .setProtectedHeader({ alg: 'ES256' })
      .sign(key);
  const form = (client_assertion: string) => ({
    grant_type: 'client_credentials',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion,
  });
  const good = await assertion();
  const agent = await deployment.openAgent({ form: form(good) });
  assert.equal((await agent.call('GET', '/v1/session')).status, 200);
  await refusedOpening({ form: form(good) }, 'invalid_client');
  const { privateKey: thief } = await generateKeyPair('ES256');
  for (const bad of [
    await assertion({}, thief),
    await assertion({ sub: 'other' }),
    await assertion({ aud: 'https://other.example.com' }),
    await assertion({ exp: seconds() - 120 }),
    await assertion({ jti: undefined }),
    'not.a.token',
  ])
    await refusedOpening({ form: form(bad) }, 'invalid_client');
});

test('DPoP: the token is of use only with its key, and each proof once, here and now', async () => {
  const key = await proofKey();
  const thief = await proofKey();
  const agent = await deployment.openAgent({ key });
  assert.equal(agent.opened.token_type, 'DPoP');
  assert.deepEqual(decodeJwt(agent.token).cnf, { jkt: key.jkt });
  assert.equal((await agent.call('GET', '/v1/session')).status, 200);

  const url = `${deployment.broker.url}/v1/session`;
  const right = { method: 'GET', url, at: deployment.clock.now(), token: agent.token };
  const late = (ms: number) => new Date(deployment.clock.now().getTime() + ms);
  const get = (proof: string | null, scheme = 'DPoP') =>
    deployment.send('GET', '/v1/session', {
      headers: { authorization: `${scheme} ${agent.token}`, ...(proof === null ? {} : { DPoP: proof }) },
    });
  const cases: { [why: string]: Promise<string | null> } = {
    'no proof': Promise.resolve(null),
    'another key': prove(thief, right),
    stale: prove(key, { ...right, at: late(-61_000) }),
    'from the future': prove(key, { ...right, at: late(61_000) }),
    'another method': prove(key, { ...right, method: 'POST' }),
    'another address': prove(key, { ...right, url: `${deployment.broker.url}/v1/session/end` }),
    'another host': prove(key, { ...right, url: 'http://127.0.0.1:1/v1/session' }),
    'another token': prove(key, { ...right, token: 'x' }),
    'no hash of the token': prove(key, { method: 'GET', url, at: deployment.clock.now() }),
    'no jti': prove(key, right, { jti: '' }),
    'two proofs': Promise.all([prove(key, right), prove(key, right)]).then((both) => both.join(', ')),
    'not a proof': Promise.resolve('x.y.z'),
  };
  for (const [why, proof] of Object.entries(cases)) {
    const reply = await get(await proof);
    assert.deepEqual([reply.status, reply.body.code], [401, 'invalid_dpop_proof'], why);
    assert.match(reply.headers.get('www-authenticate') ?? '', /^DPoP/, why);
  }
  const proof = await prove(key, right);
  const both = await Promise.all([get(proof), get(proof)]);
  assert.deepEqual(
    both.map((reply) => reply.status).sort(),
    [200, 401],
    'a proof holds once, also of two at the same time',
  );
  assert.equal((await get(proof)).status, 401);
  assert.equal((await get(await prove(key, right), 'Bearer')).status, 401, 'a bound token is no bearer token');
  // A bearer token does not become a bound one by being called so.
  const bearer = await deployment.openAgent();
  const posing = await deployment.send('GET', '/v1/session', {
    headers: {
      authorization: `DPoP ${bearer.token}`,
      DPoP: await prove(key, { ...right, token: bearer.token }),
    },
  });
  assert.equal(posing.status, 401);
  // The proof that opened one session opens no other.
  const opening = await prove(key, { method: 'POST', url: tokenUrl(), at: deployment.clock.now() });
  assert.equal((await deployment.tokenRequest({ headers: { DPoP: opening } })).status, 200);
  await refusedOpening({ headers: { DPoP: opening } }, 'invalid_dpop_proof');
  await refusedOpening({ headers: { DPoP: await prove(key, { ...right, url: tokenUrl() }) } }, 'invalid_dpop_proof');
});

test('a heartbeat gives the next token, never one past the envelope', async () => {
  const agent = await deployment.openAgent({ task: { envelope: { wall_time_seconds: 400 } } });
  const end = Math.floor(Date.parse(agent.opened.session_expires_at) / 1000);
  // Without a call it would end before the token does.
  assert.equal(agent.opened.expires_in, 174);
  const old = agent.token;
  for (const left of [174, 100]) {
    deployment.clock.advance(150_000);
    const beat = await agent.call('POST', '/v1/session/heartbeat');
    assert.equal(beat.status, 200, beat.text);
    assert.equal(beat.body.expires_in, left);
    assert.ok((decodeJwt(beat.body.access_token).exp ?? 0) <= end);
    agent.token = beat.body.access_token;
  }
  const withOld = await deployment.send('GET', '/v1/session', { headers: { authorization: `Bearer ${old}` } });
  assert.equal(withOld.status, 401, 'the first token has expired');
  deployment.clock.advance(100_000);
  assert.equal((await agent.call('POST', '/v1/session/heartbeat')).status, 401);
  const { store } = deployment.broker;
  await until('the envelope ends the session', async () => {
    const row = await store.prisma.session.findUniqueOrThrow({ where: { id: agent.sessionId } });
    return row.status === 'ended' && row.endReason === 'envelope_spent';
  });
});

async function githubAccepts(token: string | undefined): Promise<boolean> {
  const response = await fetch(
    `${deployment.world.github.url}/repos/example-org/orders/contents/docs/invoice-policy.md`,
    {
      headers: { authorization: `Bearer ${token}`, 'user-agent': 'test' },
    },
  );
  await response.body?.cancel();
  return response.ok;
}

async function githubToken(agent: Agent): Promise<string> {
  const reply = await agent.grant({ capability: 'read-policy-repository' });
  assert.equal(reply.status, 201, reply.text);
  const { token } = reply.body.credential;
  assert.ok(await githubAccepts(token));
  return token ?? '';
}

test('three missed heartbeats end the session and everything it held', async () => {
  const agent = await deployment.openAgent();
  const credential = await githubToken(agent);
  // Any call is one.
  deployment.clock.advance(100_000);
  assert.equal((await agent.call('GET', '/v1/session')).body.session.status, 'active');
  deployment.clock.advance(181_000);
  const late = await agent.grant({ capability: 'read-policy-repository' });
  assert.deepEqual([late.status, late.body.code], [401, 'session_ended']);
  await until('the credential is revoked', async () => {
    const { body } = await agent.call('GET', '/v1/session');
    return body.session.end_reason === 'heartbeat_missed' && body.leases.every((lease) => lease.status === 'revoked');
  });
  assert.equal(await githubAccepts(credential), false);
});

/** Asks for a child of `parent`, the request proven with `prover`. */
async function childRequest(
  parent: Agent,
  capabilities: string[] | undefined,
  options: { prover?: ProofKey; form?: { [name: string]: string }; task?: { [member: string]: unknown } } = {},
) {
  return deployment.tokenRequest({
    subjectToken: parent.token,
    form: { subject_token_type: accessTokenType, ...options.form },
    task: { ...(capabilities === undefined ? {} : { capabilities }), ...options.task },
    ...(options.prover === undefined ? {} : { key: options.prover }),
  });
}

test('a child session: fewer capabilities, a sooner end, its actors named, its own key', async () => {
  const key = await proofKey();
  const childKey = await proofKey();
  const parent = await deployment.openAgent({ key });
  const reply = await childRequest(parent, ['read-policy-repository'], {
    prover: key,
    form: { dpop_jkt: childKey.jkt },
    task: { envelope: { wall_time_seconds: 604_800, max_grants: 3 } },
  });
  assert.equal(reply.status, 200, reply.text);
  const child = deployment.agentOf(reply.body, childKey);
  assert.equal(child.opened.session_expires_at, parent.opened.session_expires_at, 'not a second longer');
  const claims = decodeJwt(child.token);
  assert.deepEqual(claims.cnf, { jkt: childKey.jkt });
  assert.deepEqual(claims.act, {
    sub: `invoice-bot/${child.sessionId}`,
    act: { sub: `invoice-bot/${parent.sessionId}` },
  });
  assert.equal((await child.grant({ capability: 'read-policy-repository' })).status, 201);
  assert.equal((await child.grant({ capability: 'read-statements' })).status, 403, 'not among its capabilities');
  // The parent's key is not the child's, and the child's grants are not the parent's to redeem.
  const posing = deployment.agentOf(reply.body, key);
  assert.equal((await posing.call('GET', '/v1/session')).status, 401);

  const grandchildOf = (capabilities: string[]) =>
    childRequest(child, capabilities, { prover: childKey, task: { envelope: { max_grants: 1 } } });
  assert.equal((await grandchildOf(['read-statements'])).status, 400, 'not more than its parent may');
  const grandchild = await grandchildOf(['read-policy-repository']);
  assert.equal(grandchild.status, 200, grandchild.text);
  const act = decodeJwt(grandchild.body.access_token).act as { act: { act: object } };
  assert.deepEqual(act.act.act, { sub: `invoice-bot/${parent.sessionId}` });

  // Ending the parent ends all below it.
  const credential = await githubToken(child);
  assert.equal((await parent.call('POST', '/v1/session/end')).status, 200);
  const orphan = await child.grant({ capability: 'read-policy-repository' });
  assert.deepEqual([orphan.status, orphan.body.code], [401, 'session_ended']);
  assert.equal((await childRequest(child, ['read-policy-repository'], { prover: childKey })).status, 400);
  await until('what the child held is revoked', async () => !(await githubAccepts(credential)));
  const ended = await deployment.broker.store.prisma.session.findUniqueOrThrow({
    where: { id: grandchild.body.session_id },
  });
  assert.deepEqual([ended.status, ended.endReason], ['ended', 'parent_ended']);
});

test('a child cannot be stolen, widened or moved to another task', async () => {
  const key = await proofKey();
  const thief = await proofKey();
  const parent = await deployment.openAgent({ key });
  const one = ['read-statements'];
  const attempts: { [why: string]: Promise<{ status: number; text: string }> } = {
    'the token alone': childRequest(parent, one),
    'the thief’s key': childRequest(parent, one, { prover: thief }),
    'the thief’s key, named as the child’s': childRequest(parent, one, {
      prover: thief,
      form: { dpop_jkt: thief.jkt },
    }),
    'the token alone, naming a key': childRequest(parent, one, { form: { dpop_jkt: thief.jkt } }),
    'no capabilities': childRequest(parent, undefined, { prover: key }),
    'an empty list': childRequest(parent, [], { prover: key }),
    'a capability that is not': childRequest(parent, ['drop-everything'], { prover: key }),
    'a member of every object': childRequest(parent, ['__proto__'], { prover: key }),
    'another customer': childRequest(parent, one, { prover: key, task: { inputs: { customer_id: '43' } } }),
    'another task': childRequest(parent, one, { prover: key, task: { task_type: 'other-task' } }),
    'on behalf of another': childRequest(parent, one, { prover: key, task: { on_behalf_of: 'user:a@example.com' } }),
  };
  for (const [why, attempt] of Object.entries(attempts)) {
    const reply = await attempt;
    assert.ok(reply.status >= 400 && reply.status < 500, `${why}: ${reply.text}`);
    assert.ok(!reply.text.includes('access_token'), why);
  }
  assert.equal(await deployment.broker.store.prisma.session.count({ where: { parentId: parent.sessionId } }), 0);
});

test('children share the envelope: neither the number of grants nor that of a capability begins anew', async () => {
  const parent = await deployment.openAgent({ task: { envelope: { max_grants: 4 } } });
  const open = async (max_grants: number) => {
    const reply = await childRequest(parent, ['read-policy-repository'], { task: { envelope: { max_grants } } });
    return reply.status === 200 ? deployment.agentOf(reply.body) : null;
  };
  const child = await open(2);
  assert.ok(child !== null);
  const ask = async (agent: Agent) => (await agent.grant({ capability: 'read-policy-repository' })).status;
  assert.deepEqual([await ask(child), await ask(child), await ask(child)], [201, 201, 403]);
  assert.deepEqual([await ask(parent), await ask(parent), await ask(parent)], [201, 201, 403]);
  const late = await open(1);
  assert.equal(late === null ? 403 : await ask(late), 403, 'nothing is left to hand on');

  const source = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
  const limited = source.replace(/(provider: github\n)/, '$1    max_grants: 2\n');
  assert.notEqual(limited, source);
  try {
    assert.equal((await deployment.publish('invoice-bot', limited)).status, 200);
    const root = await deployment.openAgent();
    const statuses = [await ask(root)];
    for (let i = 0; i < 3; i += 1) {
      const reply = await childRequest(root, ['read-policy-repository'], { task: { envelope: { max_grants: 2 } } });
      statuses.push(await ask(deployment.agentOf(reply.body)));
    }
    assert.deepEqual(statuses, [201, 201, 403, 403]);
    assert.equal(await ask(root), 403);
  } finally {
    assert.equal((await deployment.publish('invoice-bot', source)).status, 200);
  }
});

test('a standard client finds the broker, introspects and revokes', async () => {
  const admin: oauth.ClientAuth = (_server, _client, _body, headers) =>
    headers.set('authorization', `Bearer ${deployment.admin}`);
  const issuer = new URL(deployment.broker.url);
  const insecure = { execute: [oauth.allowInsecureRequests] };
  const config = await oauth.discovery(issuer, 'admin', undefined, admin, { ...insecure, algorithm: 'oauth2' });
  const metadata = config.serverMetadata();
  assert.equal(metadata.issuer, deployment.broker.url);
  for (const member of ['token_endpoint', 'introspection_endpoint', 'revocation_endpoint', 'jwks_uri'] as const)
    assert.ok(metadata[member]?.startsWith(`${deployment.broker.url}/`), member);
  const openId = (await oauth.discovery(issuer, 'admin', undefined, admin, insecure)).serverMetadata();
  assert.deepEqual(openId.id_token_signing_alg_values_supported, ['ES256', 'RS256']);
  assert.deepEqual(openId.subject_types_supported, ['public']);

  const key = await proofKey();
  const agent = await deployment.openAgent({ key });
  const alive = await oauth.tokenIntrospection(config, agent.token);
  assert.deepEqual(
    [alive.active, alive.sub, alive.client_id, alive.token_type, alive.cnf, alive.aud],
    [true, 'invoice-bot', 'invoice-bot', 'DPoP', { jkt: key.jkt }, deployment.broker.url],
  );
  assert.equal(alive.exp, decodeJwt(agent.token).exp);
  assert.deepEqual(await oauth.tokenIntrospection(config, 'not-a-token'), { active: false });
  assert.deepEqual(await oauth.tokenIntrospection(config, await deployment.world.subjectToken()), { active: false });
  const nobody = await deployment.send('POST', '/oauth/introspect', {
    body: new URLSearchParams({ token: agent.token }),
  });
  assert.equal(nobody.status, 401, 'a token found on the street says nothing');

  await oauth.tokenRevocation(config, agent.token);
  assert.deepEqual(await oauth.tokenIntrospection(config, agent.token), { active: false });
  assert.equal((await agent.grant({ capability: 'read-statements' })).status, 401);
  assert.equal((await agent.call('GET', '/v1/session')).body.session.end_reason, 'token_revoked');
  await oauth.tokenRevocation(config, agent.token);
  await oauth.tokenRevocation(config, 'not-a-token');
});

test('the access token is one by RFC 9068, verified with the published keys alone', async () => {
  const agent = await deployment.openAgent();
  const { payload, protectedHeader } = await jwtVerify(
    agent.token,
    createRemoteJWKSet(new URL(`${deployment.broker.url}/.well-known/jwks.json`)),
    {
      issuer: deployment.broker.url,
      audience: deployment.broker.url,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      currentDate: deployment.clock.now(),
      requiredClaims: ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti'],
    },
  );
  assert.equal(protectedHeader.typ, 'at+jwt');
  assert.equal(payload.sub, 'invoice-bot');
  assert.ok((payload.exp ?? 0) - (payload.iat ?? 0) >= agent.opened.expires_in);
  assert.equal(payload.sid, agent.sessionId);
  const jwks = (await deployment.send('GET', '/.well-known/jwks.json')).body as unknown as JSONWebKeySet;
  const members = { EC: ['crv', 'x', 'x5c', 'y'], RSA: ['e', 'n'] };
  for (const key of jwks.keys)
    assert.deepEqual(
      Object.keys(key).toSorted(),
      ['alg', 'kid', 'kty', 'use', ...members[key.kty as 'EC' | 'RSA']].toSorted(),
    );
});

test('tokens that are not ours, or not for this: refused', async () => {
  const agent = await deployment.openAgent();
  const [header, body, signature] = agent.token.split('.') as [string, string, string];
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const payload = decodeJwt(agent.token);
  const { kid } = decodeProtectedHeader(agent.token);
  const { privateKey } = await generateKeyPair('ES256');
  const forged = (head: object, claims: object = payload) =>
    new SignJWT({ ...claims }).setProtectedHeader(head as never).sign(privateKey);
  const decision = (await agent.grant({ capability: 'read-policy-repository' })).body.decision;
  for (const token of [
    `${encode({ alg: 'none', typ: 'at+jwt', kid })}.${body}.`,
    `${header}.${body}.`,
    `${header}.${encode({ ...payload, sid: 'ses_00000000000000000000' })}.${signature}`,
    await forged({ alg: 'ES256', typ: 'at+jwt', kid }),
    await forged({ alg: 'ES256', typ: 'at+jwt', kid: 'unknown' }),
    await forged({ alg: 'ES256', typ: 'at+jwt', jwk: { kty: 'EC' } }),
    // Signed with our own key, but a decision and not a session's token.
    decision,
    await deployment.world.subjectToken(),
    deployment.admin,
    `${agent.token}.x`,
    '',
  ]) {
    const reply = await deployment.send('GET', '/v1/session', { headers: { authorization: `Bearer ${token}` } });
    assert.deepEqual([reply.status, reply.body.code], [401, 'unauthenticated'], token.slice(0, 40));
  }
});

const postgres = (await testBackends()).includes('postgres');
test('WRIT_REQUIRE_DPOP; and keys that change while two processes serve', {
  skip: postgres ? false : 'PostgreSQL does not answer',
}, async () => {
  const one = await startDeployment({
    backend: 'postgres',
    env: { WRIT_REQUIRE_DPOP: '1', WRIT_KEY_LEAD_SECONDS: '40' },
  });
  const port = await freePort();
  const two = await startBroker({ ...one.env, PORT: String(port), WRIT_LOG_LEVEL: 'silent' }, { clock: one.clock });
  try {
    const bare = await one.tokenRequest();
    assert.deepEqual([bare.status, bare.body.error], [400, 'invalid_dpop_proof']);
    const key = await proofKey();
    const agent = await one.openAgent({ key });
    const first = agent.token;
    const kidOf = (token: string) => decodeProtectedHeader(token).kid;
    const ports = [one.broker.url, `http://127.0.0.1:${port}`];
    const published = async (base: string) => {
      const response = await fetch(`${base}/.well-known/jwks.json`);
      const { keys } = (await response.json()) as JSONWebKeySet;
      return { keys: keys.filter(({ alg }) => alg === 'ES256') };
    };
    const works = async (base: string, token: string) => {
      const proof = await prove(key, {
        method: 'GET',
        url: `${one.broker.url}/v1/session`,
        at: one.clock.now(),
        token,
      });
      const headers = { authorization: `DPoP ${token}`, DPoP: proof };
      const response = await fetch(`${base}/v1/session`, { headers });
      await response.body?.cancel();
      return response.status === 200;
    };
    const beat = async () => {
      const reply = await agent.call('POST', '/v1/session/heartbeat');
      assert.equal(reply.status, 200, reply.text);
      agent.token = reply.body.access_token;
    };

    const rotated = await one.asAdmin('POST', '/v1/admin/keys/rotate');
    assert.equal(rotated.status, 200, rotated.text);
    const ring = await one.broker.store.prisma.signingKey.findMany({
      where: { publicJwk: { path: ['alg'], equals: 'ES256' } },
      orderBy: { activeFrom: 'asc' },
    });
    const [oldKid, newKid] = ring.map((row) => row.kid);
    await beat();
    assert.equal(kidOf(agent.token), oldKid, 'published first, used later');
    one.clock.advance(31_000);
    await until('the other process publishes both', async () => (await published(ports[1]!)).keys.length === 2);
    one.clock.advance(10_000);
    await beat();
    assert.equal(kidOf(agent.token), newKid);
    for (const base of ports) {
      assert.ok(await works(base, first), 'the old key’s token holds until it expires');
      assert.ok(await works(base, agent.token), 'and the new key’s too');
      const keys = createLocalJWKSet(await published(base));
      for (const token of [first, agent.token]) await jwtVerify(token, keys, { currentDate: one.clock.now() });
    }
    for (let i = 0; i < 3; i += 1) {
      one.clock.advance(110_000);
      await beat();
    }
    for (const base of ports) {
      assert.deepEqual(
        (await published(base)).keys.map((jwk) => jwk.kid),
        [newKid],
        'when its last token has expired the old key is gone',
      );
      assert.equal(await works(base, first), false);
      assert.ok(await works(base, agent.token));
    }
  } finally {
    await two.stop();
    await one.close();
  }
});

test('GET /v1/session is given in pages of a bounded size', async () => {
  const agent = await deployment.openAgent();
  for (let n = 0; n < 3; n += 1) await agent.grant({ capability: 'read-policy-repository' });
  const first = await agent.call('GET', '/v1/session?limit=2');
  assert.equal(first.status, 200, first.text);
  const { next } = first.body as unknown as { next: string | null };
  assert.equal(typeof next, 'string');
  const last = await agent.call('GET', `/v1/session?limit=2&after=${next}`);
  const idsOf = ({ body }: typeof first) =>
    (body as unknown as { leases: { id: string }[] }).leases.map(({ id }) => id);
  assert.deepEqual([idsOf(first).length, idsOf(last).length], [2, 1]);
  assert.equal(new Set([...idsOf(first), ...idsOf(last)]).size, 3);
  assert.equal((last.body as unknown as { next: string | null }).next, null);
  for (const query of ['limit=0', 'limit=501', 'limit=x', 'after=x', 'after=', 'page=2']) {
    assert.equal((await agent.call('GET', `/v1/session?${query}`)).status, 400, query);
  }
  const ended = await agent.call('POST', '/v1/session/end?limit=1');
  assert.equal(idsOf(ended).length, 1);
  assert.equal((await agent.call('GET', `/v1/session?after=${next}`)).status, 200, 'after its end too');
});
