import assert from 'node:assert/strict';
import { after as afterAll, describe, test } from 'node:test';
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose';
import { addGrant, addSession, after, eventsOf } from '../../approvals/rows.test-support.ts';
import { type Harness, openHarness } from '../../approvals/web/pages.test-support.ts';
import { openBrowser, signIn } from '../../sandbox/oidc/browser.ts';
import {
  demoPassword,
  type LoginClient,
  type LoginProvider,
  type LoginProviderOptions,
  type LoginUser,
  startLoginProvider,
} from '../../sandbox/oidc/login-provider.ts';
import { readClientKey } from './client-authentication.ts';
import type { OidcSettings } from './oidc.ts';

const credentials = { email: 'approver@example.com', password: demoPassword };
const quarter = 15 * 60_000;

interface Ground {
  harness: Harness;
  provider: LoginProvider;
  user: LoginUser;
  users: LoginUser[];
  /** The page of a grant that the person may decide. */
  url: string;
}

const open: Ground[] = [];
afterAll(async () => {
  for (const { harness, provider } of open) {
    await harness.close();
    await provider.close();
  }
});

async function start(
  provides: Partial<LoginProviderOptions> = {},
  client: Partial<LoginClient> = {},
  settings: Partial<OidcSettings> = {},
): Promise<Ground> {
  const user: LoginUser = { ...credentials, name: 'Approver', groups: ['billing'], subject: 'sub-approver' };
  const users = [user];
  let provider: LoginProvider | undefined;
  const harness = await openHarness(async (publicUrl) => {
    const redirectUris = [`${publicUrl}/login/callback`];
    provider = await startLoginProvider({
      clients: [{ clientId: 'writ', redirectUris, ...client }],
      users,
      ...provides,
    });
    return {
      issuer: provider.issuer,
      clientId: 'writ',
      groupsClaim: 'groups',
      aliasClaims: [],
      allowInsecureLoopback: true,
      ...settings,
    };
  });
  const sessionId = await addSession(harness.store, { id: 'ses_1', expiresAt: after(100_000) });
  await addGrant(harness.store, { id: 'gnt_1', sessionId, decideBy: after(100_000) });
  const ground = { harness, provider: provider as LoginProvider, user, users, url: `${harness.url}/approvals/gnt_1` };
  open.push(ground);
  return ground;
}

const typesOf = async ({ harness }: Ground) => (await eventsOf(harness.store, 'system')).map(({ type }) => type);

