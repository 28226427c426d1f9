/**
 * Break-glass in a browser: a broker that really listens, people with passkeys of Chrome's own authenticator,
 * an agent that asks meanwhile. On a clock moved by hand, so that what a picture shows is the same each time.
 *
 * @deep
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { manualClock, systemClock } from '../core/clock.ts';
import { proveConfirmed } from '../people/confirmed-person.ts';
import { type Identity, identityRecord } from '../people/identity.ts';
import { signedIn } from '../people/signed-in.test-support.ts';
import { type Ground, prepareGround, source } from '../running.test-support.ts';
import { until } from '../until.test-support.ts';
import {
  addPasskey,
  type Credentials,
  desk,
  fits,
  isAccessible,
  type Opening,
  openBrowser,
  openPage,
  phone,
  plugIn,
} from './browser.test-support.ts';

const capabilities = `  deploy-orders: { description: Deploy the orders service., provider: plain, tasks: [work], tier: 3, max_ttl: 15m, break_glass: true }
  restart-orders: { description: Restart it., provider: plain, tasks: [work], tier: 3, max_ttl: 15m, break_glass: true }
`;

const hand = manualClock(new Date('2026-03-04T12:00:00.000Z'));
const clock = { now: hand.now, sleep: systemClock.sleep };
const minute = 60_000;

let ground: Ground;
let broker: Broker;
let browser: Browser;

const person = (name: string, groups: string[]): Identity => ({
  issuer: 'https://login.example',
  subject: name,
  email: `${name}@example.com`,
  emailVerified: true,
  groups,
  aliases: [],
});
const [first, second, third] = ['first', 'second', 'third'].map((name) => person(name, ['on-call'])) as [
  Identity,
  Identity,
  Identity,
];
const keyless = person('keyless', ['on-call']);
const owner = person('owner', ['billing']);
const outsider = person('outsider', []);
const keys = new Map<string, Credentials>();
let count = 1;

before(async () => {
  ground = await prepareGround([], 'localhost', clock);
  await writeFile(join(ground.manifests, 'agent.yaml'), source + capabilities);
  browser = await openBrowser();
  const env = {
    WRIT_BREAK_GLASS_GROUP: 'on-call',
    WRIT_OIDC_ISSUER: 'https://login.example',
    WRIT_OIDC_CLIENT_ID: 'writ',
  };
  broker = await ground.start(env, { clock });
  for (const who of [first, second, third])
    await open('/passkeys', { who, fresh: true }, async (page) => {
      keys.set(who.subject, await addPasskey(page, 'laptop'));
    });
});
after(async () => {
  await browser.close();
  await assertEventsFit(broker.store);
  await broker.stop();
  await ground.close();
});

async function open(
  path: string,
  { who, fresh = false, ...options }: Omit<Opening, 'cookie'> & { who: Identity; fresh?: boolean },
  body: (page: Page) => Promise<void>,
) {
  const { cookie } = await signedIn(
    broker.store,
    who,
    clock.now(),
    fresh ? 'fresh_oidc' : 'oidc',
    'https://login.example writ',
  );
  await openPage(browser, ground.url + path, { timezoneId: 'UTC', ...options, cookie }, body);
}

/** The device that the person has with them. */
async function plug(page: Page, { subject }: Identity) {
  count += 1;
  await plugIn(page, keys.get(subject)!, count);
}

async function fillIn(page: Page) {
  await page.getByLabel('deploy-orders').check();
  await page.getByLabel('The incident').fill('INC-4711');
  await page.getByLabel('Why').fill('Orders fail since 11:40, and the fix is merged.');
  await page.getByLabel('For how many minutes').fill('20');
}
const press = (page: Page, name: string) => page.getByRole('button', { name }).click();
const main = (page: Page) => page.locator('main').innerText();

/** Somebody asks. @returns the path of its page */
async function asked(who = first, { device = desk, shown }: { device?: object; shown?: boolean } = {}) {
  let path = '';
  await open('/break-glass', { who, ...device }, async (page) => {
    await plug(page, who);
    await fillIn(page);
    if (shown) await isAccessible(page, 'break-glass-ask');
    await press(page, 'Ask, with my passkey');
    await page.waitForURL(/break-glass\/bgl_/);
    ({ pathname: path } = new URL(page.url()));
  });
  return path;
}
async function agreed(path: string, who = second) {
  await open(path, { who, ...phone }, async (page) => {
    await plug(page, who);
    await press(page, 'Break the glass, with my passkey');
    await page.locator('.tag', { hasText: 'open until' }).waitFor();
  });
}
async function closed(path: string, who = owner) {
  await open(path, { who, ...phone, javaScriptEnabled: false }, async (page) => {
    await page.getByLabel('Why (kept').fill('Orders work again.');
    await press(page, 'Close it');
    await page.locator('.tag', { hasText: 'to be reviewed' }).waitFor();
  });
}

