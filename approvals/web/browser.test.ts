/**
 * The pages in a browser: a phone, without and with our script, while others decide, and held against axe's
 * rules of accessibility.
 *
 * @deep
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after as afterAll, test } from 'node:test';
import type { Page } from 'playwright-core';
import {
  addPasskey,
  authenticator,
  barriers,
  type Credentials,
  desk,
  fits,
  isAccessible,
  type Opening,
  openBrowser,
  openPage,
  phone,
  picture,
  plugIn,
} from '../../broker/console/browser.test-support.ts';
import type { PasskeyEvidence } from '../../broker/core/passkey-evidence.ts';
import { planDigest } from '../../broker/decide/plan-digest.ts';
import { setLock } from '../../broker/locks/set-lock.ts';
import { exampleProviders, exampleSource } from '../../broker/manifests/example.test-support.ts';
import { publishManifest } from '../../broker/manifests/publish.ts';
import { proveConfirmed } from '../../broker/people/confirmed-person.ts';
import { type Identity, identityRecord } from '../../broker/people/identity.ts';
import type { LoginMethod } from '../../broker/people/login-method.ts';
import { passkeyChain } from '../../broker/people/passkeys/stored-passkey.ts';
import { recordPresence } from '../../broker/signals/owner-presence.ts';
import { until } from '../../broker/until.test-support.ts';
import { review } from '../review.ts';
import { addBatch, addGrant, addSession, eventsOf, person, plan } from '../rows.test-support.ts';
import { openHarness } from './pages.test-support.ts';

const harness = await openHarness(undefined, 'localhost');
const browser = await openBrowser();
afterAll(async () => {
  await browser.close();
  await harness.close();
});

const owner = person('owner@example.com', { groups: ['billing'] });
let made = 0;

async function pending(grant: Partial<Parameters<typeof addGrant>[1]> = {}) {
  made += 1;
  const sessionId = await addSession(harness.store, { id: `ses_b${made}` });
  const id = await addGrant(harness.store, { id: `gnt_b${made}`, sessionId, ...grant });
  const row = () => harness.store.prisma.grant.findUniqueOrThrow({ where: { id } });
  return { id, path: `/approvals/${id}`, row };
}

/** A page of a signed-in person. */
async function open(
  path: string,
  { who = owner, method, ...options }: Omit<Opening, 'cookie'> & { who?: Identity; method?: LoginMethod },
  body: (page: Page) => Promise<void>,
) {
  const { cookie } = await harness.signedIn(who, method);
  await openPage(browser, harness.url + path, { cookie, ...options }, body);
}

const wide = Array.from({ length: 40 }, (_, n) => `arn:aws:s3:::orders/customers/42/${n}/*`);
const long = { ...plan, permission: { Statement: [{ Effect: 'Allow', Action: ['s3:GetObject'], Resource: wide }] } };

test('on a phone, without script: Approve is in reach at once, and says what was chosen', async () => {
  const { path, row } = await pending({ plan: long, params: { repositories: ['orders', 'notes'] } });
  await open(path, { ...phone, javaScriptEnabled: false }, async (page) => {
    const approve = page.locator('.bar button.approve');
    assert.equal(await page.locator('pre').isVisible(), false, 'the raw permission is folded away');
    const box = await approve.boundingBox();
    assert.ok(box !== null && box.y + box.height <= 844, `in reach: ${JSON.stringify(box)}`);
    assert.equal(await approve.innerText(), 'Approve exactly this');
    await fits(page);
    await picture(page, 'approval-phone');
    await page.locator('#ttl').selectOption('300');
    assert.equal(await approve.innerText(), 'Approve less, as chosen');
    await page.locator('#ttl').selectOption('900');
    await page.locator('details.parts summary').click();
    await page.locator('input[name=keep]').last().uncheck();
    assert.equal(await approve.innerText(), 'Approve less, as chosen');
    await picture(page, 'approval-phone-narrowed');
    await approve.click();
    assert.match(
      await page.locator('.verdict').innerText(),
      /Approved by owner@example\.com at 4? ?0?4? ?Mar 12:00:00 UTC/,
    );
    assert.equal(await page.locator('.bar').count(), 0);
    await picture(page, 'approved-phone');
  });
  const { status, plan: approved } = await row();
  assert.equal(status, 'approved');
  assert.deepEqual((approved as { permission: { without: string[] } }).permission.without, ['/repositories/1']);
});

