import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import * as client from 'openid-client';
import { openBrowser, signIn } from './browser.ts';
import { demoPassword, demoUsers, type LoginProvider, startLoginProvider } from './login-provider.ts';

let provider: LoginProvider;
let app: Server;
let redirectUri: string;

before(async () => {
  app = createServer((_request, response) => response.end('<p>back at the application</p>'));
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
  redirectUri = `http://127.0.0.1:${(app.address() as AddressInfo).port}/callback`;
  provider = await startLoginProvider({
    clients: [
      { clientId: 'writ', clientSecret: 'a secret', redirectUris: [redirectUri] },
      { clientId: 'public', redirectUris: [redirectUri] },
    ],
    users: demoUsers,
  });
});
after(async () => {
  await provider.close();
  app.closeAllConnections();
  app.close();
});

async function start(clientId = 'writ', secret: string | null = 'a secret') {
  const config = await client.discovery(
    new URL(provider.issuer),
    clientId,
    undefined,
    secret === null ? client.None() : client.ClientSecretBasic(secret),
    { execute: [client.allowInsecureRequests] },
  );
  const verifier = client.randomPKCECodeVerifier();
  const checks = {
    pkceCodeVerifier: verifier,
    expectedNonce: client.randomNonce(),
    expectedState: client.randomState(),
  };
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope: 'openid email profile groups',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    nonce: checks.expectedNonce,
    state: checks.expectedState,
  });
  return { config, checks, url: url.href };
}

describe('the login provider', () => {
  it('signs a person in over plain HTTP, with e-mail and groups in the ID token', async () => {
    for (const [clientId, secret] of [
      ['writ', 'a secret'],
      ['public', null],
    ] as const) {
      const { config, checks, url } = await start(clientId, secret);
      const back = await signIn(openBrowser(), url, { email: 'approver@example.com', password: demoPassword });
      assert.match(back.html, /back at the application/);
      const tokens = await client.authorizationCodeGrant(config, new URL(back.url), checks);
      const claims = tokens.claims();
      assert.equal(claims?.email, 'approver@example.com');
      assert.equal(claims?.email_verified, true);
      assert.deepEqual(claims?.groups, ['billing', 'storage']);
    }
  });

  it('remembers who signed in, and forgets in another browser', async () => {
    const browser = openBrowser();
    await signIn(browser, (await start()).url, { email: 'owner@example.com', password: demoPassword });
    assert.match((await browser.open((await start()).url)).html, /back at the application/);
    assert.match((await openBrowser().open((await start()).url)).html, /name="password"/);
  });

  it('lets nobody in with a wrong password or an unknown address', async () => {
    for (const who of [
      { email: 'approver@example.com', password: 'wrong' },
      { email: 'nobody@example.com', password: demoPassword },
    ]) {
      await assert.rejects(signIn(openBrowser(), (await start()).url, who), /not let in \(status 401\)/);
    }
  });

  it('does not accept a form from a browser that did not start the sign-in', async () => {
    const asked = await openBrowser().open((await start()).url);
    const answered = await openBrowser().submit(asked, { email: 'approver@example.com', password: demoPassword });
    assert.equal(answered.status, 400);
  });

  it('demands PKCE and a registered redirect', async () => {
    const { url } = await start();
    const without = new URL(url);
    without.searchParams.delete('code_challenge');
    without.searchParams.delete('code_challenge_method');
    const back = await openBrowser().open(without.href);
    assert.match(back.url, /error=invalid_request/);
    const elsewhere = new URL(url);
    elsewhere.searchParams.set('redirect_uri', 'http://127.0.0.1:9/callback');
    assert.equal((await openBrowser().open(elsewhere.href)).status, 400);
  });

  it('takes a code once, and only with the verifier it was asked for with', async () => {
    const { config, checks, url } = await start();
    const browser = openBrowser();
    const back = await signIn(browser, url, { email: 'approver@example.com', password: demoPassword });
    const wrong = { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() };
    await assert.rejects(client.authorizationCodeGrant(config, new URL(back.url), wrong));
    const second = await start();
    const again = await browser.open(second.url);
    await client.authorizationCodeGrant(second.config, new URL(again.url), second.checks);
    await assert.rejects(client.authorizationCodeGrant(second.config, new URL(again.url), second.checks));
  });
});
