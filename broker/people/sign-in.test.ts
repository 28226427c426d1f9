import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after as afterAll, test } from 'node:test';
import { chromium } from 'playwright-core';
import { addGrant, addSession, eventsOf } from '../../approvals/rows.test-support.ts';
import { openHarness } from '../../approvals/web/pages.test-support.ts';
import { openBrowser, signIn } from '../../sandbox/oidc/browser.ts';
import { demoPassword, demoUsers, type LoginProvider, startLoginProvider } from '../../sandbox/oidc/login-provider.ts';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import { systemClock } from '../core/clock.ts';
import { localReturn } from './login.ts';
import { ForeignKeys, oidcClient } from './oidc.ts';

let provider: LoginProvider | undefined;
const harness = await openHarness(async (publicUrl) => {
  provider = await startLoginProvider({
    clients: [{ clientId: 'writ', clientSecret: 'client-secret-value', redirectUris: [`${publicUrl}/login/callback`] }],
    users: demoUsers,
  });
  return clientSettings();
}, 'localhost');

function clientSettings() {
  return {
    issuer: provider!.issuer,
    clientId: 'writ',
    clientSecret: 'client-secret-value',
    groupsClaim: 'groups',
    aliasClaims: [],
    allowInsecureLoopback: true,
  };
}
afterAll(async () => {
  await assertEventsFit(harness.store);
  await harness.close();
  await provider?.close();
});

const owner = { email: 'owner@example.com', password: demoPassword };
let made = 0;

async function pending() {
  made += 1;
  const sessionId = await addSession(harness.store, {
    id: `ses_${made}`,
    declaredOnBehalfOf: 'user:starter@example.com',
  });
  const id = await addGrant(harness.store, { id: `gnt_${made}`, sessionId, justification: 'Due today.' });
  return {
    url: `${harness.url}/approvals/${id}`,
    status: async () => (await harness.store.prisma.grant.findUniqueOrThrow({ where: { id } })).status,
  };
}

/** A request with its cookies by hand, for what no well-behaved browser does. */
async function raw(path: string, cookie = '', init: RequestInit = {}) {
  const response = await fetch(harness.url + path, {
    redirect: 'manual',
    ...init,
    headers: { ...(cookie === '' ? {} : { cookie }), ...init.headers },
  });
  const set = response.headers.getSetCookie();
  const jar = set.map((line) => line.split(';')[0] ?? '').join('; ');
  return {
    status: response.status,
    location: response.headers.get('location') ?? '',
    set,
    jar,
    html: await response.text(),
  };
}

test('from the link over the identity provider to the page, and on to a decision', async () => {
  const { url, status } = await pending();
  const browser = openBrowser();
  const page = await signIn(browser, url, owner);
  assert.equal(page.url, url);
  assert.match(page.html, /Due today\./);
  const decided = await browser.submit(page, {}, 'Approve');
  assert.equal(decided.url, url);
  assert.match(decided.html, /Approved by/);
  assert.equal(await status(), 'approved');
  const [signedIn] = (await eventsOf(harness.store, 'system')).slice(-1);
  assert.equal(signedIn?.type, 'person.signed_in');
  assert.equal(signedIn?.actor, 'user:owner@example.com');
});

test('an outsider and an admin who is no approver get in, and see nothing', async () => {
  const { url } = await pending();
  for (const email of ['outsider@example.com', 'admin@example.com']) {
    const page = await signIn(openBrowser(), url, { email, password: demoPassword });
    assert.equal(page.status, 403);
    assert.doesNotMatch(page.html, /Due today|read-customer-files|invoice-bot/);
  }
});

test('the database holds no cookie value, and an expired login is nobody', async () => {
  const begun = await raw('/login?return_to=/approvals');
  const provided = await followProvider(begun.location);
  const back = await raw(provided, begun.jar);
  assert.equal(back.status, 303);
  assert.equal(back.location, '/approvals');
  const cookie = back.set.find((line) => line.startsWith('writ_login='))?.split(';')[0] ?? '';
  const token = cookie.slice('writ_login='.length);
  assert.ok(
    back.set.some((line) => /^writ_login=[\w-]{43};.*HttpOnly; SameSite=Lax$/.test(line)),
    back.set.join('\n'),
  );
  const rows = JSON.stringify([
    await harness.store.prisma.login.findMany(),
    await harness.store.prisma.auditEvent.findMany(),
  ]);
  assert.ok(!rows.includes(token));
  assert.ok(rows.includes(createHash('sha256').update(token).digest('hex')));

  assert.equal((await raw('/approvals', cookie)).status, 200);
  harness.clock.advance(8 * 3600 * 1000);
  assert.equal((await raw('/approvals', cookie)).status, 303);
  harness.clock.advance(-8 * 3600 * 1000);
});