test('a challenge, without script: nothing is approved before the right sentence is picked', async () => {
  const of = (customer: string) => ({ ...plan, permission: { ...plan.permission, customer } });
  const before = harness.describe;
  harness.about.challenged = true;
  harness.describe = (asked) => ({
    summary: [`Read objects under customers/${asked.permission.customer}/ in the S3 bucket orders`],
    revocability: harness.description.revocability,
  });
  const capability = 'read-challenged';
  try {
    for (const customer of ['7', '420', '43']) await pending({ capability, plan: of(customer) });
    const { path, row } = await pending({ capability, plan: of('42') });
    await open(path, { ...phone, javaScriptEnabled: false, mayFail: /status of 403/ }, async (page) => {
      const group = page.getByRole('group', { name: 'Before you approve: which of these does this request say?' });
      assert.deepEqual(
        (await group.getByRole('radio').all()).length === 4 &&
          (await group.getByRole('radio', { checked: true }).count()),
        0,
        'four, and none is picked already',
      );
      const width = await page.locator('html').evaluate((html) => html.scrollWidth);
      assert.ok(width <= 390, `nothing is wider than the screen: ${width}`);
      await page.locator('.bar').getByRole('link', { name: 'Approve …' }).click();
      const box = await group.boundingBox();
      assert.ok(box !== null && box.y >= 0 && box.y < 400, `it is in view: ${JSON.stringify(box)}`);
      // The browser itself asks for a choice.
      await page.locator('form#approve button.approve').click();
      assert.equal((await row()).status, 'pending');
      await picture(page, 'challenge-phone');
      await group.getByRole('radio', { name: 'customers/420/' }).check();
      await page.locator('form#approve button.approve').click();
      assert.match(await page.locator('.fault[role=alert]').innerText(), /not this request’s/);
      assert.equal(await page.locator('button.approve').count(), 0, 'not for a minute');
      assert.equal(await page.locator('form#deny button.deny').count(), 1);
      await picture(page, 'challenge-wrong-phone');
      assert.equal((await row()).status, 'pending');
      harness.clock.advance(60_000);
      await page.goto(harness.url + path);
      await group.getByRole('radio', { name: 'customers/42/' }).check();
      await page.locator('form#approve button.approve').click();
      assert.match(await page.locator('.verdict').innerText(), /Approved by owner@example\.com/);
    });
    assert.equal((await row()).status, 'approved');
    const other = await pending({
      capability,
      plan: of('44'),
      decideBy: new Date(harness.clock.now().getTime() + 240_000),
    });
    await open(other.path, { timezoneId: 'UTC' }, async (page) => {
      await isAccessible(page, 'challenge');
      // With the keyboard alone.
      await page.getByRole('radio').first().focus();
      for (
        let moves = 0;
        moves < 4 && !(await page.getByRole('radio', { name: 'customers/44/' }).isChecked());
        moves += 1
      )
        await page.keyboard.press('ArrowDown');
      await page.keyboard.press('Enter');
      await page.locator('.verdict', { hasText: 'Approved by' }).waitFor();
    });
    assert.equal((await other.row()).status, 'approved');
  } finally {
    harness.describe = before;
    harness.about.challenged = false;
  }
});

