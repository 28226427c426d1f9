/** OAuth clients that know nothing of Writ, as they are, the whole way. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { SignJWT } from 'jose';
import * as web from 'oauth4webapi';
import * as oauth from 'openid-client';
import { systemClock } from '../../broker/core/clock.ts';
import { tokenExchange } from '../../broker/sessions/exchange-token.ts';
import { type Deployment, startDeployment } from '../deployment.test-support.ts';

const jwtType = 'urn:ietf:params:oauth:token-type:jwt';
const details = JSON.stringify([{ type: 'task', task_type: 'answer-invoice-question', inputs: { customer_id: '42' } }]);
const keys: { [alg: string]: { privateKey: KeyObject; publicKey: KeyObject } } = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: generateKeyPairSync('ed25519'),
  Ed25519: generateKeyPairSync('ed25519'),
};
const server = generateKeyPairSync('rsa', { modulusLength: 2048 });
const strangers = generateKeyPairSync('rsa', { modulusLength: 2048 });
const idOf = (alg: string) => (alg === 'RS256' ? 'night-job' : `night-job-${alg.toLowerCase()}`);

let deployment: Deployment;
let follow: NodeJS.Timeout;

before(async () => {
  const jwk = (key: KeyObject) => JSON.stringify(key.export({ format: 'jwk' }));
  deployment = await startDeployment({
    trust: (source) => `${source}
clients:
${Object.entries(keys)
  .map(
    ([alg, { publicKey }]) =>
      `  - { client_id: ${idOf(alg)}, agent: invoice-bot, jwks: { keys: [${jwk(publicKey)}] } }`,
  )
  .join('\n')}
resource_servers:
  - { client_id: orders-api, jwks: { keys: [${jwk(server.publicKey)}] } }
`,
  });
  // The clients sign by the system's time.
  follow = setInterval(() => deployment.clock.set(systemClock.now()), 100);
});
after(async () => {
  clearInterval(follow);
  await deployment.close();
});

/** A key of Node's as the platform's. */
function imported(alg: string, key: KeyObject) {
  const algorithm = {
    RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
    PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
    ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  }[alg] ?? { name: 'Ed25519' };
  const der = key.export({ type: 'pkcs8', format: 'der' });
  return crypto.subtle.importKey('pkcs8', new Uint8Array(der), algorithm, false, ['sign']);
}
const signer = async (alg: string, key: KeyObject) => oauth.PrivateKeyJwt(await imported(alg, key));
const discover = (client: string, auth: oauth.ClientAuth, algorithm: 'oauth2' | 'oidc' = 'oauth2') =>
  oauth.discovery(new URL(deployment.broker.url), client, undefined, auth, {
    algorithm,
    execute: [oauth.allowInsecureRequests],
  });
const refusedAs = (code: string, status: number) => (error: unknown) => {
  assert.ok(error instanceof oauth.ResponseBodyError, String(error));
  assert.deepEqual([error.error, error.status], [code, status], error.error_description);
  return true;
};

test('openid-client: client credentials with each kind of key, and each refusal by its code', async () => {
  for (const [alg, { privateKey }] of Object.entries(keys).filter(([name]) => name !== 'EdDSA')) {
    const config = await discover(idOf(alg), await signer(alg, privateKey), alg === 'RS256' ? 'oidc' : 'oauth2');
    const tokens = await oauth.clientCredentialsGrant(config, { authorization_details: details });
    assert.equal(tokens.token_type, 'bearer', alg);
    assert.equal((tokens.authorization_details as { type: string }[])[0]?.type, 'task');
  }
  const config = await discover('night-job', await signer('RS256', keys.RS256!.privateKey));
  const grant = (more: { [name: string]: string }) =>
    oauth.clientCredentialsGrant(config, { authorization_details: details, ...more });
  await assert.rejects(grant({ scope: 'admin' }), refusedAs('invalid_scope', 400));
  await assert.rejects(grant({ authorization_details: '[]' }), refusedAs('invalid_authorization_details', 400));
  await assert.rejects(grant({ resource: 'https://other.example.com' }), refusedAs('invalid_target', 400));
  await assert.rejects(
    oauth.genericGrantRequest(config, 'urn:example:other', {}),
    refusedAs('unsupported_grant_type', 400),
  );
  const thief = await discover('night-job', await signer('RS256', strangers.privateKey));
  await assert.rejects(
    oauth.clientCredentialsGrant(thief, { authorization_details: details }),
    refusedAs('invalid_client', 400),
  );
  const secret = await discover('night-job', oauth.ClientSecretPost('x'));
  await assert.rejects(
    oauth.clientCredentialsGrant(secret, { authorization_details: details }),
    refusedAs('invalid_client', 400),
  );
  const basic = await discover('night-job', oauth.ClientSecretBasic('x'));
  await assert.rejects(oauth.clientCredentialsGrant(basic, { authorization_details: details }), (error: unknown) => {
    assert.ok(error instanceof oauth.WWWAuthenticateChallengeError);
    assert.deepEqual([error.status, error.cause[0]?.scheme], [401, 'basic']);
    return true;
  });
});