describe('how long a login’s authority lasts', () => {
  test('whoever is taken out of a group stops approving within 15 minutes, by userinfo', async () => {
    const ground = await start();
    const browser = openBrowser();
    const page = await signIn(browser, ground.url, credentials);
    assert.equal(page.status, 200);
    ground.user.groups = ['marketing'];
    ground.harness.clock.advance(quarter - 1);
    assert.equal((await browser.open(ground.url)).status, 200);
    ground.harness.clock.advance(1);
    // The form was opened while it was theirs.
    assert.equal((await browser.submit(page, {}, 'value="approve"')).status, 403);
    assert.equal((await browser.open(ground.url)).status, 403);
    assert.deepEqual(await typesOf(ground), ['person.signed_in', 'person.changed']);
    const grant = await ground.harness.store.prisma.grant.findUniqueOrThrow({ where: { id: 'gnt_1' } });
    assert.equal(grant.status, 'pending');
  });

  test('whoever stays in it stays signed in, until the login ends', async () => {
    const ground = await start();
    const browser = openBrowser();
    await signIn(browser, ground.url, credentials);
    for (let hours = 0; hours < 7; hours += 1) {
      ground.harness.clock.advance(3_600_000);
      const page = await browser.open(ground.url);
      assert.deepEqual([page.status, page.url], [200, ground.url]);
    }
    assert.deepEqual(await typesOf(ground), ['person.signed_in']);
  });

  test('an account that is gone, or says less than before, is signed out', async () => {
    const claims = [
      null,
      { groups: undefined },
      { groups: undefined, _claim_names: { groups: 'src1' } },
      { email: undefined },
      // It answers, with a name that nobody can read: sign-in says so.
      { name: 'a\u0000b' },
      { groups: ['a\ud800'] },
    ];
    for (const told of claims) {
      const ground = await start();
      const browser = openBrowser();
      await signIn(browser, ground.url, credentials);
      if (told === null) ground.users.pop();
      else ground.user.claims = told;
      ground.harness.clock.advance(quarter);
      await browser.open(ground.url);
      assert.ok((await typesOf(ground)).includes('person.lapsed'), JSON.stringify(told));
    }
  });

  test('while the provider does not answer nobody is who they were', async () => {
    const ground = await start();
    const browser = openBrowser();
    await signIn(browser, ground.url, credentials);
    await ground.provider.close();
    ground.harness.clock.advance(quarter);
    const page = await browser.open(ground.url);
    assert.equal(page.status, 503);
    assert.doesNotMatch(page.html, /read-customer-files|invoice-bot/);
  });

  test('what passes at the provider, or is a gateway’s answer for it, ends no login; its waiting time is handed on', async () => {
    const json = { 'content-type': 'application/json' };
    const passing: [number, { [name: string]: string }, string][] = [
      [408, {}, ''],
      [425, {}, ''],
      [429, { 'retry-after': '40', ...json }, '{"error":"too_many_requests"}'],
      [503, { 'retry-after': '40' }, ''],
      [400, json, '{"error":"temporarily_unavailable"}'],
      [400, json, '{"error":"server_error"}'],
      [400, json, '{"error":"slow_down"}'],
      [404, { 'content-type': 'text/plain' }, '404 page not found'],
      [403, { 'content-type': 'text/html' }, '<html>blocked</html>'],
    ];
    for (const provides of [{ refreshTokens: true, userinfo: false }, { userinfo: true }]) {
      let answer: ReturnType<NonNullable<LoginProviderOptions['insteadOf']>> = null;
      const ground = await start({
        ...provides,
        insteadOf: (path) => (/^\/(?:token|me)/.test(path) ? answer : null),
      });
      const browser = openBrowser();
      await signIn(browser, ground.url, credentials);
      for (const [status, headers, body] of passing) {
        // Its answers have no such codes.
        if (provides.userinfo && status === 400) continue;
        answer = { status, headers, body };
        ground.harness.clock.advance(quarter);
        const page = await browser.open(ground.url);
        const what = `${status} ${body} by ${provides.userinfo ? 'userinfo' : 'a refresh token'}`;
        assert.equal(page.status, 503, what);
        assert.equal(page.retryAfter, headers['retry-after'] ?? '10', what);
        answer = null;
        assert.equal((await browser.open(ground.url)).url, ground.url, what);
      }
      const said = provides.userinfo
        ? { status: 401, headers: { 'www-authenticate': 'Bearer error="invalid_token"' }, body: '' }
        : { status: 400, headers: json, body: '{"error":"invalid_grant"}' };
      answer = said;
      ground.harness.clock.advance(quarter);
      await browser.open(ground.url);
      assert.ok((await typesOf(ground)).includes('person.lapsed'));
    }
  });

  test('by a refresh token where there is no userinfo, used once however many ask', async () => {
    const ground = await start({ refreshTokens: true, userinfo: false });
    const browser = openBrowser();
    await signIn(browser, ground.url, credentials);
    const sealed = (await ground.harness.store.prisma.login.findFirstOrThrow()).sealed ?? '';
    assert.match(sealed, /^ey[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/);
    for (let round = 0; round < 3; round += 1) {
      ground.harness.clock.advance(quarter);
      const pages = await Promise.all(Array.from({ length: 6 }, () => browser.open(ground.url)));
      assert.deepEqual(
        pages.map(({ status, url }) => [status, url]),
        Array(6).fill([200, ground.url]),
      );
    }
    ground.user.groups = [];
    ground.harness.clock.advance(quarter);
    assert.equal((await browser.open(ground.url)).status, 403);
  });

  test('where the provider can be asked by neither, the login ends after a quarter of an hour', async () => {
    const ground = await start({ userinfo: false });
    const browser = openBrowser();
    await signIn(browser, ground.url, credentials);
    assert.equal((await ground.harness.store.prisma.login.findFirstOrThrow()).sealed, null);
    ground.harness.clock.advance(quarter - 1);
    assert.equal((await browser.open(ground.url)).url, ground.url);
    ground.harness.clock.advance(1);
    const login = await ground.harness.store.prisma.login.findFirstOrThrow();
    assert.ok(login.expiresAt <= ground.harness.clock.now());
  });
});

describe('the provider’s announced client authentication', () => {
  const secret = { clientSecret: 'client-secret-value' };

  test('is used: basic, post, a key', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
    const pem = await exportPKCS8(privateKey);
    const jwk = { ...(await exportJWK(privateKey)), kid: 'one' };
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }] };
    const cases: [
      'client_secret_basic' | 'client_secret_post' | 'private_key_jwt',
      Partial<LoginClient>,
      Partial<OidcSettings>,
    ][] = [
      ['client_secret_basic', secret, secret],
      ['client_secret_post', secret, secret],
      ['private_key_jwt', { jwks }, { clientKey: await readClientKey(pem) }],
      ['private_key_jwt', { jwks }, { clientKey: await readClientKey(JSON.stringify(jwk)) }],
    ];
    for (const [method, client, settings] of cases) {
      const authentications = [method];
      const ground = await start({ authentications }, { authentication: method, ...client }, settings);
      assert.equal(
        (await signIn(openBrowser(), ground.url, credentials)).status,
        200,
        `${method} ${ground.harness.logged}`,
      );
    }
  });

  test('of which the broker has none is a refusal that the log names, without a secret', async () => {
    const jwks = { keys: [await exportJWK((await generateKeyPair('ES256')).publicKey)] };
    const ground = await start(
      { authentications: ['private_key_jwt'] },
      { authentication: 'private_key_jwt', jwks },
      secret,
    );
    const page = await signIn(openBrowser(), ground.url, credentials);
    assert.equal(page.status, 400);
    const logged = ground.harness.logged.join('\n');
    assert.match(logged, /NoCommonClientAuthentication.*announced: private_key_jwt/);
    assert.ok(!logged.includes('client-secret-value'));
  });

  test('that does not hold is told in the provider’s own word, at the code and at a pushed request', async () => {
    for (const method of ['client_secret_basic', 'client_secret_post'] as const) {
      const client = { authentication: method, ...secret };
      const wrong = { clientSecret: 'another-secret-value' };
      const ground = await start({ authentications: [method] }, client, wrong);
      const page = await signIn(openBrowser(), ground.url, credentials);
      assert.equal(page.status, 400);
      assert.match(page.html, /It says: (invalid_client|HTTP 401)/, method);

      const pushing = await start({ authentications: [method] }, client, { ...wrong, push: true });
      const refused = await openBrowser().open(`${pushing.url}login`);
      assert.equal(refused.status, 502);
      assert.match(refused.html, /It says: (invalid_client|HTTP 401)/, method);
      assert.doesNotMatch(refused.html, /passkey/, 'it answered: nothing stands in for it');
      for (const { html } of [page, refused]) assert.doesNotMatch(html, /secret-value/);
    }
  });
});