test('several at once: all of each on a desk and on a phone; what is ticked is denied, the others approved', async () => {
  const sessionId = await addSession(harness.store, { id: 'ses_several' });
  const member = (n: number, summary: string[]) => ({
    id: `gnt_m${n}`,
    capability: ['read-customer-files', 'correct-invoice', 'notify'][n - 1]!,
    plan: { ...plan, permission: { ...plan.permission, n }, ttl_seconds: 300 * n },
    summary,
  });
  const members = [
    member(1, ['Read objects under customers/42/ in the S3 bucket orders']),
    member(2, ['Read and write objects under customers/42/ in the S3 bucket invoices', 'Delete none of them']),
    member(3, [`Write to the repository example-org/${'a-very-long-name-'.repeat(5)}`]),
  ];
  const row = { id: 'gnt_several', sessionId, justification: 'To correct invoice 4711.' };
  const batch = await addBatch(harness.store, row, members);
  await open(`/approvals/${members[1]!.id}`, {}, async (page) => {
    assert.ok(page.url().endsWith(`/approvals/${batch}`));
    for (const { capability, summary } of members)
      for (const text of [capability, ...summary])
        assert.ok(await page.getByText(text, { exact: false }).first().isVisible(), text);
    await fits(page);
    await isAccessible(page, 'several');
    await page.setViewportSize(desk.viewport);
    await picture(page, 'approval-several', true);
  });
  await open(`/approvals/${batch}`, { ...phone, javaScriptEnabled: false }, async (page) => {
    const approve = page.locator('.bar button.approve');
    const box = await approve.boundingBox();
    assert.ok(box !== null && box.y + box.height <= 844, `in reach: ${JSON.stringify(box)}`);
    assert.equal(await approve.innerText(), 'Approve all 3');
    await fits(page);
    await picture(page, 'approval-several-phone', true);
    await page.getByRole('group', { name: 'Deny only these' }).getByLabel('notify').check();
    assert.equal(await approve.innerText(), 'Approve the others');
    await picture(page, 'approval-several-phone-ticked');
    await approve.click();
    assert.match(await page.locator('.verdict').innerText(), /Approved by owner@example\.com/);
    await fits(page);
    await picture(page, 'approved-several-phone');
  });
  const all = await harness.store.prisma.grant.findMany({ where: { batchId: batch }, orderBy: { id: 'asc' } });
  assert.deepEqual(
    all.map(({ status }) => status),
    ['approved', 'approved', 'denied'],
  );
});

test('with script: times are the reader’s, and what another decided is there without a reload', async () => {
  const { id, path, row } = await pending();
  await open(path, { timezoneId: 'Asia/Tokyo', viewport: { width: 1280, height: 900 } }, async (page) => {
    await page.getByText('21:05:00 GMT+9').first().waitFor();
    await picture(page, 'approval-desktop');
    assert.equal(await page.locator('.bar').isVisible(), false);
    const { planDigest } = await row();
    await review(
      { store: harness.store, clock: harness.clock, approversOf: async () => ['team:billing'] },
      {
        grantId: id,
        reviewer: person('second@example.com', { groups: ['billing'] }),
        verdict: 'deny',
        reason: 'not today',
        planDigest,
        channel: 'web',
        requestId: 'req_other',
      },
    );
    await page.getByText('Denied by second@example.com at').waitFor();
    assert.equal(await page.locator('button.approve').count(), 0);
    await picture(page, 'decided-by-another');
  });
});

test('in the dark, on a phone: the inbox tells requests apart', async () => {
  await pending();
  await open('/approvals', { ...phone, colorScheme: 'dark' }, async (page) => {
    assert.match(await page.locator('main').innerText(), /invoice_id 4711/);
    await fits(page);
    await picture(page, 'inbox-phone-dark');
  });
});

test('with script: a request that comes is in the inbox without a reload', async () => {
  await pending();
  await open('/approvals', { viewport: { width: 1280, height: 900 } }, async (page) => {
    const listed = await page.getByRole('link', { name: 'Look' }).count();
    const { path } = await pending();
    await page.locator(`a[href="${path}"]`).waitFor();
    assert.equal(await page.getByRole('link', { name: 'Look' }).count(), listed + 1);
  });
});