test('openid-client: token exchange with DPoP, twice with one platform token; heartbeat, introspection, revocation', async () => {
  const config = await discover('any', oauth.None());
  const subject_token = await deployment.world.subjectToken();
  const DPoP = oauth.getDPoPHandle(config, await oauth.randomDPoPKeyPair());
  const exchange = (options?: { DPoP: oauth.DPoPHandle }) =>
    oauth.genericGrantRequest(
      config,
      tokenExchange,
      { subject_token, subject_token_type: jwtType, authorization_details: details, resource: deployment.broker.url },
      options,
    );
  const first = await exchange({ DPoP });
  const tokens = await exchange({ DPoP });
  assert.deepEqual([first.token_type, tokens.token_type], ['dpop', 'dpop']);
  const other = oauth.getDPoPHandle(config, await oauth.randomDPoPKeyPair());
  await assert.rejects(exchange({ DPoP: other }), refusedAs('invalid_grant', 400));
  await assert.rejects(exchange(), refusedAs('invalid_grant', 400));

  const call = (method: string, path: string) =>
    oauth.fetchProtectedResource(
      config,
      tokens.access_token,
      new URL(deployment.broker.url + path),
      method,
      null,
      undefined,
      { DPoP },
    );
  assert.equal((await call('GET', '/v1/session')).status, 200);
  assert.equal((await call('POST', '/v1/session/heartbeat')).status, 200);
  const asServer = await discover('orders-api', await signer('RS256', server.privateKey));
  const told = await oauth.tokenIntrospection(asServer, tokens.access_token);
  assert.deepEqual([told.active, told.sub, told.token_type], [true, 'invoice-bot', 'DPoP']);
  await oauth.tokenRevocation(config, tokens.access_token);
  assert.deepEqual(await oauth.tokenIntrospection(asServer, tokens.access_token), { active: false });
});

test('oauth4webapi by itself: the same, with each kind of key', async () => {
  const insecure = { [web.allowInsecureRequests]: true } as const;
  const issuer = new URL(deployment.broker.url);
  const as = await web.processDiscoveryResponse(
    issuer,
    await web.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }),
  );
  const task = (more: { [name: string]: string } = {}) =>
    new URLSearchParams({ authorization_details: details, ...more });
  const credentials = async (alg: string, key: KeyObject, parameters = task()) => {
    const client = { client_id: idOf(alg) };
    const auth = web.PrivateKeyJwt(await imported(alg, key));
    const answer = await web.clientCredentialsGrantRequest(as, client, auth, parameters, insecure);
    return web.processClientCredentialsResponse(as, client, answer);
  };
  for (const [alg, { privateKey }] of Object.entries(keys).filter(([name]) => name !== 'EdDSA'))
    assert.equal((await credentials(alg, privateKey)).token_type, 'bearer', alg);

  const readAs = (code: string, status: number) => (error: unknown) => {
    assert.ok(error instanceof web.ResponseBodyError, String(error));
    assert.deepEqual([error.error, error.status], [code, status], error.error_description);
    return true;
  };
  const { privateKey } = keys.RS256!;
  for (const [parameters, code] of [
    [task({ scope: 'admin' }), 'invalid_scope'],
    [task({ authorization_details: '[]' }), 'invalid_authorization_details'],
    [task({ resource: 'https://other.example.com' }), 'invalid_target'],
    [task({ request: 'x' }), 'invalid_request'],
    [task({ client_secret: 'x' }), 'invalid_client'],
  ] as const)
    await assert.rejects(credentials('RS256', privateKey, parameters), readAs(code, 400));
  await assert.rejects(credentials('RS256', strangers.privateKey), readAs('invalid_client', 400));

  const any: web.Client = { client_id: 'any' };
  const pair = await web.generateKeyPair('ES256');
  const subject_token = await deployment.world.subjectToken();
  const exchange = async (options: web.TokenEndpointRequestOptions, grantType = tokenExchange) => {
    const parameters = task({ subject_token, subject_token_type: jwtType });
    const answer = await web.genericTokenEndpointRequest(as, any, web.None(), grantType, parameters, {
      ...insecure,
      ...options,
    });
    return web.processGenericTokenEndpointResponse(as, any, answer);
  };
  const DPoP = web.DPoP(any, pair);
  const tokens = await exchange({ DPoP });
  assert.equal(tokens.token_type, 'dpop');
  const thief = web.DPoP(any, await web.generateKeyPair('ES256'));
  await assert.rejects(exchange({ DPoP: thief }), readAs('invalid_grant', 400));
  await assert.rejects(exchange({ DPoP }, 'urn:example:other'), readAs('unsupported_grant_type', 400));
  /** Something on the way sends each request twice; the client sees the second answer. */
  const twice: web.TokenEndpointRequestOptions[typeof web.customFetch] = async (url, options) => {
    await (await fetch(url, options)).arrayBuffer();
    return fetch(url, options);
  };
  await assert.rejects(exchange({ DPoP, [web.customFetch]: twice }), readAs('invalid_dpop_proof', 400));

  const call = (method: string, path: string) =>
    web.protectedResourceRequest(tokens.access_token, method, new URL(path, issuer), undefined, null, {
      DPoP,
      ...insecure,
    });
  assert.equal((await call('GET', '/v1/session')).status, 200);
  assert.equal((await call('POST', '/v1/session/heartbeat')).status, 200);
  const orders = { client_id: 'orders-api' };
  const asServer = web.PrivateKeyJwt(await imported('RS256', server.privateKey));
  const introspect = async () =>
    web.processIntrospectionResponse(
      as,
      orders,
      await web.introspectionRequest(as, orders, asServer, tokens.access_token, insecure),
    );
  assert.deepEqual((({ active, sub }) => [active, sub])(await introspect()), [true, 'invoice-bot']);
  await web.processRevocationResponse(await web.revocationRequest(as, any, web.None(), tokens.access_token, insecure));
  assert.deepEqual(await introspect(), { active: false });
});

