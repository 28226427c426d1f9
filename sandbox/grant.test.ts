/**
 * Grants through the public door (docs/architecture.md, the flow): every shape of answer, every bound, and
 * the attacker who owns the agent.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { compactDecrypt, decodeProtectedHeader, exportJWK, generateKeyPair } from 'jose';
import { Registry } from 'prom-client';
import { WritError } from '../broker/core/errors.ts';
import { createLog } from '../broker/core/log.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { signDecision } from '../broker/decide/sign-decision.ts';
import { deriveKey } from '../broker/keys/key-encryption-key.ts';
import { openKeyRing } from '../broker/keys/ring.ts';
import { createSeal } from '../broker/keys/seal.ts';
import { issueLease } from '../broker/leases/issue.ts';
import { createLeaseMetrics } from '../broker/leases/metrics.ts';
import { until } from '../broker/until.test-support.ts';
import { github } from '../providers/github/index.ts';
import { type Agent, type Approver, type Deployment, type Reply, startDeployment } from './deployment.test-support.ts';

let deployment: Deployment;
let approver: Approver;
let source: string;
before(async () => {
  deployment = await startDeployment({
    poolSize: 6,
    env: { WRIT_AWS_REVOKE_LAG_SECONDS: '0', WRIT_GCP_REVOKE_LAG_SECONDS: '0' },
  });
  approver = await deployment.approver();
  source = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
});
after(() => deployment.close());

/** What the clouds were asked so far. */
const upstream = () =>
  deployment.world.aws.requests() + deployment.world.github.requests() + deployment.world.gcp.requests();

/** Sessions minted for agents; the broker's own, with which it revokes, come and go by themselves. */
const awsSessions = () =>
  deployment.world.aws.sessions().filter(({ sourceIdentity }) => sourceIdentity !== null).length;

const carries = (reply: Reply, member: string) => member in reply.body;

async function parked(agent: Agent, body: { [member: string]: unknown } = {}): Promise<string> {
  const reply = await agent.grant({ capability: 'correct-customer-invoice', ...body });
  assert.equal(reply.status, 202, reply.text);
  return reply.body.id;
}

async function approved(agent: Agent, body: { [member: string]: unknown } = {}): Promise<string> {
  const id = await parked(agent, body);
  await approver.decide(id, { verdict: 'approve' });
  assert.equal((await agent.call('GET', `/v1/grants/${id}`)).body.status, 'approved');
  return id;
}

const redeem = (agent: Agent, id: string, body?: unknown) => agent.call('POST', `/v1/grants/${id}/redeem`, body);

/** Lets time pass while the agent keeps saying that it lives. */
async function live(agent: Agent, seconds: number): Promise<void> {
  for (let left = seconds; left > 0; left -= 100) {
    deployment.clock.advance(Math.min(left, 100) * 1000);
    const beat = await agent.call('POST', '/v1/session/heartbeat');
    assert.equal(beat.status, 200, beat.text);
    agent.token = beat.body.access_token;
  }
}

const leaseOf = async (agent: Agent, grantId: string) =>
  (await agent.call('GET', '/v1/session')).body.leases.find((lease) => lease.grant_id === grantId);

test('201: the credential, the plan it was cut to, and no cache may keep it', async () => {
  const agent = await deployment.openAgent();
  const shapes = {
    'read-customer-files': ['type', 'access_key_id', 'secret_access_key', 'session_token', 'expiration'],
    'read-policy-repository': ['type', 'token', 'api_url', 'expires_at'],
    'read-statements': ['type', 'access_token', 'expires_at'],
  };
  for (const [capability, members] of Object.entries(shapes)) {
    const reply = await agent.grant({ capability });
    assert.equal(reply.status, 201, reply.text);
    assert.equal(reply.headers.get('cache-control'), 'no-store');
    assert.equal(reply.headers.get('location'), `/v1/grants/${reply.body.id}`);
    assert.match(reply.headers.get('x-request-id') ?? '', /^req_/);
    for (const name of members) assert.equal(typeof reply.body.credential[name], 'string', name);
    const { digest, ...plan } = reply.body.plan;
    assert.equal(digest, planDigest(plan as never));
    assert.equal(decodeProtectedHeader(reply.body.decision).alg, 'ES256');
    assert.equal(reply.body.lease.status, 'active');

    const read = await agent.call('GET', `/v1/grants/${reply.body.id}`);
    assert.equal(read.status, 200);
    assert.equal(read.body.status, 'issued');
    assert.ok(!carries(read, 'credential') && !carries(read, 'decision'), 'read again, it is not there');
  }
});

