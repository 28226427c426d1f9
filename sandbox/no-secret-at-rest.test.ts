/**
 * Invariant 6, looked for rather than believed: credentials are issued in every way there is, with everything
 * going wrong on the way that can; then every place where something could rest is searched for every secret
 * that was about, in every usual spelling.
 */
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { test } from 'node:test';
import { Redis } from 'ioredis';
import { compactDecrypt, decodeProtectedHeader, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { deriveKey } from '../broker/keys/key-encryption-key.ts';
import { createSeal } from '../broker/keys/seal.ts';
import { redisAnswers, testBackends, testRedisUrl } from '../broker/store/store.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import {
  type Agent,
  type Deployment,
  type DeploymentOptions,
  proofKey,
  startDeployment,
} from './deployment.test-support.ts';

/** Secrets by what they are: a failure names the kind and the place, never the secret. */
type Secrets = Map<string, string>;
/** Where something may rest: its name and all its text. */
type Places = { place: string; text: string }[];

/**
 * Any of a provider's tokens, also one that no test got to see: one that was minted, found too wide, and
 * thrown away. (AWS's access key id is no secret: CloudTrail shows it, and the lease keeps it to be found
 * there.)
 */
const tokenForms = /ghs_[A-Za-z0-9_.-]{20,}|ya29\.[\w.-]{20,}/;

/** A secret as it is, escaped, in hex, and in Base64 as a whole or as a part of something longer. */
function spellings(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const within = [0, 1, 2].flatMap((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    // The first and the last characters mix with the neighbours.
    const core = encoded.slice(offset === 0 ? 0 : 4, -2);
    return [core, core.replaceAll('+', '-').replaceAll('/', '_')];
  });
  return [
    ...new Set([
      secret,
      encodeURIComponent(secret),
      JSON.stringify(secret).slice(1, -1),
      bytes.toString('hex'),
      bytes.toString('hex').toUpperCase(),
      ...within,
    ]),
  ];
}

function search(places: Places, secrets: Secrets): string[] {
  const found: string[] = [];
  for (const [kind, secret] of secrets) {
    assert.ok(secret.length >= 16, `${kind} is too short to be told from other text`);
    for (const spelling of spellings(secret)) {
      for (const { place, text } of places) if (text.includes(spelling)) found.push(`${kind} in ${place}`);
    }
  }
  for (const { place, text } of places) if (tokenForms.test(text)) found.push(`a provider's token in ${place}`);
  return [...new Set(found)];
}

/** Every row of every table of every schema of ours, as the database prints it. */
async function rows(deployment: Deployment): Promise<Places> {
  const { store } = deployment.broker;
  const tables = await store.run<{ schema: string; name: string }>(
    {
      name: 'test_tables',
      text: `SELECT table_schema AS schema, table_name AS name FROM information_schema.tables
             WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`,
    },
    [],
  );
  assert.ok(tables.length >= 14, 'the tables are seen');
  const places: Places = [];
  for (const { schema, name } of tables) {
    const all = await store.run<{ text: string }>(
      { name: `test_${schema}_${name}`, text: `SELECT t::text AS text FROM "${schema}"."${name}" t` },
      [],
    );
    places.push({ place: `table ${name}`, text: all.map((row) => row.text).join('\n') });
  }
  return places;
}

async function keys(redis: Redis): Promise<Places> {
  const places: Places = [];
  for (const key of await redis.keys('*')) {
    const read: { [type: string]: () => Promise<unknown> } = {
      string: () => redis.get(key),
      list: () => redis.lrange(key, 0, -1),
      set: () => redis.smembers(key),
      zset: () => redis.zrange(key, 0, -1, 'WITHSCORES'),
      hash: () => redis.hgetall(key),
      stream: () => redis.xrange(key, '-', '+'),
    };
    const type = await redis.type(key);
    const value = await read[type]?.();
    places.push({
      place: `redis ${type} ${key.split(':').slice(1).join(':')}`,
      text: `${key}\n${JSON.stringify(value)}`,
    });
  }
  return places;
}

