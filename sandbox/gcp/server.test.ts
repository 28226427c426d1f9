/** What the counterpart enforces, asked through Google's own client libraries where there is one. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { IAMCredentialsClient } from '@google-cloud/iam-credentials';
import { credentials } from '@grpc/grpc-js';
import { IdentityPoolClient, OAuth2Client } from 'google-auth-library';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { manualClock } from '../../broker/core/clock.ts';
import { type GcpSandbox, startGcpSandbox } from './server.ts';

const readerAccount = 'reader@demo-project.iam.gserviceaccount.com';
const writerAccount = 'writer@demo-project.iam.gserviceaccount.com';
const cloudPlatform = 'https://www.googleapis.com/auth/cloud-platform';
const readOnly = 'https://www.googleapis.com/auth/devstorage.read_only';
const exchangeForm = {
  grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
  requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
};

interface Harness {
  sandbox: GcpSandbox;
  clock: ReturnType<typeof manualClock>;
  /** An identity token; claims override the right ones. */
  identity(claims?: { [claim: string]: unknown }): Promise<string>;
  /** The broker's own token, through the exchange. */
  broker(): Promise<string>;
  exchange(fields: { [name: string]: string }): Promise<{ status: number; body: { [key: string]: unknown } }>;
}

function check(title: string, body: (harness: Harness) => Promise<void>) {
  test(title, async () => {
    // Far ahead, because Google's clients compare a token's end with the machine's own time and must find it
    // alive.
    const clock = manualClock(new Date('2036-01-01T00:00:00Z'));
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' }] });
    const keys = createServer((_request, response) => response.end(jwks));
    await new Promise<void>((resolve) => keys.listen(0, '127.0.0.1', resolve));
    const issuer = `http://127.0.0.1:${(keys.address() as AddressInfo).port}`;
    const sandbox = await startGcpSandbox({
      clock,
      issuers: { [issuer]: `${issuer}/jwks` },
      serviceAccounts: [
        { email: readerAccount, storage: [{ bucket: 'orders', role: 'roles/storage.objectViewer' }] },
        { email: writerAccount, storage: [{ bucket: 'orders', role: 'roles/storage.objectCreator' }] },
        { email: 'closed@demo-project.iam.gserviceaccount.com', tokenCreators: [] },
      ],
      buckets: { orders: { 'a/1.txt': 'one', 'b/2.txt': 'two' } },
    });
    const identity: Harness['identity'] = (claims = {}) => {
      const now = Math.floor(clock.now().getTime() / 1000);
      const right = { iss: issuer, sub: 'writ-broker', aud: `https://iam.googleapis.com/${sandbox.provider}` };
      return new SignJWT({ ...right, iat: now, exp: now + 300, ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .sign(privateKey);
    };
    const exchange: Harness['exchange'] = async (fields) => {
      const body = new URLSearchParams({ ...exchangeForm, ...fields });
      const response = await fetch(`${sandbox.url}/v1/token`, { method: 'POST', body });
      return { status: response.status, body: (await response.json()) as { [key: string]: unknown } };
    };
    const broker = async () => {
      const answer = await exchange(federationFields(sandbox, await identity()));
      return String(answer.body.access_token);
    };
    try {
      await body({ sandbox, clock, identity, broker, exchange });
    } finally {
      await sandbox.close();
      keys.closeAllConnections();
      await new Promise((resolve) => keys.close(resolve));
    }
  });
}

const federationFields = (sandbox: GcpSandbox, subject_token: string) => ({
  audience: `//iam.googleapis.com/${sandbox.provider}`,
  scope: cloudPlatform,
  subject_token,
  subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
});

async function mint(sandbox: GcpSandbox, token: string, email: string, body: object, project = '-') {
  const response = await fetch(
    `${sandbox.url}/v1/projects/${project}/serviceAccounts/${encodeURIComponent(email)}:generateAccessToken`,
    {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    },
  );
  const answer = (await response.json()) as { accessToken?: string; error?: { status: string } };
  return { status: response.status, token: answer.accessToken ?? '', code: answer.error?.status };
}

async function storage(sandbox: GcpSandbox, token: string, path: string, method = 'GET'): Promise<number> {
  const prefix = method === 'POST' ? '/upload' : '';
  const response = await fetch(`${sandbox.url}${prefix}/storage/v1/b/${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(method === 'POST' ? { body: 'x' } : {}),
  });
  await response.arrayBuffer();
  return response.status;
}

check('Google’s client mints over gRPC and over REST, and Google’s auth client federates', async (harness) => {
  const { sandbox } = harness;
  const pool = new IdentityPoolClient({
    type: 'external_account',
    audience: `//iam.googleapis.com/${sandbox.provider}`,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    token_url: `${sandbox.url}/v1/token`,
    service_account_impersonation_url: `${sandbox.url}/v1/projects/-/serviceAccounts/${readerAccount}:generateAccessToken`,
    subject_token_supplier: { getSubjectToken: () => harness.identity() },
  });
  const read = await pool.request({
    url: `${sandbox.url}/storage/v1/b/orders/o/a%2F1.txt?alt=media`,
    responseType: 'text',
  });
  assert.equal(read.data, 'one');

  const broker = await harness.broker();
  const authClient = new OAuth2Client();
  authClient.setCredentials({ access_token: broker });
  const request = {
    name: `projects/-/serviceAccounts/${readerAccount}`,
    scope: [readOnly],
    lifetime: { seconds: 900 },
  };
  const rest = new IAMCredentialsClient({
    fallback: true,
    protocol: 'http',
    apiEndpoint: '127.0.0.1',
    port: Number(new URL(sandbox.url).port),
    // biome-ignore lint/suspicious/noExplicitAny: google-gax carries an older copy of the same class
    authClient: authClient as any,
  });
  const grpc = new IAMCredentialsClient({
    apiEndpoint: '127.0.0.1',
    port: sandbox.grpcPort,
    sslCreds: credentials.createInsecure(),
    // biome-ignore lint/suspicious/noExplicitAny: as above
    authClient: authClient as any,
  });
  // An insecure channel sends no credentials of its own.
  const headers = { otherArgs: { headers: { authorization: `Bearer ${broker}` } } };
  for (const [client, options] of [
    [rest, {}],
    [grpc, headers],
  ] as const) {
    const [answer] = await client.generateAccessToken(request, { retry: null, ...options });
    assert.equal(Number(answer.expireTime?.seconds), harness.clock.now().getTime() / 1000 + 900);
    assert.equal(await storage(sandbox, String(answer.accessToken), 'orders/o/a%2F1.txt?alt=media'), 200);
    const tooLong = client.generateAccessToken(
      { ...request, lifetime: { seconds: 3601 } },
      { retry: null, ...options },
    );
    await assert.rejects(tooLong, (error: { code: number }) => error.code === (client === grpc ? 3 : 400));
  }
  await assert.rejects(
    grpc.generateAccessToken(request, { retry: null }),
    (error: { code: number }) => error.code === 16,
  );
  await Promise.all([rest.close(), grpc.close()]);
});