test('202: parked, with where to look, when to come back, and the approver’s link', async () => {
  const agent = await deployment.openAgent();
  const before = upstream();
  const reply = await agent.grant({ capability: 'correct-customer-invoice', justification: '<b>now</b>' });
  assert.equal(reply.status, 202);
  assert.equal(reply.headers.get('location'), `/v1/grants/${reply.body.id}`);
  assert.ok(Number(reply.headers.get('retry-after')) > 0);
  assert.equal(reply.body.approval_url, `${deployment.broker.url}/approvals/${reply.body.id}`);
  assert.equal(Date.parse(reply.body.decide_by) - deployment.clock.now().getTime(), 300_000);
  assert.ok(!carries(reply, 'credential'));
  const early = await redeem(agent, reply.body.id);
  assert.deepEqual([early.status, early.body.code], [409, 'not_approved']);
  assert.equal(upstream(), before, 'no provider was asked before a person decided');
  // The long poll answers when its time is over, and at once when somebody has decided.
  const waiting = agent.call('GET', `/v1/grants/${reply.body.id}?wait=30`);
  await approver.decide(reply.body.id, { verdict: 'deny', reason: 'not today' });
  deployment.clock.advance(1000);
  assert.equal((await waiting).body.status, 'denied');
  const refused = await redeem(agent, reply.body.id);
  assert.deepEqual([refused.status, refused.body.code], [403, 'denied']);
  assert.deepEqual(refused.body.reasons?.[0]?.code, 'denied_by_approver');
});

test('403: reasons a machine can read, and a nearest request that really passes', async () => {
  const agent = await deployment.openAgent();
  const reply = await agent.grant({ capability: 'read-customer-files', params: { bucket: 'payroll' } });
  assert.equal(reply.status, 403);
  assert.match(reply.headers.get('content-type') ?? '', /^application\/problem\+json/);
  assert.equal(reply.body.code, 'denied');
  assert.equal(reply.body.reasons?.[0]?.path, 'params.bucket');
  assert.ok(reply.body.nearest !== undefined);
  assert.equal(reply.body.nearest.params.bucket, 'orders');
  const nearest = await agent.grant({ ...reply.body.nearest });
  assert.equal(nearest.status, 201, nearest.text);
  assert.equal(nearest.body.ttl_seconds, reply.body.nearest.ttl_seconds);
  // Where a person must decide there is nothing that policy alone would pass.
  const tier2 = await agent.grant({ capability: 'correct-customer-invoice', params: { bucket: 'payroll' } });
  assert.equal(tier2.status, 403);
  assert.equal(tier2.body.nearest, undefined);
});