test('in a page of somebody else’s nothing of ours is shown, and no click reaches it', async () => {
  const { path, row } = await pending();
  // Of the same site, so that the login’s cookie goes along: the worst that a frame can have.
  const trap = createServer((_req, res) => {
    res.setHeader('content-type', 'text/html');
    res.end(
      `<h1>Win a prize</h1><iframe src="${harness.url}${path}#decide" style="position:absolute;left:0;top:0;width:1200px;height:860px;opacity:.01"></iframe>`,
    );
  });
  await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve));
  try {
    const { cookie } = await harness.signedIn(owner);
    const [name = '', value = ''] = cookie.split('=');
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    await context.addCookies([{ name, value, url: harness.url }]);
    const page = await context.newPage();
    const refused: string[] = [];
    page.on('console', (message) => message.type() === 'error' && refused.push(message.text()));
    const answered = page.waitForResponse((response) => response.url().includes(path));
    await page.goto(`http://localhost:${(trap.address() as AddressInfo).port}/`);
    const answer = await answered;
    assert.equal(answer.status(), 200, 'the browser asked for it as the signed-in person');
    assert.equal(answer.headers()['x-frame-options'], 'DENY');
    await until('the browser refuses it', async () => refused.some((line) => /frame/i.test(line)));
    for (const frame of page.frames()) assert.equal(await frame.locator('button').count(), 0);
    for (let x = 50; x < 1250; x += 200) for (let y = 50; y < 900; y += 100) await page.mouse.click(x, y);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    assert.equal((await row()).status, 'pending');
    await context.close();
    // The same cookie, as a page of its own: there it is.
    await open(path, {}, async (own) => assert.equal(await own.locator('.verdict button.approve').count(), 1));
  } finally {
    trap.closeAllConnections();
    await new Promise((resolve) => trap.close(resolve));
  }
});

/** Somebody of the owners who has a passkey, and that passkey for the next browser. */
async function keyHolder(name: string) {
  const who = person(`${name}@example.com`, { groups: ['billing'] });
  let credentials: Credentials = [];
  await open('/passkeys', { who, method: 'fresh_oidc' }, async (page) => {
    credentials = await addPasskey(page, 'laptop');
  });
  /** Plugs it in. */
  const plug = (page: Page, verifies = true) => plugIn(page, credentials, 10, verifies);
  return { who, plug };
}

test('tier 3 is approved by the reader’s passkey, for what they chose, and by nothing else', async () => {
  const [mine, theirs] = [await keyHolder('mine'), await keyHolder('theirs')];
  const { path, row, id } = await pending({ tier: 3 });
  const said = (page: Page) => page.locator('#approve [data-told]').innerText();
  const approve = (page: Page) => page.locator('.verdict button.approve').click();
  // No passkey: no Approve, and where to add one. Denying is there.
  await open(path, {}, async (page) => {
    await page.locator('.verdict').getByRole('link', { name: 'Add one' }).waitFor();
    assert.deepEqual(
      [await page.locator('button.approve').count(), await page.locator('#deny button').count()],
      [0, 1],
    );
    await picture(page, 'tier-3-no-passkey');
  });
  // Without script, the form says so, and the broker refuses it.
  await open(path, { who: mine.who, javaScriptEnabled: false, mayFail: /403/ }, async (page) => {
    await page.getByText('your browser runs none here').waitFor();
    await approve(page);
    await page.getByText('Your passkey must sign for this').waitFor();
  });
  // The device cannot tell who it is, as if the dialog were closed; or it has another person’s key.
  await open(path, { who: mine.who }, async (page) => {
    const { devtools, authenticatorId } = await mine.plug(page);
    await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
    await approve(page);
    await page.locator('#approve [data-told]:not([hidden])').waitFor();
    assert.match(await said(page), /Nothing was sent: the dialog was closed/);
    await picture(page, 'tier-3-cancelled');
    await devtools.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId });
    await theirs.plug(page);
    await approve(page);
    await page.locator('#approve [data-told]:not([hidden])').waitFor();
    assert.match(await said(page), /no passkey of yours is on this device/);
  });
  assert.equal((await row()).status, 'pending');
  await open(path, { who: mine.who, ...phone }, async (page) => {
    await mine.plug(page);
    await page.locator('#ttl').selectOption('60');
    await picture(page, 'tier-3-phone');
    await page.locator('.bar button.approve').click();
    await page.getByText('Approved by mine@example.com').waitFor();
  });
  const { status, planDigest: consented } = await row();
  const [given] = await harness.store.prisma.review.findMany({ where: { grantId: id } });
  assert.ok(given);
  const { challenge } = given.evidence as unknown as PasskeyEvidence;
  assert.deepEqual([status, challenge.digest, challenge.about], ['approved', consented, id]);
  // A key that was copied, and used elsewhere since.
  const next = await pending({ tier: 3 });
  await open(next.path, { who: mine.who, mayFail: /403|409/ }, async (page) => {
    await mine.plug(page);
    await approve(page);
    await page.getByText('This passkey is disabled').waitFor();
    await picture(page, 'tier-3-counter');
  });
  assert.equal((await next.row()).status, 'pending');
});