test('two people with passkeys break the glass, an agent is given, it is closed, and a third reviews it', async () => {
  const agent = await ground.session(clock.now());
  const asks = async () => (await agent('/v1/grants', { capability: 'deploy-orders' })).status;
  assert.equal(await asks(), 202);
  const path = await asked(first, { shown: true });
  await open(path, { who: first }, async (page) => {
    assert.match(await main(page), /Another person than the one who asked must agree/);
    assert.equal(await page.locator('form[action$="/agree"]').count(), 0);
    await isAccessible(page, 'break-glass-asked');
  });
  assert.equal(await asks(), 202);
  await open(path, { who: second, ...phone }, async (page) => {
    const texts = ['first@example.com', 'INC-4711', 'deploy-orders', 'Orders fail since 11:40'];
    const read = await main(page);
    for (const text of texts) {
      assert.ok(read.includes(text), text);
      assert.ok(read.indexOf(text) < read.indexOf('Break the glass, with my passkey'), `${text} is read first`);
    }
    await isAccessible(page, 'break-glass-agree');
  });
  await agreed(path);
  assert.equal(await asks(), 201);
  assert.equal(ground.provider.alive().length, 1);
  await open(path, { who: third }, async (page) => {
    await page.getByRole('heading', { name: 'What was given by it' }).waitFor();
    assert.match(await main(page), /deploy-orders, 4 Mar.* in ses_/s);
    await isAccessible(page, 'break-glass-open');
  });
  await open('/', { who: second, ...phone }, async (page) => {
    assert.match(await main(page), /The glass is broken/);
    await isAccessible(page, 'break-glass-home-open');
  });
  await closed(path);
  assert.equal(await asks(), 202);
  await until('it is revoked', async () => ground.provider.alive().length === 0);
  await open(path, { who: second }, async (page) => {
    assert.match(await main(page), /neither of the two must review it/);
    assert.equal(await page.locator('form[action$="/review"]').count(), 0);
    await isAccessible(page, 'break-glass-of-mine');
  });
  await open(path, { who: third, ...phone }, (page) => isAccessible(page, 'break-glass-review'));
  await open(path, { who: third, ...phone, javaScriptEnabled: false }, async (page) => {
    await page.getByLabel('What happened').fill('It was right. The rule should let a merged fix pass.');
    await press(page, 'It is reviewed');
    await page.getByText('The rule should let a merged fix pass.').waitFor();
    await fits(page);
  });
  await open(path, { who: first }, async (page) => {
    assert.match(await main(page), /Reviewed by\s+third@example\.com/);
    await isAccessible(page, 'break-glass-reviewed');
  });
});

test('who has no passkey, is not in the group, is a party or has no script is told so, and gives nothing', async () => {
  const none = async (page: Page) => assert.equal(await page.locator('form[data-passkey]').count(), 0);
  await open('/break-glass', { who: keyless, ...phone }, async (page) => {
    assert.match(await main(page), /A passkey of yours must sign for this, and you have none here\. Add one/);
    await none(page);
    await isAccessible(page, 'break-glass-no-passkey');
  });
  const path = await asked(first, { device: phone });
  await open(path, { who: keyless }, async (page) => {
    assert.match(await main(page), /you have none here/);
    await none(page);
    await isAccessible(page, 'break-glass-agree-no-passkey');
  });
  // The owner sees it and may refuse it; who has nothing to do with it does not learn that it is there.
  await open(path, { who: owner }, async (page) => {
    assert.match(await main(page), /Only admins, and members of the group WRIT_BREAK_GLASS_GROUP, break the glass/);
    await none(page);
  });
  await open('/break-glass', { who: outsider }, async (page) => {
    assert.match(await main(page), /No glass is broken/);
    await none(page);
    await isAccessible(page, 'break-glass-outsider');
  });
  await open(path, { who: outsider, mayFail: /404/ }, async (page) => {
    assert.match(await main(page), /No such break-glass/);
    await isAccessible(page, 'break-glass-unknown');
  });
  // The device is another person's: nothing is sent.
  await open(path, { who: second }, async (page) => {
    await plug(page, third);
    await press(page, 'Break the glass, with my passkey');
    const told = page.locator('[data-told]:not([hidden])');
    await told.waitFor();
    assert.match(await told.innerText(), /no passkey of yours is on this device/);
    await isAccessible(page, 'break-glass-wrong-device');
  });
  // Without script: it says so, and what is sent all the same is refused, and gives nothing.
  await open(path, { who: second, ...phone, javaScriptEnabled: false, mayFail: /403/ }, async (page) => {
    await page.getByText('your browser runs none here').waitFor();
    await fits(page);
    await press(page, 'Break the glass, with my passkey');
    await page.getByText('It takes a passkey, and nothing came that one has signed').waitFor();
  });
  await open('/break-glass', { who: first, javaScriptEnabled: false, mayFail: /403/ }, async (page) => {
    await page.getByText('your browser runs none here').waitFor();
    await fillIn(page);
    await press(page, 'Ask, with my passkey');
    await page.getByText('It takes a passkey, and nothing came that one has signed').waitFor();
  });
  // Capabilities of nobody: the form says what is missing, before any passkey is asked.
  await open('/break-glass', { who: first, mayFail: /400/ }, async (page) => {
    await fillIn(page);
    await page.getByLabel('deploy-orders').uncheck();
    await press(page, 'Ask, with my passkey');
    await page.getByText('Choose capabilities, all of one agent').waitFor();
    await isAccessible(page, 'break-glass-fault');
  });
  await open(path, { who: owner, ...phone, javaScriptEnabled: false }, async (page) => {
    await page.getByLabel('Why (kept').fill('The deploy freeze is meant.');
    await press(page, 'Refuse it');
    await page.locator('.tag', { hasText: 'never began' }).waitFor();
    await fits(page);
  });
  await open(path, { who: first }, (page) => isAccessible(page, 'break-glass-refused'));
});