test('Idempotency-Key: the same body is the same grant without a second credential; another body is refused', async () => {
  const agent = await deployment.openAgent();
  const headers = { 'idempotency-key': randomUUID() };
  const first = await agent.grant({ capability: 'read-policy-repository', ttl_seconds: 300 }, headers);
  assert.equal(first.status, 201);
  const minted = upstream();
  // Another order of members is the same body.
  const again = await agent.grant({ ttl_seconds: 300, capability: 'read-policy-repository' }, headers);
  assert.deepEqual([again.status, again.body.id, again.body.status], [200, first.body.id, 'issued']);
  assert.ok(!again.text.includes(first.body.credential.token ?? 'no token'));
  assert.ok(!carries(again, 'credential'));
  const other = await agent.grant({ capability: 'read-policy-repository', ttl_seconds: 301 }, headers);
  assert.deepEqual([other.status, other.body.code], [422, 'idempotency_mismatch']);
  assert.equal(upstream(), minted);
  // A key is its session's own: another session's use of it is another grant.
  const stranger = await deployment.openAgent();
  const theirs = await stranger.grant({ capability: 'read-policy-repository', ttl_seconds: 300 }, headers);
  assert.equal(theirs.status, 201);
  assert.notEqual(theirs.body.id, first.body.id);

  const pendingKey = { 'idempotency-key': randomUUID() };
  const pending = await agent.grant({ capability: 'correct-customer-invoice' }, pendingKey);
  const pendingAgain = await agent.grant({ capability: 'correct-customer-invoice' }, pendingKey);
  assert.deepEqual([pendingAgain.status, pendingAgain.body.id], [202, pending.body.id]);

  const deniedKey = { 'idempotency-key': randomUUID() };
  const ask = () => agent.grant({ capability: 'read-customer-files', params: { bucket: 'payroll' } }, deniedKey);
  const denied = [await ask(), await ask()];
  assert.ok(
    denied.every((reply) => !carries(reply, 'credential')),
    'denied stays denied',
  );
  assert.equal(denied[1]?.body.status === 'denied' || denied[1]?.status === 403, true);
});

test('eight requests under one key at once: one mint, one credential', async () => {
  const agent = await deployment.openAgent();
  const before = deployment.world.github.liveTokens();
  const headers = { 'idempotency-key': randomUUID() };
  const replies = await Promise.all(
    Array.from({ length: 8 }, () => agent.grant({ capability: 'read-policy-repository' }, headers)),
  );
  assert.deepEqual(replies.map((reply) => reply.status).sort(), [200, 200, 200, 200, 200, 200, 200, 201]);
  assert.equal(new Set(replies.map((reply) => reply.body.id)).size, 1);
  assert.equal(replies.filter((reply) => carries(reply, 'credential')).length, 1);
  assert.equal(deployment.world.github.liveTokens(), before + 1);
});

test('TTL is the least of what was asked, the capability’s, the session’s and the provider’s', async () => {
  const agent = await deployment.openAgent();
  const ttl = async (of: Agent, ttl_seconds?: number) => {
    const reply = await of.grant({
      capability: 'read-customer-files',
      ...(ttl_seconds === undefined ? {} : { ttl_seconds }),
    });
    assert.equal(reply.status, 201, reply.text);
    assert.equal(reply.body.plan.ttl_seconds, reply.body.ttl_seconds);
    assert.equal(
      Date.parse(reply.body.lease.expires_at) - deployment.clock.now().getTime(),
      reply.body.ttl_seconds * 1000,
    );
    assert.ok(Date.parse(reply.body.credential.expiration ?? '') >= Date.parse(reply.body.lease.expires_at) - 1000);
    return reply.body.ttl_seconds;
  };
  assert.equal(await ttl(agent, 120), 120);
  assert.equal(await ttl(agent, 604_800), 900);
  assert.equal(await ttl(agent), 900);
  const short = await deployment.openAgent({ task: { envelope: { wall_time_seconds: 200 } } });
  assert.equal(await ttl(short, 900), 200);
  deployment.clock.advance(100_000);
  assert.equal(await ttl(short, 900), 100);
  deployment.clock.advance(50_000);
  const tooShort = await short.grant({ capability: 'read-customer-files' });
  assert.deepEqual([tooShort.status, tooShort.body.errors?.[0]?.path], [400, 'ttl_seconds']);
});

test('the lifetime starts at redemption, not while a person thinks', async () => {
  const agent = await deployment.openAgent();
  const id = await approved(agent, { ttl_seconds: 240 });
  await live(agent, 250);
  const reply = await redeem(agent, id);
  assert.equal(reply.status, 201, reply.text);
  assert.equal(reply.body.ttl_seconds, 240);
  assert.equal(Date.parse(reply.body.lease.expires_at) - deployment.clock.now().getTime(), 240_000);
});