test('a sign-in that is begun anew is marked, the person stands as confirmed, and no passkey signs in meanwhile', async () => {
  const begun = await raw('/login?return_to=/passkeys&fresh=1');
  const asked = new URL(begun.location).searchParams;
  assert.deepEqual([asked.get('prompt'), asked.get('max_age')], ['login', '0']);
  const back = await raw(await followProvider(begun.location), begun.jar);
  assert.equal(back.location, '/passkeys');
  const cookie = back.set.find((line) => line.startsWith('writ_login='))?.split(';')[0] ?? '';
  const page = await raw('/passkeys', cookie);
  assert.match(page.html, /Add a passkey/);
  const [signedIn] = (await eventsOf(harness.store, 'system')).slice(-1);
  assert.deepEqual([signedIn?.type, signedIn?.payload.method], ['person.signed_in', 'fresh_oidc']);
  const confirmed = await harness.store.prisma.confirmedPerson.findMany();
  assert.ok(confirmed.some(({ subject }) => subject === signedIn?.payload.subject));
  const { jar } = await raw('/login/passkey');
  const headers = { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin' };
  const options = (more: Record<string, string>) =>
    raw('/login/passkey/options', jar, { method: 'POST', headers: { ...headers, ...more }, body: '' });
  const answered = await options({});
  assert.deepEqual(
    [answered.status, JSON.parse(answered.html).say],
    [409, 'Your identity provider answers: sign in there.'],
  );
  assert.equal((await options({ 'sec-fetch-site': 'cross-site' })).status, 403);
  const direct = await raw('/login/passkey', jar, { method: 'POST', headers, body: 'assertion=x' });
  assert.equal(direct.status, 409);
});

test('a callback needs the attempt it belongs to: state, cookie, code, once', async () => {
  const first = await raw('/login?return_to=/approvals');
  const second = await raw('/login');
  const callback = await followProvider(first.location);
  const state = new URL(first.location).searchParams.get('state') ?? '';
  const attempt = first.jar.split('=')[0] ?? '';
  const denied = `/login/callback?error=access_denied&error_description=${encodeURIComponent('<b>no account</b>')}&state=${state}&iss=${encodeURIComponent(provider!.issuer)}`;
  const withState = (state: string) => callback.replace(/state=[^&]+/, `state=${state}`);
  assert.match(callback, /&iss=http/);
  const refusals = [
    [callback, ''],
    [callback, second.jar],
    [callback, `${attempt}=x.y.z`],
    [callback, `${first.jar.slice(0, -4)}AAAA`],
    [withState('other'), first.jar],
    [callback.replace(/code=[^&]+/, 'code=made-up'), first.jar],
    // RFC 9207: this provider says who answers; another's answer, or nobody's, is not taken.
    [callback.replace(/iss=[^&]+/, `iss=${encodeURIComponent('https://other.example')}`), first.jar],
    [callback.replace(/&iss=[^&]+/, ''), first.jar],
    ['/login/callback', first.jar],
    ['/login/callback?error=access_denied&error_description=<script>alert(1)</script>', first.jar],
    [denied, first.jar],
  ] as const;
  for (const [path, cookie] of refusals) {
    const answer = await raw(path, cookie);
    assert.equal(answer.status, 400, path);
    assert.ok(!answer.set.some((line) => /^writ_login=./.test(line)), path);
    assert.doesNotMatch(answer.html, /<script>|made-up/);
    if (new URL(path, harness.url).searchParams.get('state') === state)
      assert.ok(
        answer.set.some((line) => line.startsWith(`${attempt}=;`)),
        'the attempt is spent',
      );
    if (path === denied)
      assert.match(
        answer.html,
        /It says: access_denied – &lt;b>no account&lt;\/b>|It says: access_denied – &lt;b&gt;no/,
      );
  }
  const fresh = await raw('/login?return_to=/approvals');
  const good = await followProvider(fresh.location);
  assert.equal((await raw(good, fresh.jar)).status, 303);
  assert.equal((await raw(good, fresh.jar)).status, 400, 'the code was used');
  const late = await raw('/login');
  const lateCallback = await followProvider(late.location);
  harness.clock.advance(601_000);
  assert.equal((await raw(lateCallback, late.jar)).status, 400, 'too late');
  harness.clock.advance(-601_000);
});

test('what failed is logged by its code, without anything that was sent', () => {
  assert.ok(harness.logged.length > 0);
  const lines = harness.logged.join('\n');
  for (const secret of ['client-secret-value', 'code=', 'code_verifier', 'made-up', demoPassword])
    assert.ok(!lines.includes(secret), secret);
});

test('two tabs are on their way at once, and of many the oldest is forgotten', async () => {
  const [one, two] = [await raw('/login?return_to=/approvals'), await raw('/login?return_to=/agents')];
  const both = `${one.jar}; ${two.jar}`;
  const [first, second] = [await followProvider(one.location), await followProvider(two.location)];
  assert.equal((await raw(second, both)).location, '/agents');
  assert.equal((await raw(first, both)).location, '/approvals');
  let jars = [one.jar, two.jar];
  for (let tab = 0; tab < 4; tab += 1) {
    const begun = await raw('/login', jars.join('; '));
    const gone = begun.set.filter((line) => /^writ_signin_[\w-]+=;/.test(line)).map((line) => line.split('=')[0]);
    jars = [...jars.filter((jar) => !gone.includes(jar.split('=')[0])), begun.jar.split('; ').at(-1)!];
    assert.ok(jars.length <= 5);
  }
});

test('a request is pushed where the provider wants it so', async () => {
  const pushed = oidcClient({ ...clientSettings(), push: true }, harness.url, systemClock);
  const { url, attempt } = await pushed.begin('/approvals');
  assert.match(url.searchParams.get('request_uri') ?? '', /^urn:/);
  assert.equal(url.searchParams.get('state'), null);
  const back = new URL(await followProvider(url.href), harness.url);
  assert.equal((await pushed.finish(attempt, back.search)).identity.email, owner.email);
});

test('what leaves for the provider is PKCE, state and nonce, and no secret', async () => {
  const { location, set } = await raw('/login');
  const query = new URL(location).searchParams;
  assert.equal(query.get('response_type'), 'code');
  assert.equal(query.get('code_challenge_method'), 'S256');
  assert.ok((query.get('state') ?? '').length >= 32 && (query.get('nonce') ?? '').length >= 32);
  assert.equal(query.get('redirect_uri'), `${harness.url}/login/callback`);
  assert.ok(!location.includes('client-secret-value'));
  for (const value of [query.get('state'), query.get('nonce')])
    assert.ok(!set.join().includes(value ?? ''), 'the cookie is opaque');
});

test('return_to is one of our pages or the start', async () => {
  for (const good of [
    '/locks?target=agent%3Ax',
    '/agents/some-bot?before=12',
    '/approvals/team?until=2026-01-02',
    '/',
    '/approvals',
    '/approvals/gnt_1',
    '/sessions/ses_1',
    '/agents',
    '/agents/some-bot',
  ])
    assert.equal(localReturn(good), good);
  for (const evil of [
    'https://evil.example',
    '//evil.example',
    '/\\evil.example',
    '/approvals/../logout',
    '/approvals//evil.example',
    '/logout',
    '/login',
    '/approvals/x?y',
    '/approvals/x#y',
    '/approvals\n',
    'javascript:alert(1)',
    '',
    undefined,
    ['/approvals'],
    '/approvals/%2e%2e',
    '/v1/admin',
  ]) {
    assert.equal(localReturn(evil), '/', String(evil));
  }
  const begun = await raw('/login?return_to=https://evil.example/&return_to=//evil.example');
  const answer = await raw(await followProvider(begun.location), begun.jar);
  assert.equal(answer.location, '/');
});

test('signing out needs the token and ends the login', async () => {
  const { url } = await pending();
  const browser = openBrowser();
  const page = await signIn(browser, url, owner);
  const forged = await browser.submit(page, { csrf: 'guess' }, '/logout');
  assert.equal(forged.status, 403);
  const out = await browser.submit(page, {}, '/logout');
  assert.match(out.html, /signed out/);
  const before = await harness.store.prisma.auditEvent.count({ where: { type: 'person.signed_out' } });
  assert.equal(before, 1);
});

test('a provider that does not answer is a 503 without its words', async () => {
  const lost = await openHarness(() => ({
    issuer: 'http://127.0.0.1:9',
    clientId: 'writ',
    groupsClaim: 'groups',
    aliasClaims: [],
    allowInsecureLoopback: true,
  }));
  try {
    const response = await fetch(`${lost.url}/login`, { redirect: 'manual' });
    assert.equal(response.status, 503);
    assert.doesNotMatch(await response.text(), /ECONNREFUSED|127\.0\.0\.1:9/);
  } finally {
    await lost.close();
  }
});

test('plain http is for loopback, and only when allowed', () => {
  const settings = { clientId: 'writ', groupsClaim: 'groups', aliasClaims: [] };
  const make = (issuer: string, allowInsecureLoopback: boolean) => () =>
    oidcClient({ ...settings, issuer, allowInsecureLoopback }, 'https://writ.example', harness.clock);
  assert.throws(make('http://127.0.0.1:1', false), /https/);
  assert.throws(make('http://login.example', true), /https/);
  assert.throws(make('http://127.0.0.1.evil.example', true), /https/);
  assert.doesNotThrow(make('http://127.0.0.1:1', true));
  assert.doesNotThrow(make('https://login.example', false));
});

const executablePath = '/usr/bin/chromium';
test('in a real browser on a phone, without JavaScript', {
  skip: existsSync(executablePath) ? false : 'no chromium here',
}, async () => {
  const { url, status } = await pending();
  const flags =
    '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';
  const browser = await chromium.launch({ executablePath, args: flags.split(' ') });
  try {
    const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
    const page = await context.newPage();
    const faults: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error') faults.push(message.text());
    });
    await page.goto(url);
    await page.fill('[name=email]', owner.email);
    await page.fill('[name=password]', owner.password);
    await page.click('button');
    await page.waitForURL(url);
    const width = await page.locator('html').boundingBox();
    assert.equal(width?.width, 390);
    const wide = await page
      .locator('body *:visible')
      .evaluateAll((all) => all.filter((e) => e.getBoundingClientRect().right > 391).length);
    assert.equal(wide, 0, 'nothing runs out of the screen');
    for (const control of await page.locator('button, select, textarea, a.button, summary').all()) {
      assert.ok(((await control.boundingBox())?.height ?? 44) >= 44, await control.innerText());
    }
    await page.selectOption('[name=ttl_seconds]', '300');
    await page.click('button.approve');
    await page.waitForURL(url);
    assert.match(await page.innerText('main'), /Approved/);
    assert.equal(await status(), 'approved');
    await page.click('text=Sign out');
    assert.match(await page.innerText('main'), /signed out/);
    assert.deepEqual(faults, [], 'the policy blocks nothing that the page needs');
  } finally {
    await browser.close();
  }
});