test('nobody agreed in time, its time was over, the review is late, the row was changed: each page says it', async () => {
  const lapsed = await asked();
  hand.advance(31 * minute);
  await open(lapsed, { who: second }, async (page) => {
    await page.locator('.tag', { hasText: 'never began' }).waitFor();
    assert.equal(await page.locator('form[action$="/agree"]').count(), 0);
    await isAccessible(page, 'break-glass-lapsed');
  });
  const path = await asked();
  await agreed(path);
  hand.advance(21 * minute);
  await open(path, { who: third }, async (page) => {
    await page.locator('.tag', { hasText: 'to be reviewed' }).waitFor();
    assert.match(await main(page), /Nothing\./);
    await isAccessible(page, 'break-glass-expired');
  });
  hand.advance(4 * 24 * 60 * minute);
  await open('/', { who: third, ...phone }, async (page) => {
    assert.match(await main(page), /A break-glass was not reviewed in time/);
    await isAccessible(page, 'break-glass-home-overdue');
  });
  await open(path, { who: third }, async (page) => {
    await page.locator('.tag', { hasText: 'review overdue since' }).waitFor();
    await isAccessible(page, 'break-glass-overdue');
  });
  await asked(second);
  await open('/break-glass', { who: first, ...phone }, (page) => isAccessible(page, 'break-glass-all'));
  const id = path.split('/').at(-1)!;
  await broker.store.prisma.breakGlass.update({ where: { id }, data: { reason: 'Nothing to see here.' } });
  await open(path, { who: third }, async (page) => {
    await page.getByText('was written or changed by somebody other than this broker. It gives nothing').waitFor();
    assert.equal(await page.locator('form[action$="/review"]').count(), 0);
    await isAccessible(page, 'break-glass-changed');
  });
});

test('while the identity provider is down, two people sign in by passkey alone and break the glass', async () => {
  // It confirmed them an hour ago; nobody answers at its address since.
  const confirmedAt = new Date(clock.now().getTime() - 60 * minute);
  for (const who of [first, second]) {
    const record = identityRecord(who);
    const proof = proveConfirmed(broker.store, who, record, confirmedAt);
    const { issuer, subject } = who;
    await broker.store.prisma.confirmedPerson.create({
      data: { issuer, subject, identity: record, confirmedAt, proof },
    });
  }
  /** A browser that nobody is signed in to. */
  const signingIn = (who: Identity, path: string, body: (page: Page) => Promise<void>) =>
    openPage(browser, ground.url + path, { mayFail: /50[0-9]/ }, async (page) => {
      await plug(page, who);
      await page.getByRole('link', { name: 'Sign in with a passkey' }).click();
      await press(page, 'Sign in');
      await page.waitForURL(ground.url + path);
      await body(page);
    });
  const agent = await ground.session(clock.now());
  const asks = async () => (await agent('/v1/grants', { capability: 'restart-orders' })).status;
  assert.equal(await asks(), 202);
  let path = '';
  await signingIn(first, '/break-glass', async (page) => {
    await page.getByLabel('restart-orders').check();
    await page.getByLabel('The incident').fill('INC-4712');
    await page.getByLabel('Why').fill('Sign-in is down, and orders with it.');
    await page.getByLabel('For how many minutes').fill('20');
    await press(page, 'Ask, with my passkey');
    await page.waitForURL(/break-glass\/bgl_/);
    ({ pathname: path } = new URL(page.url()));
  });
  await signingIn(second, path, async (page) => {
    await press(page, 'Break the glass, with my passkey');
    await page.locator('.tag', { hasText: 'open until' }).waitFor();
  });
  assert.equal(await asks(), 201);
  const methods = await broker.store.prisma.login.findMany({ where: { method: 'passkey' } });
  assert.equal(methods.length, 2);
  await closed(path);
});