test('redeemed once: of five who come at the same time one gets the credential, and the provider mints once', async () => {
  const agent = await deployment.openAgent();
  const id = await approved(agent);
  const sessions = deployment.world.aws.sessions().length;
  const replies = await Promise.all(Array.from({ length: 5 }, () => redeem(agent, id)));
  assert.deepEqual(replies.map((reply) => reply.status).sort(), [201, 409, 409, 409, 409]);
  assert.equal(replies.filter((reply) => reply.text.includes('secret_access_key')).length, 1);
  const late = await redeem(agent, id);
  assert.deepEqual([late.status, late.body.code], [409, 'already_redeemed']);
  assert.equal(deployment.world.aws.sessions().length, sessions + 1);
});

test('what the approver shortened stays short', async () => {
  const agent = await deployment.openAgent();
  const id = await parked(agent, { ttl_seconds: 600 });
  await approver.decide(id, { verdict: 'approve', ttl_seconds: '90' });
  const reply = await redeem(agent, id);
  assert.deepEqual([reply.status, reply.body.ttl_seconds], [201, 90]);
});

test('undecided for five minutes is denied, and so is approved but not collected', async () => {
  const agent = await deployment.openAgent();
  const silent = await parked(agent);
  const lapsed = await approved(agent);
  const before = awsSessions();
  await live(agent, 301);
  for (const id of [silent, lapsed]) {
    await until('the grant lapses', async () => (await agent.call('GET', `/v1/grants/${id}`)).body.status === 'denied');
    const reply = await redeem(agent, id);
    assert.deepEqual([reply.status, reply.body.code], [403, 'denied']);
  }
  assert.equal(awsSessions(), before);
});

test('a lapsed approval cannot be used in the moment before the sweep sees it', async () => {
  const agent = await deployment.openAgent();
  const id = await approved(agent);
  await live(agent, 200);
  deployment.clock.advance(100_000);
  const reply = await redeem(agent, id);
  assert.ok([403, 409].includes(reply.status), reply.text);
  assert.ok(!carries(reply, 'credential'));
});

test('sealed delivery: only the agent’s key opens it, and the plain credential is nowhere in the answer', async () => {
  const agent = await deployment.openAgent();
  for (const [crv, capability] of [
    ['P-256', 'read-customer-files'],
    ['X25519', 'read-policy-repository'],
  ] as const) {
    const pair = await generateKeyPair('ECDH-ES', { crv, extractable: true });
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'mine' };
    const reply = await agent.grant({ capability, credential_jwk: jwk });
    assert.equal(reply.status, 201, reply.text);
    assert.ok(!carries(reply, 'credential'));
    const header = decodeProtectedHeader(reply.body.credential_jwe);
    assert.deepEqual([header.alg, header.enc, header.kid], ['ECDH-ES', 'A256GCM', 'mine']);
    const { plaintext } = await compactDecrypt(reply.body.credential_jwe, pair.privateKey);
    const credential = JSON.parse(new TextDecoder().decode(plaintext)) as { [name: string]: string };
    for (const name of ['secret_access_key', 'session_token', 'token']) {
      if (credential[name] !== undefined) assert.ok(!reply.text.includes(credential[name]), name);
    }
    const stranger = await generateKeyPair('ECDH-ES', { crv });
    await assert.rejects(compactDecrypt(reply.body.credential_jwe, stranger.privateKey));
  }
  const id = await approved(agent);
  const pair = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true });
  const reply = await redeem(agent, id, { credential_jwk: await exportJWK(pair.publicKey) });
  assert.equal(reply.status, 201, reply.text);
  assert.ok(!reply.text.includes('secret_access_key'));
  await compactDecrypt(reply.body.credential_jwe, pair.privateKey);

  const before = awsSessions();
  const secret = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  for (const jwk of [secret, { kty: 'oct', k: 'AAAA' }, { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' }, {}]) {
    const refused = await agent.grant({ capability: 'read-customer-files', credential_jwk: jwk });
    assert.deepEqual([refused.status, refused.body.errors?.[0]?.path], [400, 'credential_jwk'], refused.text);
  }
  assert.equal(awsSessions(), before, 'refused before anything was minted');
});