test('what was approved too fast is confirmed on a page of its own: without script, and signed by a passkey', async () => {
  const mine = await keyHolder('hasty');
  harness.warns = true;
  try {
    const { path, row } = await pending();
    await open(path, { ...phone, javaScriptEnabled: false, mayFail: /409/ }, async (page) => {
      await page.locator('#ttl').selectOption('300');
      await page.locator('.bar button.approve').click();
      await page.getByRole('heading', { name: 'You decided after 0 s' }).waitFor();
      await fits(page);
      await picture(page, 'warning-phone');
      const confirm = page.locator('form#approve button.approve');
      // The browser itself asks for the tick.
      await confirm.click();
      assert.equal((await row()).status, 'pending');
      await page.getByRole('checkbox', { name: 'I have read this now.' }).check();
      await confirm.click();
      await page.getByText('confirmed after a warning').waitFor();
    });
    const { status, plan: approved } = await row();
    assert.deepEqual([status, (approved as { ttl_seconds: number }).ttl_seconds], ['approved', 300]);
    const signed = await pending({ tier: 3 });
    await open(signed.path, { who: mine.who, mayFail: /409/ }, async (page) => {
      await mine.plug(page);
      await page.locator('.verdict button.approve').click();
      // Nothing was signed for what does not count.
      await page.getByRole('heading', { name: 'You decided after 0 s' }).waitFor();
      assert.equal((await signed.row()).status, 'pending');
      await page.getByRole('checkbox', { name: 'I have read this now.' }).check();
      await isAccessible(page, 'warning-tier-3');
      await page.locator('form#approve button.approve').click();
      await page.getByText('Approved by hasty@example.com').waitFor();
    });
    assert.equal((await signed.row()).status, 'approved');
    const assertions = await harness.store.prisma.review.findMany({ where: { grantId: signed.id } });
    assert.equal(assertions.length, 1);
  } finally {
    harness.warns = false;
  }
});

test('while the identity provider does not answer, a passkey signs in, for half an hour, as whom it confirmed', async () => {
  const { who, plug } = await keyHolder('stranded');
  const { path } = await pending();
  const record = identityRecord(who);
  const { issuer, subject } = who;
  const confirmedAt = harness.clock.now();
  const proof = proveConfirmed(harness.store, who, record, confirmedAt);
  await harness.store.prisma.confirmedPerson.create({
    data: { issuer, subject, identity: record, confirmedAt, proof },
  });
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(harness.url + path);
    await page.getByRole('link', { name: 'Sign in with a passkey' }).click();
    await plug(page);
    await picture(page, 'passkey-sign-in');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('Your decision is asked for').waitFor();
    assert.equal(new URL(page.url()).pathname, path);
  } finally {
    await context.close();
  }
  const logins = await harness.store.prisma.login.findMany({ where: { method: 'passkey' } });
  assert.deepEqual(
    logins.map(({ createdAt, expiresAt }) => (expiresAt.getTime() - createdAt.getTime()) / 1000),
    [1800],
  );
  const [signedIn] = (await eventsOf(harness.store, 'system')).slice(-1);
  assert.deepEqual([signedIn?.type, signedIn?.payload.method], ['person.signed_in', 'passkey']);
});

test('a person adds a passkey right after signing in for it, another with the first, and removes one', async () => {
  const who = person('keys@example.com');
  // An ordinary login adds no first one, and is told how.
  await open('/passkeys', { who }, async (page) => {
    await page.getByText('sign in once more').waitFor();
    assert.equal(await page.locator('form[action="/passkeys"]').count(), 0);
  });
  await open('/passkeys', { who, method: 'fresh_oidc', ...phone }, async (page) => {
    await addPasskey(page, 'phone');
    await picture(page, 'passkeys-phone');
    // On the same device there is one already; on another one, the first vouches for it.
    const addAgain = async () => {
      await page.locator('#name').fill('stick');
      await page.locator('form[action="/passkeys"] button').click();
    };
    await addAgain();
    await page.getByText('This device has a passkey of yours already.').waitFor();
    await authenticator(page, true, 'usb');
    await addAgain();
    await page.locator('td', { hasText: 'stick' }).waitFor();
    await fits(page);
    await page.locator('td button', { hasText: 'Remove' }).first().click();
    await page.waitForFunction(() => document.querySelectorAll('td button').length === 1);
  });
  const events = await eventsOf(harness.store, passkeyChain(who));
  assert.deepEqual(
    events.map(({ type }) => type),
    ['passkey.registered', 'passkey.used', 'passkey.registered', 'passkey.used', 'passkey.removed'],
  );
});