/** Goes to the identity provider as the owner; returns the callback's path and query without visiting it. */
async function followProvider(location: string): Promise<string> {
  let cookies = '';
  let next = location;
  let init: RequestInit = {};
  for (let hop = 0; hop < 10; hop += 1) {
    const response = await fetch(next, { redirect: 'manual', ...init, headers: { cookie: cookies } });
    const set = response.headers.getSetCookie().map((line) => line.split(';')[0]);
    cookies = [cookies, ...set].filter((part) => part !== '').join('; ');
    const to = response.headers.get('location');
    if (to === null) {
      await response.body?.cancel();
      init = { method: 'POST', body: new URLSearchParams(owner) };
      continue;
    }
    next = new URL(to, next).href;
    init = {};
    if (next.startsWith(harness.url)) return next.slice(harness.url.length);
  }
  throw new Error('the provider did not send the browser back');
}

test('keys on another host than the provider’s are taken only when a setting names them', async () => {
  const server = createServer((_req, res) => {
    res.setHeader('content-type', 'application/json');
    const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    res.end(
      JSON.stringify({
        issuer,
        jwks_uri: 'https://keys.example/keys',
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        response_types_supported: ['code'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['RS256'],
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const settings = {
      issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      clientId: 'writ',
      groupsClaim: 'groups',
      aliasClaims: [],
      allowInsecureLoopback: true,
    };
    const begin = (jwksUri?: string) =>
      oidcClient(
        { ...settings, ...(jwksUri === undefined ? {} : { jwksUri }) },
        'http://127.0.0.1:8420',
        harness.clock,
      ).begin('/');
    const says = (error: unknown) =>
      error instanceof ForeignKeys && error.message.includes('WRIT_OIDC_JWKS_URI=https://keys.example/keys');
    await assert.rejects(begin(), says);
    await assert.rejects(begin('https://keys.example/other'), says);
    assert.match((await begin('https://keys.example/keys')).url.href, /\/authorize\?/);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