test('the manifest was narrowed between approval and redemption: denied, and nothing was minted', async () => {
  const agent = await deployment.openAgent();
  const id = await approved(agent);
  const gone = await approved(agent);
  const before = awsSessions();
  try {
    const narrower = source.replace(/(access: write\n\s+bucket: )orders/, '$1archive');
    assert.notEqual(narrower, source);
    assert.equal((await deployment.publish('invoice-bot', narrower)).status, 200);
    const reply = await redeem(agent, id);
    assert.deepEqual([reply.status, reply.body.code], [403, 'denied'], reply.text);
    assert.equal(reply.body.reasons?.[0]?.path, 'params.bucket');
    const without = source.replace(/ {2}correct-customer-invoice:[\s\S]*?(?= {2}read-policy-repository:)/, '');
    assert.notEqual(without, source);
    assert.equal((await deployment.publish('invoice-bot', without)).status, 200);
    const removed = await redeem(agent, gone);
    assert.deepEqual([removed.status, removed.body.code], [403, 'denied'], removed.text);
  } finally {
    assert.equal((await deployment.publish('invoice-bot', source)).status, 200);
  }
  assert.equal(awsSessions(), before);
});

test('a plan changed in the database after its approval is approved by nobody', async () => {
  const agent = await deployment.openAgent();
  const { store } = deployment.broker;
  const before = awsSessions();
  const widened = `jsonb_set(plan, '{permission,params,prefix}', '"customers/"')`;
  for (const change of [`plan = ${widened}`, `plan = ${widened}, plan_digest = $2`, `plan_digest = $2`]) {
    const id = await approved(agent);
    const { plan } = await store.prisma.grant.findUniqueOrThrow({ where: { id } });
    const changed = structuredClone(plan) as { permission: { params: { prefix: string } } };
    changed.permission.params.prefix = 'customers/';
    const [row] = await store.run<{ id: string }>(
      {
        name: `tamper ${change}`,
        text: `UPDATE grants SET ${change} WHERE id = $1 AND ($2::text IS NOT NULL) RETURNING id`,
      },
      [id, planDigest(changed as never)],
    );
    assert.equal(row?.id, id);
    const reply = await redeem(agent, id);
    assert.ok(reply.status >= 400, change);
    assert.ok(!carries(reply, 'credential'), change);
    assert.equal((await leaseOf(agent, id)) ?? null, null, change);
  }
  assert.equal(awsSessions(), before, 'no provider was asked');
});