test('on a phone and without our script, the next ones are approved ahead of time', async () => {
  const { id, path } = await pending({ params: { folder: 'reports/2026/05', lines: 5 } });
  const approval = { grantId: id, reviewer: owner, verdict: 'approve', planDigest: planDigest(plan) } as const;
  await review(
    { store: harness.store, clock: harness.clock, approversOf: async () => ['team:billing'] },
    { ...approval, channel: 'web', requestId: 'req' },
  );
  await open(path, { ...phone, javaScriptEnabled: false }, async (page) => {
    await page.getByRole('link', { name: 'Approve the next ones like this' }).click();
    await page.getByLabel('folder:').selectOption('prefix');
    await page.getByLabel('What folder may be').fill('reports/2026/');
    await page.getByLabel('How many times').fill('5');
    await page.getByLabel('Why').fill('The report of each night.');
    await picture(page, 'ahead-form');
    await page.getByRole('button', { name: 'Approve ahead of time' }).click();
    await page.getByText('anything under reports/2026/').waitFor();
    await picture(page, 'ahead-given');
    await page.getByRole('button', { name: 'Withdraw it' }).click();
    await page.getByText('it was withdrawn').waitFor();
  });
});

const admin = person('admin@example.com', { groups: ['writ-admins', 'billing'] });
const rules = [{ id: 'untrusted-shell', message: 'Arguments of the shell come from a web page.' }];
const callPlan = {
  provider: 'call',
  ttl_seconds: 300,
  permission: {
    tool: 'shell',
    entity: 'host/build-7',
    arguments: { command: { type: 'string', preview: 'rm -rf build' } },
    origins: { command: 'output of a tool' },
    unknown_destinations: 1,
    cost_micro_usd: 1200,
    rules,
  },
};
const liftPlan = {
  provider: 'session',
  ttl_seconds: 300,
  permission: {
    because: 'downgrade',
    rules,
    asked: 'tool:shell',
    arguments: { command: { type: 'string', preview: 'rm -rf build' } },
    took: ['tool:shell'],
    withhold: [],
    could: ['tool:shell', 'capability:read-customer-files'],
  },
};