check('federation takes the right issuer, audience, subject and key, and nothing else', async (harness) => {
  const { sandbox } = harness;
  const attempt = async (token: string, more: object = {}) =>
    (await harness.exchange({ ...federationFields(sandbox, token), ...more })).body.error ?? 'accepted';
  assert.equal(await attempt(await harness.identity()), 'accepted');
  const now = Math.floor(harness.clock.now().getTime() / 1000);
  const stranger = await generateKeyPair('ES256');
  const forged = await new SignJWT(
    JSON.parse(Buffer.from((await harness.identity()).split('.')[1]!, 'base64url').toString()),
  )
    .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
    .sign(stranger.privateKey);
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${(await harness.identity()).split('.')[1]}.`;
  for (const token of [
    await harness.identity({ iss: 'https://evil.example' }),
    await harness.identity({ aud: 'https://iam.googleapis.com/projects/1/other' }),
    await harness.identity({ exp: now - 1 }),
    await harness.identity({ exp: undefined }),
    forged,
    none,
    'not.a.jwt',
  ])
    assert.equal(await attempt(token), 'invalid_grant');
  assert.equal(await attempt(await harness.identity({ sub: 'somebody' })), 'invalid_target');
  assert.equal(await attempt(await harness.identity({ sub: 'x'.repeat(128) })), 'invalid_request');
  assert.equal(await attempt(await harness.identity(), { audience: '//iam.googleapis.com/other' }), 'invalid_target');
  assert.equal(await attempt(await harness.identity(), { grant_type: 'password' }), 'unsupported_grant_type');
});

check(
  'generateAccessToken: the wildcard, the lifetime, the caller and the scopes count',
  async ({ sandbox, broker }) => {
    const token = await broker();
    const good = { scope: [readOnly], lifetime: '900s' };
    assert.equal((await mint(sandbox, token, readerAccount, good)).status, 200);
    assert.equal((await mint(sandbox, token, readerAccount, good, 'demo-project')).code, 'INVALID_ARGUMENT');
    for (const lifetime of ['3601s', '0s', '-5s', '900', '15m'])
      assert.equal(
        (await mint(sandbox, token, readerAccount, { ...good, lifetime })).code,
        'INVALID_ARGUMENT',
        lifetime,
      );
    assert.equal((await mint(sandbox, token, readerAccount, { lifetime: '900s' })).code, 'INVALID_ARGUMENT');
    for (const closed of [
      'closed@demo-project.iam.gserviceaccount.com',
      'missing@demo-project.iam.gserviceaccount.com',
    ])
      assert.equal((await mint(sandbox, token, closed, good)).code, 'PERMISSION_DENIED');
    assert.equal((await mint(sandbox, 'ya29.unknown', readerAccount, good)).code, 'UNAUTHENTICATED');
    const stranger = sandbox.tokenFor('user:stranger@example.com', [cloudPlatform]);
    assert.equal((await mint(sandbox, stranger, readerAccount, good)).code, 'PERMISSION_DENIED');
  },
);

check(
  'storage: the scope and the account’s role both bound a token, and time ends it',
  async ({ sandbox, clock, broker }) => {
    const token = await broker();
    const reader = (await mint(sandbox, token, readerAccount, { scope: [cloudPlatform], lifetime: '60s' })).token;
    const narrow = (await mint(sandbox, token, writerAccount, { scope: [readOnly], lifetime: '60s' })).token;
    const writer = (await mint(sandbox, token, writerAccount, { scope: [cloudPlatform], lifetime: '60s' })).token;
    assert.equal(await storage(sandbox, reader, 'orders/o/a%2F1.txt?alt=media'), 200);
    assert.equal(await storage(sandbox, reader, 'orders/o?uploadType=media&name=c.txt', 'POST'), 403);
    assert.equal(await storage(sandbox, narrow, 'orders/o?uploadType=media&name=c.txt', 'POST'), 403);
    assert.equal(await storage(sandbox, writer, 'orders/o?uploadType=media&name=c.txt', 'POST'), 200);
    assert.equal(sandbox.object('orders', 'c.txt'), 'x');
    assert.equal(await storage(sandbox, writer, 'orders/o?uploadType=media&name=c.txt', 'POST'), 403, 'no overwriting');
    assert.equal(await storage(sandbox, reader, 'orders/o/none.txt'), 404);
    assert.equal(await storage(sandbox, reader, 'elsewhere/o/a.txt'), 403);
    assert.equal(await storage(sandbox, 'ya29.unknown', 'orders/o'), 401);
    clock.advance(60_000);
    assert.equal(await storage(sandbox, reader, 'orders/o/a%2F1.txt?alt=media'), 401);
  },
);

check(
  'a boundary is the union of its rules, ends with its source, and refuses what it does not know',
  async (harness) => {
    const { sandbox, clock } = harness;
    const source = (
      await mint(sandbox, await harness.broker(), readerAccount, { scope: [cloudPlatform], lifetime: '600s' })
    ).token;
    clock.advance(100_000);
    const rule = (expression?: string) => ({
      availableResource: '//storage.googleapis.com/projects/_/buckets/orders',
      availablePermissions: ['inRole:roles/storage.objectViewer'],
      ...(expression === undefined ? {} : { availabilityCondition: { expression } }),
    });
    const downscope = (rules: object[], token = source) =>
      harness.exchange({
        subject_token: token,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        options: JSON.stringify({ accessBoundary: { accessBoundaryRules: rules } }),
      });
    const inA = rule("resource.name.startsWith('projects/_/buckets/orders/objects/a/')");
    const cut = await downscope([inA]);
    assert.equal(cut.body.expires_in, 500);
    const token = String(cut.body.access_token);
    assert.equal(await storage(sandbox, token, 'orders/o/a%2F1.txt'), 200);
    assert.equal(await storage(sandbox, token, 'orders/o/b%2F2.txt'), 403);
    assert.equal(await storage(sandbox, token, 'orders/o?prefix=a%2F'), 403, 'no rule about listing');
    assert.equal((await downscope([inA], token)).body.error, 'invalid_grant');
    assert.equal((await downscope([inA], await harness.broker())).body.error, 'invalid_grant');
    for (const rules of [
      [],
      Array(11).fill(inA),
      [{ ...inA, availableResource: '//storage.googleapis.com/projects/_/buckets/*' }],
      [{ ...inA, availablePermissions: ['storage.objects.get'] }],
      [{ ...inA, extra: 1 }],
      [rule("resource.name.matches('.*')")],
      [rule("resource.name.startsWith('x'")],
      [rule("resource.name.startsWith('x') || ")],
      [rule("resource.name.startsWith('\\q')")],
      [rule(`resource.name.startsWith('${'x'.repeat(2048)}')`)],
    ])
      assert.equal((await downscope(rules)).body.error, 'invalid_request', JSON.stringify(rules).slice(0, 200));
    sandbox.setDisabled(readerAccount, true);
    assert.equal(await storage(sandbox, token, 'orders/o/a%2F1.txt'), 401, 'dies with its account');
  },
);

check('only the administrator may disable; a disabled account mints nothing', async ({ sandbox, broker }) => {
  const token = await broker();
  const admin = (method: string, path: string, bearer: string) =>
    fetch(`${sandbox.url}/v1/projects/${path}`, { method, headers: { authorization: `Bearer ${bearer}` } });
  const own = (await mint(sandbox, token, readerAccount, { scope: [cloudPlatform] })).token;
  const path = `demo-project/serviceAccounts/${readerAccount}`;
  assert.equal((await admin('POST', `${path}:disable`, own)).status, 403);
  assert.equal((await admin('POST', `${path}:disable`, token)).status, 200);
  assert.equal((await admin('POST', `${path}:disable`, token)).status, 200, 'twice is no error');
  assert.equal(((await (await admin('GET', path, token)).json()) as { disabled?: boolean }).disabled, true);
  assert.equal((await mint(sandbox, token, readerAccount, { scope: [readOnly] })).code, 'FAILED_PRECONDITION');
  assert.equal((await admin('GET', `other-project/serviceAccounts/${readerAccount}`, token)).status, 404);
  assert.equal(await storage(sandbox, own, 'orders/o/a%2F1.txt'), 401);
  assert.equal(
    (await admin('POST', `-/serviceAccounts/${encodeURIComponent(readerAccount)}:enable`, token)).status,
    200,
  );
  assert.equal(await storage(sandbox, own, 'orders/o/a%2F1.txt'), 200, 'enabling brings an old token back');
});

check('what is not served is 404, and broken input never a 500', async ({ sandbox, broker }) => {
  const authorization = `Bearer ${await broker()}`;
  const ask = async (path: string, init: RequestInit = {}) => (await fetch(sandbox.url + path, init)).status;
  assert.equal(await ask('/'), 404);
  assert.equal(await ask('/v1/%zz'), 404);
  assert.equal(await ask('/storage/v1/b/orders/acl'), 404);
  assert.equal(
    await ask('/v1/token', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }),
    400,
  );
  const mintPath = `/v1/projects/-/serviceAccounts/${readerAccount}:generateAccessToken`;
  for (const body of ['{', '[]', '{"scope":1}', 'null'])
    assert.equal(await ask(mintPath, { method: 'POST', body, headers: { authorization } }), 400, body);
});