test('the delivering side acts on no forged, expired, borrowed or unapproved decision', async () => {
  const { store } = deployment.broker;
  const { clock } = deployment;
  const seal = createSeal(deriveKey(Buffer.from(deployment.env.WRIT_KEY_ENCRYPTION_KEY ?? '', 'base64url'), 'at-rest'));
  const ring = await openKeyRing(store, { clock, seal, longestTokenSeconds: 300 });
  const settings = github.settings.parse(deployment.env);
  const provider = github.create(settings, { clock, signIdentityToken: () => Promise.reject(new Error('unused')) });
  const deps = {
    store,
    clock,
    seal,
    ring,
    providers: new Map([['github', provider]]),
    providerTimeoutSeconds: 5,
    log: createLog('silent'),
    metrics: createLeaseMetrics(new Registry()),
    mark: (piece: string) => piece,
    notify: () => {},
  };
  const params = { owner: 'example-org', repositories: ['orders'], permissions: { contents: 'read' } };
  const plan = provider.plan(provider.params.parse(params) as never, 300);
  const payload: Parameters<typeof signDecision>[0] = {
    grant_id: 'gnt_1',
    lease_id: 'lse_1',
    session_id: 'ses_1',
    agent: 'invoice-bot',
    capability: 'read-policy-repository',
    plan_digest: planDigest(plan),
    tier: 1,
    effect: 'allow',
    ttl_seconds: 300,
    manifest_version: 1,
    policy_ids: [],
  };
  const now = clock.now();
  const key = ring.current();
  const foreign = { kid: key.kid, privateKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey };
  const good = await signDecision(payload, key, now);
  const [header, body, signature] = good.split('.') as [string, string, string];
  const changed = Buffer.from(body, 'base64url').toString().replace('"tier":1', '"tier":2');
  const decisions: { [why: string]: string } = {
    foreign: await signDecision(payload, foreign, now),
    unsigned: `${header}.${body}.`,
    'alg none': `${Buffer.from('{"alg":"none","typ":"writ-decision+jwt"}').toString('base64url')}.${body}.`,
    tampered: `${header}.${Buffer.from(changed).toString('base64url')}.${signature}`,
    expired: await signDecision(payload, key, new Date(now.getTime() - 61_000)),
    'not yet': await signDecision(payload, key, new Date(now.getTime() + 61_000)),
    'another grant': await signDecision({ ...payload, grant_id: 'gnt_2' }, key, now),
    'another lease': await signDecision({ ...payload, lease_id: 'lse_2' }, key, now),
    'another session': await signDecision({ ...payload, session_id: 'ses_2' }, key, now),
    'another agent': await signDecision({ ...payload, agent: 'other-bot' }, key, now),
    'another plan': await signDecision(
      { ...payload, plan_digest: planDigest({ ...plan, ttl_seconds: 301 }) },
      key,
      now,
    ),
    'another lifetime': await signDecision({ ...payload, ttl_seconds: 301 }, key, now),
    'a denial': await signDecision({ ...payload, effect: 'deny' }, key, now),
    'tier 2, approved by nobody': await signDecision({ ...payload, tier: 2 }, key, now),
  };
  const intent = {
    leaseId: 'lse_1',
    grantId: 'gnt_1',
    sessionId: 'ses_1',
    agent: 'invoice-bot',
    plan,
    reserved: null,
    intentAt: now,
    consent: null,
  };
  const before = deployment.world.github.requests();
  for (const [why, decision] of Object.entries(decisions)) {
    await assert.rejects(issueLease(deps, { ...intent, decision }), WritError, why);
  }
  assert.equal(deployment.world.github.requests(), before, 'the provider heard of none of them');
  // The good one gets as far as the provider; without an intent row its credential is ended at once and
  // handed to nobody.
  await assert.rejects(issueLease(deps, { ...intent, decision: good }), WritError);
  assert.ok(deployment.world.github.requests() > before);
});

test('thirty requests at once in an envelope of ten: ten credentials', async () => {
  const agent = await deployment.openAgent({ task: { envelope: { max_grants: 10 } } });
  const before = deployment.world.github.liveTokens();
  const replies = await Promise.all(
    Array.from({ length: 30 }, () => agent.grant({ capability: 'read-policy-repository' })),
  );
  const count = (status: number) => replies.filter((reply) => reply.status === status).length;
  assert.equal(count(201), 10, JSON.stringify(replies.map((reply) => reply.status)));
  assert.equal(count(403), 20, JSON.stringify(replies.map((reply) => reply.status)));
  assert.equal(deployment.world.github.liveTokens(), before + 10);
  assert.equal((await agent.call('GET', '/v1/session')).body.leases.length, 10);
  assert.equal((await agent.call('GET', '/v1/session')).body.session.grants_left, 0);
  // Denied requests did not eat the envelope, and a new one is denied too.
  const more = await agent.grant({ capability: 'read-policy-repository' });
  assert.equal(more.status, 403);
});

test('a provider that refuses: 502 with its own word, the lease failed, nothing to revoke', async () => {
  const agent = await deployment.openAgent();
  const { aws, github: hub, gcp } = deployment.world;
  const cases: [capability: string, on: () => void, off: () => void, word: RegExp][] = [
    [
      'read-customer-files',
      () => aws.fault('AssumeRoleWithWebIdentity', { code: 'AccessDenied', status: 403 }),
      () => aws.fault('AssumeRoleWithWebIdentity', null),
      /AccessDenied/,
    ],
    ['read-policy-repository', () => hub.fail('refused'), () => hub.fail(null), /422/],
    ['read-statements', () => gcp.fail('refused'), () => gcp.fail(null), /PERMISSION_DENIED|403|7/],
  ];
  for (const [capability, on, off, word] of cases) {
    on();
    const reply = await agent.grant({ capability });
    off();
    assert.deepEqual([reply.status, reply.body.code], [502, 'provider_refused'], reply.text);
    assert.match(String(reply.body.provider_code), word);
    const { body } = await agent.call('GET', '/v1/session');
    assert.equal(
      body.leases.find((lease) => lease.id !== undefined && lease.grant_id === newest(body.grants))?.status,
      'failed',
    );
  }
});