/** Debian's Python, with Debian's packages alone. */
async function python(script: string, settings: object): Promise<{ [member: string]: never }> {
  const child = spawn('/usr/bin/python3', ['-I', new URL(script, import.meta.url).pathname], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { OAUTHLIB_INSECURE_TRANSPORT: '1', AUTHLIB_INSECURE_TRANSPORT: '1', NO_PROXY: '127.0.0.1' },
  });
  child.stdin.end(JSON.stringify(settings));
  const [out, err, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((done) => child.once('close', done)),
  ]);
  assert.equal(code, 0, `needs Debian's python3-authlib and python3-requests-oauthlib\n${err}`);
  return JSON.parse(out);
}
const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();
interface Seen {
  errors: { [what: string]: { error: string; description: string } | null };
  [member: string]: unknown;
}

test('Authlib: the same, with its own metadata check', async () => {
  const seen = (await python('authlib_client.py', {
    issuer: deployment.broker.url,
    details,
    scope: 'read-customer-files',
    subject_token: await deployment.world.subjectToken(),
    clients: ['RS256', 'ES256', 'EdDSA'].map((alg) => ({ id: idOf(alg), alg, key: pem(keys[alg]!.privateKey) })),
    server: { id: 'orders-api', alg: 'RS256', key: pem(server.privateKey) },
    strangers_key: pem(strangers.privateKey),
  })) as unknown as Seen;
  const bearer = { type: 'Bearer', scope: 'read-customer-files' };
  assert.deepEqual(seen.tokens, { RS256: bearer, ES256: bearer, EdDSA: bearer });
  assert.deepEqual([seen.session, seen.heartbeat, seen.revoked, seen.exchanged], ['active', 200, 200, 'Bearer']);
  const told = seen.introspected as { active: boolean; sub: string };
  assert.deepEqual([told.active, told.sub], [true, 'invoice-bot'], JSON.stringify(told));
  assert.deepEqual(seen.introspected_after, { active: false });
  assert.deepEqual(Object.fromEntries(Object.entries(seen.errors).map(([what, failed]) => [what, failed?.error])), {
    scope: 'invalid_scope',
    details: 'invalid_authorization_details',
    grant_type: 'unsupported_grant_type',
    key: 'invalid_client',
    client_secret_basic: 'invalid_client',
    client_secret_post: 'invalid_client',
  });
});

test('requests-oauthlib: the same', async () => {
  const now = Math.floor(systemClock.now().getTime() / 1000);
  const sign = (exp: number) =>
    new SignJWT({ jti: randomUUID(), iss: 'night-job', sub: 'night-job', aud: deployment.broker.url, exp })
      .setProtectedHeader({ alg: 'RS256' })
      .sign(keys.RS256!.privateKey);
  const seen = (await python('requests_oauthlib_client.py', {
    issuer: deployment.broker.url,
    details,
    assertions: await Promise.all([1, 2, 3].map(() => sign(now + 600))),
    expired: await sign(now - 60),
  })) as unknown as Seen;
  assert.deepEqual([seen.token, seen.session, seen.heartbeat], ['Bearer', 'active', 200]);
  const { replayed, expired, details: bad, scope, basic, secret } = seen.errors;
  assert.deepEqual(
    [replayed, expired, basic, secret].map((failed) => failed?.error),
    ['invalid_client', 'invalid_client', 'invalid_client', 'invalid_client'],
  );
  assert.match(expired?.description ?? '', /expired/);
  assert.deepEqual([bad?.error, scope?.error], ['invalid_authorization_details', 'invalid_scope']);
});