/** Every page there is, in every state that looks different, and who looks at it. */
async function everyPage() {
  const { store, clock } = harness;
  const publish = (source: string, proposed = false) =>
    publishManifest(store, clock, exampleProviders, {
      source,
      author: 'user:second@example.com',
      reason: 'Invoices need it.',
      agent: 'invoice-bot',
      expectedVersion: null,
      requestId: 'req_1',
      ...(proposed ? { reviewFor: { kind: 'person', identity: person('second@example.com') } } : {}),
    });
  await publish(exampleSource);
  await publish(exampleSource.replace('max_ttl: 15m', 'max_ttl: 20m'), true);
  await publishManifest(store, clock, exampleProviders, {
    source: exampleSource
      .replace('agent: invoice-bot', 'agent: orphaned-bot')
      .replace('owner: team:billing', 'owner: user:gone@example.com'),
    author: 'user:gone@example.com',
    reason: 'Mine.',
    agent: 'orphaned-bot',
    expectedVersion: null,
    requestId: 'req_1',
  });
  const gone = [{ kind: 'email', value: 'gone@example.com' } as const];
  const word = { gone: true, at: clock.now(), jti: 'set-1', event: 'https://idp.example/account-purged' };
  assert.equal(await recordPresence(store, gone, word), 1);
  const justification = 'The customer asked for a copy of invoice 4711, which lies in their folder.';
  const grantOf = (more: Partial<Parameters<typeof addGrant>[1]>) =>
    pending({ justification, params: { customer_id: '42', repositories: ['orders', 'notes'] }, ...more });
  const request = await grantOf({});
  const call = await grantOf({ capability: 'tool:shell', plan: callPlan });
  const lift = await grantOf({ capability: 'session:lift', plan: liftPlan });
  const quorum = await grantOf({ approval: [{ quorum: 2, from: ['team:billing'] }] });
  const denied = await grantOf({});
  const byPasskey = await grantOf({ tier: 3 });
  const deps = { store, clock, approversOf: async () => ['team:billing'] };
  const decide = async ({ id, row }: typeof request, verdict: 'approve' | 'deny') =>
    review(deps, {
      grantId: id,
      reviewer: owner,
      verdict,
      reason: 'Seen with the customer.',
      planDigest: (await row()).planDigest,
      channel: 'web',
      requestId: 'req_1',
    });
  await decide(quorum, 'approve');
  await decide(denied, 'deny');
  const approved = await grantOf({});
  await decide(approved, 'approve');
  const order = { reason: 'It sends mail to strangers.', admin: { name: 'user:admin@example.com', identity: admin } };
  const locks = { store, clock, providers: new Map(), mintDeadlineSeconds: 30, toldOfEnds: [], notify: () => {} };
  const target = { level: 'capability' as const, subject: 'invoice-bot/close-account' };
  await setLock(locks, target, { ...order, requestId: null });
  const { sessionId } = await request.row();
  const pages = {
    home: '/',
    inbox: '/approvals',
    'decided-by-you': '/approvals/mine',
    request: request.path,
    'request-about-a-call': call.path,
    'request-to-lift': lift.path,
    'request-of-two': quorum.path,
    'request-denied': denied.path,
    'request-by-passkey': byPasskey.path,
    passkeys: '/passkeys',
    'pre-approvals': '/pre-approvals',
    'approve-ahead': `${approved.path}/ahead`,
    'request-unknown': '/approvals/gnt_unknown',
    session: `/sessions/${sessionId}`,
    agents: '/agents',
    agent: '/agents/invoice-bot',
    'agent-owner-gone': '/agents/orphaned-bot',
    locks: '/locks',
    logins: '/logins',
    'locks-of-an-agent': '/locks?target=agent%20invoice-bot',
    'for-admins': '/locks',
  };
  return Object.entries(pages).map(([name, path]) => ({
    name,
    path,
    who: /^(agents?|agent-owner-gone|locks.*|logins|home)$/.test(name) ? admin : owner,
    status: name === 'request-unknown' ? 404 : name === 'for-admins' ? 403 : 200,
  }));
}

test('every page, light and dark, on a phone and on a desk: axe finds nothing serious', async () => {
  for (const { name, path, who, status } of await everyPage())
    await open(
      path,
      { timezoneId: 'UTC', who, ...(status === 200 ? {} : { mayFail: new RegExp(`status of ${status}`) }) },
      (page) => isAccessible(page, name),
    );
});

test('on a phone the pages are one line of links: all in view, by keyboard too, without script', async () => {
  for (const width of [360, 390])
    for (const colorScheme of ['light', 'dark'] as const)
      for (const javaScriptEnabled of [true, false])
        await open('/', { viewport: { width, height: 740 }, colorScheme, javaScriptEnabled }, async (page) => {
          const links = page.locator('.masthead nav a');
          const boxes = await Promise.all((await links.all()).map((link) => link.boundingBox()));
          assert.equal(boxes.length, 5);
          assert.equal(new Set(boxes.map((box) => box?.y)).size, 1, 'one line');
          for (const box of boxes) assert.ok(box !== null && box.x >= 0 && box.x + box.width <= width);
          assert.ok((boxes[0]?.height ?? 0) >= 44, 'a finger hits it');
          await page.keyboard.press('Tab');
          for (const name of ['Writ', 'Approvals', 'Decided by you', 'Ahead of time', 'Agents', 'Passkeys']) {
            await page.keyboard.press('Tab');
            assert.equal((await page.locator(':focus').innerText()).replace(/^W\s+/, '').replace(/\s+/g, ' '), name);
          }
          await fits(page);
          if (!javaScriptEnabled) return;
          await picture(page, `navigation-${width}-${colorScheme}`);
          assert.deepEqual(await barriers(page), []);
        });
});