const newest = (grants: { id: string }[]) =>
  grants
    .map((grant) => grant.id)
    .sort()
    .at(-1);

test('a provider that hangs: 503, and whatever it may have minted is ended', async () => {
  const agent = await deployment.openAgent();
  const { aws, github: hub, gcp } = deployment.world;
  const cases: [capability: string, on: () => void, off: () => void, asked: () => number][] = [
    [
      'read-customer-files',
      () => aws.fault('AssumeRoleWithWebIdentity', 'hang'),
      () => aws.fault('AssumeRoleWithWebIdentity', null),
      () => aws.requests(),
    ],
    ['read-policy-repository', () => hub.fail('hang'), () => hub.fail(null), () => hub.requests()],
    ['read-statements', () => gcp.fail('hang'), () => gcp.fail(null), () => gcp.requests('mint')],
  ];
  for (const [capability, on, off, asked] of cases) {
    on();
    const before = asked();
    const asking = agent.grant({ capability });
    // Counted are other requests too: the intent is on record just before the broker's own wait begins.
    const intended = () => deployment.broker.store.prisma.lease.count({ where: { status: 'issuing' } });
    await until(`${capability} is asked for`, async () => (await intended()) > 0 && asked() > before);
    deployment.clock.advance(20_000);
    const reply = await asking;
    off();
    assert.deepEqual([reply.status, reply.body.code], [503, 'provider_unavailable'], reply.text);
    assert.ok(Number(reply.headers.get('retry-after')) > 0);
    const { body } = await agent.call('GET', '/v1/session');
    const id = newest(body.grants) ?? '';
    assert.ok(['revoking', 'revoked'].includes((await leaseOf(agent, id))?.status ?? ''), capability);
    if (capability === 'read-policy-repository') continue;
    await until(`${capability} is revoked`, async () => {
      deployment.clock.advance(1000);
      return (await leaseOf(agent, id))?.status === 'revoked';
    });
  }
  // GitHub's token was lost with the answer: only its own hour ends it, and until then it is never shown as
  // revoked.
  const lost = (await agent.call('GET', '/v1/session')).body.leases.find((lease) => lease.provider === 'github');
  assert.equal(lost?.status, 'revoking');
});

test('the rate of one agent, over all its sessions: 429 with Retry-After', async () => {
  const small = await startDeployment({ env: { WRIT_GRANTS_PER_MINUTE: '4' } });
  try {
    const agents = [await small.openAgent(), await small.openAgent()] as const;
    const ask = (i: number): Promise<Reply> =>
      agents[i % 2 === 0 ? 0 : 1].grant({ capability: 'read-policy-repository' });
    for (let i = 0; i < 4; i += 1) assert.equal((await ask(i)).status, 201);
    for (let i = 0; i < 2; i += 1) {
      const reply = await ask(i);
      assert.deepEqual([reply.status, reply.body.code], [429, 'rate_limited']);
      assert.ok(Number(reply.headers.get('retry-after')) > 0);
    }
    small.clock.advance(61_000);
    assert.equal((await ask(0)).status, 201);
  } finally {
    await small.close();
  }
});

test('a pool of accounts: each lease has one of its own, every account is used, and the next one is told to wait', async () => {
  const pooled = await startDeployment({ poolSize: 5 });
  try {
    const agents = await Promise.all(Array.from({ length: 6 }, () => pooled.openAgent()));
    const last = agents.pop();
    const replies = await Promise.all(agents.map((agent) => agent.grant({ capability: 'read-statements' })));
    assert.deepEqual(
      replies.map((reply) => reply.status),
      [201, 201, 201, 201, 201],
    );
    const slots = await pooled.broker.store.prisma.poolSlot.findMany();
    assert.equal(new Set(slots.map((slot) => slot.member)).size, 5);
    assert.equal(new Set(slots.map((slot) => slot.leaseId)).size, 5);
    const waits = await last?.grant({ capability: 'read-statements' });
    assert.deepEqual([waits?.status, waits?.body.provider_code], [503, 'pool_exhausted']);
    assert.ok(Number(waits?.headers.get('retry-after')) > 0);
    // Other providers have no pool to wait for.
    assert.equal((await last?.grant({ capability: 'read-policy-repository' }))?.status, 201);
  } finally {
    await pooled.close();
  }
});