/**
 * Cookies that the broker sets and codes that come back to it: secrets that a browser holds and no API shows.
 */
function browserSecrets(origin: () => string, secrets: Secrets) {
  const onAnswer = (message: unknown) => {
    const { request, response } = message as {
      request: { origin: string; path: string };
      response: { headers: Buffer[] };
    };
    if (request.origin !== origin()) return;
    for (const [name, value] of new URL(request.path, request.origin).searchParams) {
      if (name === 'code') secrets.set(`${name} of a sign-in`, value);
    }
    const headers = response.headers.map(String);
    headers.forEach((name, i) => {
      const value = headers[i + 1]?.split(';', 1)[0]?.split('=').slice(1).join('=') ?? '';
      if (name.toLowerCase() === 'set-cookie' && value.length >= 16) secrets.set(`cookie ${secrets.size}`, value);
    });
  };
  subscribe('undici:request:headers', onAnswer);
  return () => unsubscribe('undici:request:headers', onAnswer);
}

async function wholeStory(options: DeploymentOptions, redis: Redis | null): Promise<void> {
  const secrets: Secrets = new Map();
  const delivered = new Set<string>();
  const client = await generateKeyPair('ES256', { extractable: true });
  const clientJwk = await exportJWK(client.publicKey);
  const commands: string[] = [];
  const monitor = await redis?.monitor();
  monitor?.on('monitor', (_time: string, args: string[]) => commands.push(JSON.stringify(args)));

  let origin = '';
  const stopListening = browserSecrets(() => origin, secrets);
  const deployment = await startDeployment({
    ...options,
    poolSize: 6,
    trust: (source) =>
      `${source}\nclients:\n  - { client_id: night-job, agent: invoice-bot, jwks: { keys: [${JSON.stringify(clientJwk)}] } }\n`,
  });
  try {
    origin = deployment.broker.url;
    const { clock, world } = deployment;
    const remember = (kind: string, secret: string | undefined) => {
      assert.ok(secret !== undefined && secret !== '', kind);
      secrets.set(`${kind} #${secrets.size}`, secret);
    };
    const take = (reply: { text: string; body: { credential?: { [name: string]: string } } }) => {
      delivered.add(reply.text);
      const credential = reply.body.credential ?? {};
      for (const name of ['secret_access_key', 'session_token', 'token', 'access_token']) {
        if (credential[name] !== undefined) remember(name, credential[name]);
      }
    };
    const kek = deployment.env.WRIT_KEY_ENCRYPTION_KEY ?? '';
    remember('bootstrap token', deployment.admin);
    remember('key-encryption key', kek);
    remember('key-encryption key, decoded', Buffer.from(kek, 'base64url').toString('hex'));
    remember('key derived from it', Buffer.from(deriveKey(Buffer.from(kek, 'base64url'), 'at-rest')).toString('hex'));
    for (const line of (deployment.env.GITHUB_APP_PRIVATE_KEY ?? '').split('\n'))
      if (line.length >= 40 && !line.startsWith('-----')) remember('app private key', line);

    const open = async (more: Parameters<Deployment['tokenRequest']>[0]): Promise<Agent> => {
      const reply = await deployment.tokenRequest(more);
      assert.equal(reply.status, 200, reply.text);
      delivered.add(reply.text);
      remember('session token', reply.body.access_token);
      return deployment.agentOf(reply.body, more?.key ?? null);
    };

    // Three ways in: a platform's token with and without a key of one's own, and a client assertion.
    const key = await proofKey();
    remember('DPoP private key', (await exportJWK(key.privateKey)).d);
    const platformToken = await world.subjectToken();
    remember('platform token', platformToken);
    const agent = await open({ key, subjectToken: platformToken });
    const assertion = await new SignJWT({ jti: randomUUID() })
      .setProtectedHeader({ alg: 'ES256' })
      .setIssuer('night-job')
      .setSubject('night-job')
      .setAudience(deployment.broker.url)
      .setIssuedAt(Math.floor(clock.now().getTime() / 1000))
      .setExpirationTime(Math.floor(clock.now().getTime() / 1000) + 60)
      .sign(client.privateKey);
    remember('client assertion', assertion);
    remember('client private key', (await exportJWK(client.privateKey)).d);
    const form = {
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion,
    };
    const nightly = await open({ form });

    // Refused on the way in: the token is in the request, and must go no further.
    for (const claims of [{ aud: 'https://other.example.com' }, { repository_id: '1' }]) {
      const token = await world.subjectToken(claims as never);
      remember('refused platform token', token);
      assert.equal((await deployment.tokenRequest({ subjectToken: token })).status, 400);
    }
    assert.equal((await deployment.tokenRequest({ subjectToken: platformToken })).status, 400, 'replayed');
    assert.equal((await deployment.tokenRequest({ form })).status, 400, 'replayed');
    for (const path of [`/v1/session?access_token=${agent.token}`, `/v1/grants/${agent.token}`, `/${agent.token}`])
      assert.ok((await deployment.send('GET', path)).status >= 400);
    assert.ok((await deployment.send('POST', '/v1/grants', { body: `{"capability": "${agent.token}` })).status >= 400);
    const unbound = { headers: { authorization: `Bearer ${agent.token}` } };
    assert.equal((await deployment.send('GET', '/v1/session', unbound)).status, 401);

    // Every provider, by policy alone, in the clear and sealed, and again under the same key.
    const mine = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true });
    const myJwk = await exportJWK(mine.publicKey);
    const unseal = async (reply: { text: string; body: { credential_jwe: string } }) => {
      assert.ok(typeof reply.body.credential_jwe === 'string', reply.text);
      const { plaintext } = await compactDecrypt(reply.body.credential_jwe, mine.privateKey);
      // Sealed, the answer itself is searched too.
      for (const [name, value] of Object.entries(JSON.parse(new TextDecoder().decode(plaintext)) as object))
        if (/secret|token$/.test(name)) remember(`sealed ${name}`, String(value));
    };
    const canary = randomUUID();
    const note = spellings(canary).join(' ');
    for (const capability of ['read-customer-files', 'read-policy-repository', 'read-statements']) {
      const headers = { 'idempotency-key': randomUUID() };
      const issued = await agent.grant({ capability, justification: note }, headers);
      assert.equal(issued.status, 201, issued.text);
      take(issued);
      assert.equal((await agent.grant({ capability, justification: note }, headers)).status, 200);
      assert.equal((await agent.call('GET', `/v1/grants/${issued.body.id}`)).status, 200);
      await unseal(await nightly.grant({ capability, credential_jwk: myJwk }));
    }
    const privateJwk = await exportJWK(mine.privateKey);
    remember('private key sent by mistake', privateJwk.d);
    const mistake = await agent.grant({ capability: 'read-customer-files', credential_jwk: privateJwk });
    assert.equal(mistake.status, 400);

    // A person approves; the credential is collected, in the clear and sealed; another request is denied.
    const approver = await deployment.approver();
    const park = async (justification = 'please') =>
      (await agent.grant({ capability: 'correct-customer-invoice', justification })).body.id;
    const first = await park(note);
    await approver.decide(first, { verdict: 'approve' });
    take(await agent.call('POST', `/v1/grants/${first}/redeem`));
    assert.equal((await agent.call('POST', `/v1/grants/${first}/redeem`)).status, 409);
    const second = await park();
    await approver.decide(second, { verdict: 'approve', ttl_seconds: '90' });
    await unseal(await agent.call('POST', `/v1/grants/${second}/redeem`, { credential_jwk: myJwk }));
    const third = await park();
    await approver.decide(third, { verdict: 'deny', reason: 'no' });
    const widened = await agent.grant({ capability: 'read-customer-files', params: { bucket: 'payroll' } });
    assert.equal(widened.status, 403);

    // The providers' bad days.
    const bad = async (capability: string, status: number) => {
      const reply = await agent.grant({ capability });
      assert.equal(reply.status, status, reply.text);
    };
    world.aws.fault('AssumeRoleWithWebIdentity', { code: 'AccessDenied', status: 403 });
    world.gcp.fail('refused');
    await bad('read-customer-files', 502);
    await bad('read-statements', 502);
    world.aws.fault('AssumeRoleWithWebIdentity', null);
    world.gcp.fail(null);
    world.gcp.fail('unavailable', 'exchange');
    await bad('read-statements', 503);
    world.gcp.fail(null, 'exchange');
    for (const [fault, status] of [
      ['refused', 502],
      ['wider-permissions', 502],
      ['wider-repositories', 502],
      ['lost-answer', 503],
    ] as const) {
      world.github.fail(fault);
      await bad('read-policy-repository', status);
    }
    world.github.fail('hang');
    const asked = world.github.requests();
    const hanging = agent.grant({ capability: 'read-policy-repository' });
    await until('GitHub is asked', () => world.github.requests() > asked);
    clock.advance(20_000);
    assert.equal((await hanging).status, 503);
    world.github.fail(null);

    // While it lives, GitHub's token is kept for its revocation: as JWE under a key that is elsewhere.
    const seal = createSeal(deriveKey(Buffer.from(kek, 'base64url'), 'at-rest'));
    const { store } = deployment.broker;
    const active = await store.prisma.lease.findMany({ where: { status: 'active', provider: 'github' } });
    assert.ok(active.length >= 2);
    for (const lease of active) {
      assert.equal(decodeProtectedHeader(lease.sealed ?? '').enc, 'A256GCM');
      assert.match(await seal.open(lease.sealed ?? '', lease.id), /^ghs_/);
    }
    const others = await store.prisma.lease.findMany({ where: { status: 'active', NOT: { provider: 'github' } } });
    assert.ok(others.every((lease) => lease.sealed === null));
    for (const row of await store.prisma.signingKey.findMany()) {
      remember('signing key', (JSON.parse(await seal.open(row.privateJwe, row.kid)) as { d: string }).d);
    }

    const look = async (): Promise<Places> => {
      const pages = [];
      for (const path of ['/', '/approvals', `/approvals/${first}`, `/approvals/${third}`])
        pages.push(await approver.page(path));
      const owner = await deployment.approver('owner@example.com');
      for (const one of [agent, nightly]) {
        const page = await owner.page(`/sessions/${one.sessionId}`);
        assert.equal(page.status, 200);
        const events = await deployment.asAdmin('GET', `/v1/admin/sessions/${one.sessionId}/events`);
        assert.equal(events.status, 200);
      }
      for (const status of ['active', 'revoking', 'revoked', 'failed'])
        assert.equal((await deployment.asAdmin('GET', `/v1/admin/leases?status=${status}`)).status, 200);
      for (const path of [
        '/v1/admin/manifests/invoice-bot',
        '/v1/admin/audit/verify',
        '/metrics',
        '/readyz',
        '/openapi.json',
      ])
        assert.equal((await deployment.asAdmin('GET', path)).status, 200, path);
      const answers = deployment.replies
        .filter((reply) => !delivered.has(reply.text))
        .map((reply) => ({
          place: `answer to ${reply.request.slice(0, 60)}`,
          text: reply.text + reply.head.replaceAll(/\["set-cookie","[^"]*"\]/g, ''),
        }));
      return [
        ...(await rows(deployment)),
        ...(redis === null ? [] : await keys(redis)),
        { place: 'redis commands', text: commands.join('\n') },
        { place: 'log', text: deployment.log() },
        ...answers,
      ];
    };

    // The search sees: what was planted, in each spelling, is found in each place where it must be.
    const planted: Secrets = new Map([['canary', canary]]);
    if (redis !== null) {
      const prefix = `writ-${deployment.env.WRIT_DATABASE_SCHEMA}:canary`;
      await redis.set(`${prefix}:string`, canary);
      await redis.hset(`${prefix}:hash`, 'field', Buffer.from(canary).toString('base64'));
      await redis.xadd(`${prefix}:stream`, '*', 'field', Buffer.from(`x${canary}`).toString('base64url'));
      await redis.rpush(`${prefix}:list`, Buffer.from(canary).toString('hex'));
      await redis.zadd(`${prefix}:zset`, 1, canary);
      await redis.sadd(`${prefix}:set`, canary);
    }
    let places = await look();
    const sighted = search(places, planted);
    const expected = [
      'table grants',
      'table audit_event',
      `answer to ${deployment.broker.url}/approvals/${first}`.slice(0, 70),
    ];
    if (redis !== null) {
      expected.push('redis commands');
      for (const type of ['string', 'hash', 'stream', 'list', 'zset', 'set'])
        expected.push(`redis ${type} canary:${type}`);
      assert.ok(
        commands.some((command) => command.includes('writ-revoke')),
        'Redis is in use',
      );
    }
    for (const place of expected)
      assert.ok(
        sighted.some((line) => line.startsWith(`canary in ${place}`)),
        place,
      );
    const requestId = (await agent.call('GET', '/v1/session')).headers.get('x-request-id') ?? '';
    assert.ok(deployment.log().includes(requestId), 'the log is the broker’s');
    for (const spelling of spellings(canary))
      assert.ok(
        places.some(({ place, text }) => place === 'table grants' && text.includes(spelling)),
        'each spelling',
      );
    const loose = [{ place: 'x', text: `ghs_${'a'.repeat(36)}` }];
    assert.equal(search(loose, new Map()).length, 1);

    for (const token of world.gcp.tokens()) remember('Google token, intermediate ones too', token);
    assert.deepEqual(search(places, secrets), []);

    // The end of it all: every lease settles, and what was kept for revocation is gone.
    for (const one of [agent, nightly]) assert.equal((await one.call('POST', '/v1/session/end')).status, 200);
    clock.advance(5_000);
    await until('what can be revoked is revoked', async () => {
      clock.advance(500);
      const left = await store.prisma.lease.count({
        where: { status: { in: ['issuing', 'active', 'revoking'] }, NOT: { sealed: null } },
      });
      const rest = await store.prisma.lease.count({ where: { status: { in: ['issuing', 'active'] } } });
      return left + rest === 0;
    });
    assert.equal(await store.prisma.lease.count({ where: { NOT: { sealed: null } } }), 0);
    places = await look();
    assert.deepEqual(search(places, secrets), []);
    assert.ok(secrets.size > 40, `${secrets.size} secrets were looked for`);
  } finally {
    stopListening();
    monitor?.disconnect();
    await deployment.close();
    if (redis !== null) {
      const mine = await redis.keys(`writ-${deployment.env.WRIT_DATABASE_SCHEMA}:*`);
      if (mine.length > 0) await redis.del(...mine);
    }
  }
}

test('no secret rests anywhere: embedded', () => wholeStory({}, null));

const servers = (await testBackends()).includes('postgres') && (await redisAnswers());
test('no secret rests anywhere: PostgreSQL and Redis', { skip: servers ? false : 'they do not answer' }, async () => {
  const redis = new Redis(testRedisUrl);
  const env = { REDIS_URL: testRedisUrl, WRIT_DATABASE_SCHEMA: `writ_${randomBytes(6).toString('hex')}` };
  try {
    await wholeStory({ backend: 'postgres', env }, redis);
  } finally {
    redis.disconnect();
  }
});