test('the provider’s waiting time and words: the first to the agent, the second to admins alone', async () => {
  const agent = await deployment.openAgent();
  const hub = deployment.world.github;
  hub.fail('secondary-rate');
  const reply = await agent.grant({ capability: 'read-policy-repository' });
  hub.fail(null);
  assert.deepEqual([reply.status, reply.body.code], [503, 'provider_unavailable']);
  assert.equal(reply.headers.get('retry-after'), '60');
  assert.equal(reply.body.retry_after_seconds, 60);
  assert.ok(!reply.text.includes('secondary'), 'the provider’s words are for admins');
  const failed = await deployment.asAdmin('GET', '/v1/admin/leases?status=failed');
  assert.match(failed.text, /"provider_text":"You have exceeded a secondary rate limit/);
  assert.ok(deployment.log().includes('You have exceeded a secondary rate limit'));
});

test('a refused exchange at Google costs no account of the pool', async () => {
  const pooled = await startDeployment({ poolSize: 2 });
  try {
    const agent = await pooled.openAgent();
    assert.equal((await agent.grant({ capability: 'read-statements' })).status, 201);
    pooled.world.gcp.fail('refused', 'exchange');
    for (let i = 0; i < 4; i += 1) {
      const reply = await agent.grant({ capability: 'read-statements' });
      assert.deepEqual([reply.status, reply.body.code], [502, 'provider_refused'], reply.text);
    }
    pooled.world.gcp.fail(null, 'exchange');
    assert.equal((await agent.grant({ capability: 'read-statements' })).status, 201);
  } finally {
    await pooled.close();
  }
});

test('an answer outside its bounds reaches no agent: what came is ended, and the lease says so', async () => {
  const agent = await deployment.openAgent();
  const { aws, github: hub } = deployment.world;
  const before = hub.liveTokens();
  hub.fail('ends-in-the-past');
  const reply = await agent.grant({ capability: 'read-policy-repository' });
  hub.fail(null);
  assert.deepEqual([reply.status, reply.body.code, reply.body.credential], [502, 'provider_refused', undefined]);
  assert.equal(hub.liveTokens(), before);
  aws.fault('AssumeRoleWithWebIdentity', { saying: 'ends-too-late' }, 1);
  const other = await agent.grant({ capability: 'read-customer-files' });
  assert.deepEqual([other.status, other.body.code], [502, 'provider_refused']);
  const ofAws = async () => (await agent.call('GET', '/v1/session')).body.leases.find((one) => one.provider === 'aws');
  const lease = (await ofAws())?.id ?? '';
  await until('the session is denied', async () => {
    deployment.clock.advance(1000);
    return (await ofAws())?.status === 'revoked';
  });
  const session = aws.sessions().find(({ arn }) => arn.endsWith(`/${lease}`));
  assert.equal(aws.allows(session?.arn ?? '', 's3:GetObject', 'arn:aws:s3:::orders/customers/42/invoice.txt'), false);
});

test('one token for two leases: the second is not delivered, and the first is ended with it', async () => {
  const agent = await deployment.openAgent();
  const hub = deployment.world.github;
  assert.equal((await agent.grant({ capability: 'read-policy-repository' })).status, 201);
  hub.fail('same-token');
  const reply = await agent.grant({ capability: 'read-policy-repository' });
  hub.fail(null);
  assert.deepEqual([reply.status, reply.body.code], [502, 'provider_refused'], reply.text);
  await until('both are ended', async () => {
    deployment.clock.advance(1000);
    const { leases } = (await agent.call('GET', '/v1/session')).body;
    return leases.length === 2 && leases.every(({ status }) => status === 'revoked');
  });
});
