/**
 * Manifests in the browser: who may see which, what changed in words, and two people for what allows more.
 * No script runs.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after as afterAll, test } from 'node:test';
import { chromium } from 'playwright-core';
import { person } from '../../approvals/rows.test-support.ts';
import { openHarness } from '../../approvals/web/pages.test-support.ts';
import { exampleProviders, exampleSource } from '../manifests/example.test-support.ts';
import { publishManifest } from '../manifests/publish.ts';
import { readManifest } from '../manifests/read.ts';
import type { Identity } from '../people/identity.ts';
import { publishCandidate } from '../replay/candidates.ts';
import { publishedAs } from '../replay/record.test-support.ts';
import { recordPresence } from '../signals/owner-presence.ts';
import { dated } from './text.ts';

const harness = await openHarness();
afterAll(() => harness.close());
const { store, clock } = harness;

const agent = 'invoice-bot';
const narrower = exampleSource.replace('max_ttl: 15m', 'max_ttl: 10m');
const wider = exampleSource.replace('max_ttl: 15m', 'max_ttl: 20m');
const widest = exampleSource.replace('max_ttl: 15m', 'max_ttl: 30m');

const owner = person('owner@example.com', { groups: ['billing'] });
const first = person('first@example.com', { groups: ['writ-admins'] });
const second = person('second@example.com', { groups: ['writ-admins'] });
const stranger = person('c@example.com', { groups: ['marketing'] });

const publish = (source: string, proposer: Identity | null, reason: string) =>
  publishManifest(store, clock, exampleProviders, {
    source,
    author: 'user:first@example.com',
    reason,
    agent,
    expectedVersion: null,
    requestId: 'req_1',
    ...(proposer === null ? {} : { reviewFor: { kind: 'person', identity: proposer } }),
  });
await publish(exampleSource, null, 'The first one.');
await publish(narrower, null, 'Shorter <b>is</b> enough.');

async function get(path: string, who?: Identity) {
  const headers: Record<string, string> = who === undefined ? {} : { cookie: (await harness.signedIn(who)).cookie };
  const response = await fetch(harness.url + path, { headers, redirect: 'manual' });
  return { status: response.status, html: await response.text(), headers: response.headers };
}
async function post(path: string, who: Identity, fields: Record<string, string>, withoutToken = false) {
  const { cookie, csrf } = await harness.signedIn(who);
  const response = await fetch(harness.url + path, {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie, origin: harness.url, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(withoutToken ? fields : { csrf, ...fields }),
  });
  return { status: response.status, html: await response.text() };
}
const proposalOf = async (source: string, reason = 'Longer, please.', proposer = first) => {
  const { proposal } = await publish(source, proposer, reason);
  const row = await store.prisma.manifestProposal.findUniqueOrThrow({ where: { id: proposal! } });
  return { id: row.id, sha256: row.sha256, path: `/agents/${agent}/proposals/${row.id}` };
};
const versionInForce = async () => (await store.prisma.agent.findUniqueOrThrow({ where: { name: agent } })).version;

test('admins and those who answer for the agent see its history; nobody else learns that it exists', async () => {
  for (const who of [owner, first]) {
    const { status, html } = await get(`/agents/${agent}`, who);
    assert.equal(status, 200);
    const order = [
      'Version 2',
      'Shorter &lt;b>is&lt;/b> enough.',
      'narrows',
      '10m',
      'Version 1',
      'The first one.',
      'widens',
    ];
    const places = order.map((text) => html.indexOf(text));
    assert.ok(
      places.every((at, index) => at > (places[index - 1] ?? 0)),
      JSON.stringify([places, order]),
    );
    assert.match(html, /first@example\.com/);
    assert.doesNotMatch(html, /<script(?! src="\/assets\/live\.)|<b>is/);
    assert.match((await get('/agents', who)).html, new RegExp(`/agents/${agent}"`));
  }
  const none = await get(`/agents/${agent}`, stranger);
  assert.equal(none.status, 404);
  assert.ok(!none.html.includes('10m'));
  assert.ok(!(await get('/agents', stranger)).html.includes(agent));
  assert.deepEqual(
    [(await get('/agents/none-such', first)).status, (await get('/agents/..%2f', first)).status],
    [404, 404],
  );
  const signedOut = await get(`/agents/${agent}`);
  assert.deepEqual(
    [signedOut.status, signedOut.headers.get('location')],
    [303, `/login?return_to=${encodeURIComponent(`/agents/${agent}`)}`],
  );
});

test('what allows more is agreed to by another admin, to exactly the text that was shown', async () => {
  const { path, sha256, id } = await proposalOf(wider);
  const page = async (who: Identity) => (await get(`/agents/${agent}`, who)).html;
  assert.match(await page(second), /widens.*20m/s);
  assert.match(await page(second), /Agree: put exactly this in force/);
  // The one who proposed it may refuse it alone; the owner may do neither.
  assert.doesNotMatch(await page(first), /Agree: put exactly/);
  assert.match(await page(first), /Another admin than the one who proposed it must agree/);
  assert.match(await page(first), />Refuse</);
  assert.doesNotMatch(await page(owner), /Agree: put exactly|>Refuse</);

  const agree = { verdict: 'agree', sha256 };
  assert.equal((await post(path, first, agree)).status, 403);
  assert.equal((await post(path, owner, agree)).status, 403);
  assert.equal((await post(path, stranger, agree)).status, 404);
  assert.equal((await post(path, second, agree, true)).status, 403, 'without the page’s token');
  assert.equal((await post(path, second, { ...agree, sha256: '0'.repeat(64) })).status, 412);
  assert.equal((await post(path, second, { verdict: 'agree' })).status, 400);
  assert.equal((await post(path.replace(agent, 'other-bot'), second, agree)).status, 404);
  assert.equal(await versionInForce(), 2);

  assert.equal((await post(path, second, agree)).status, 303);
  assert.equal(await versionInForce(), 3);
  const after = await page(second);
  assert.match(after, /Version 3.*in force.*agreed to by.*second@example\.com/s);
  assert.ok(!after.includes(id));
  const again = await post(path, second, agree);
  assert.equal(again.status, 409);
  assert.match(again.html, new RegExp(`href="/agents/${agent}"`), 'back to the page of the agent');
});

test('a refusal is on record with its reason; a stale or changed proposal is nobody’s to agree to', async () => {
  const { path, id } = await proposalOf(widest);
  assert.equal((await post(path, first, { verdict: 'refuse', reason: ' \n ' })).status, 400);
  assert.equal((await post(path, first, { verdict: 'refuse', reason: 'a\u202eb' })).status, 400);
  assert.equal((await post(path, first, { verdict: 'refuse', reason: 'Nobody needs\r\nthis.' })).status, 303);
  const row = await store.prisma.manifestProposal.findUniqueOrThrow({ where: { id } });
  assert.deepEqual([row.status, row.decisionReason], ['refused', 'Nobody needs this.']);

  const stale = await proposalOf(widest, 'Once more.');
  await publish(narrower, null, 'Shorter again.');
  const { html } = await get(`/agents/${agent}`, second);
  assert.match(html, /it must be proposed again/);
  assert.doesNotMatch(html, /Agree: put exactly/);
  assert.equal((await post(stale.path, second, { verdict: 'agree', sha256: stale.sha256 })).status, 412);

  const changed = await proposalOf(wider, 'And again.');
  await store.prisma.manifestProposal.update({
    where: { id: changed.id },
    data: { author: 'user:second@example.com' },
  });
  assert.match((await get(`/agents/${agent}`, second)).html, /was not written by this broker, or was changed/);
});

test('the candidate stands beside, with what it would have decided otherwise', async () => {
  const read = readManifest(widest, exampleProviders);
  assert.ok(read.ok);
  const told = { source: widest, author: 'user:first@example.com', reason: 'To see.', requestId: null };
  const number = await publishCandidate(store, clock, publishedAs(read.compiled, 0), told);
  const page = async () => (await get(`/agents/${agent}`, owner)).html;
  assert.match(await page(), /It has decided nothing otherwise/);
  await store.prisma.shadowDifference.createMany({
    data: Array.from({ length: 25 }, (_, n) => ({
      agent,
      id: `act_${n}`,
      candidate: number,
      kind: 'call',
      sessionId: 'ses_1',
      at: clock.now(),
      name: 'send_<i>mail',
      was: { effect: 'deny', reasons: [] },
      now: { effect: 'allow', reasons: [] },
      because: ['looks at what was before the candidate'],
    })),
  });
  const html = await page();
  assert.match(html, /25 decisions would have been another; the newest 20:/);
  assert.match(
    html,
    /send_&lt;i>mail.*looks at what was before.*decided <code>deny<\/code>, it would <code>allow<\/code>/s,
  );
  assert.equal(html.split('send_&lt;i>mail').length - 1, 20);
});

test('an agent whose owner is gone says so, and until when; not once it is taken over, nor when they are back', async () => {
  const of = (owner: string) =>
    exampleSource
      .replace('agent: invoice-bot', 'agent: orphaned-bot')
      .replace('owner: team:billing', `owner: ${owner}`);
  const publishOrphaned = (source: string) =>
    publishManifest(store, clock, exampleProviders, {
      source,
      author: 'user:first@example.com',
      reason: 'Theirs.',
      agent: 'orphaned-bot',
      expectedVersion: null,
      requestId: 'req_1',
    });
  await publishOrphaned(of('user:gone@example.com'));
  const listed = async () => (await get('/agents', first)).html;
  const shown = async () => (await get('/agents/orphaned-bot', first)).html;
  assert.doesNotMatch(await listed(), /Owner gone/);
  const names = [{ kind: 'email', value: 'gone@example.com' } as const];
  const word = (gone: boolean) => ({ gone, at: clock.now(), jti: `set-${gone}`, event: 'https://idp.example/purged' });
  const since = clock.now();
  await recordPresence(store, names, word(true));
  const text = (html: string) => html.replace(/<[^>]+>/g, '');
  const ends = dated(new Date(since.getTime() + 259_200_000));
  for (const html of [await listed(), await shown()])
    assert.ok(
      text(html).includes(
        `Owner gone since ${dated(since)}: gone@example.com. Sessions end at ${ends}, unless a manifest that names another owner, or a team, is in force by then.`,
      ),
      text(html),
    );
  // Of the others nothing is said, and who may not see it learns nothing.
  assert.doesNotMatch((await get(`/agents/${agent}`, first)).html, /Owner gone/);
  assert.doesNotMatch((await get('/agents', stranger)).html, /orphaned-bot|Owner gone/);
  assert.equal((await get('/agents/orphaned-bot', stranger)).status, 404);
  clock.advance(259_200_000);
  for (const html of [await listed(), await shown()])
    assert.ok(text(html).includes(`Its sessions ended at ${ends}, and it opens none until a manifest`), text(html));
  await publishOrphaned(of('team:billing'));
  assert.doesNotMatch((await listed()) + (await shown()), /Owner gone/);
  await publishOrphaned(of('user:gone@example.com'));
  assert.match(await listed(), /Owner gone/);
  await recordPresence(store, names, word(false));
  assert.doesNotMatch((await listed()) + (await shown()), /Owner gone/);
});

const executablePath = '/usr/bin/chromium';
test('on a phone, without JavaScript, an admin reads and agrees', {
  skip: existsSync(executablePath) ? false : 'no chromium here',
}, async () => {
  const { cookie } = await harness.signedIn(second);
  const [name = '', value = ''] = cookie.split('=');
  await proposalOf(widest, 'For the phone.');
  const before = await versionInForce();
  const flags = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking';
  const browser = await chromium.launch({ executablePath, args: flags.split(' ') });
  try {
    const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
    await context.addCookies([{ name, value, url: harness.url }]);
    const page = await context.newPage();
    const faults: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error') faults.push(message.text());
    });
    await page.goto(`${harness.url}/agents`);
    await page.click('a.button');
    const wide = await page
      .locator('body *:visible')
      .evaluateAll((all) => all.filter((e) => e.getBoundingClientRect().right > 391).length);
    assert.equal(wide, 0, 'nothing runs out of the screen');
    await page.locator('section', { hasText: 'For the phone.' }).locator('button.approve').click();
    await page.waitForURL(`${harness.url}/agents/${agent}`);
    assert.match(await page.innerText('main'), new RegExp(`Version ${before + 1}\\s+in force`));
    assert.deepEqual(faults, [], 'the policy blocks nothing that the page needs');
  } finally {
    await browser.close();
  }
});

test('a long history has pages, and a version that was changed in the database is called so', async () => {
  for (let n = 0; n < 20; n += 1) await publish(n % 2 === 0 ? exampleSource : narrower, null, `Number ${n}.`);
  const newest = await versionInForce();
  const { html } = await get(`/agents/${agent}`, first);
  const [, before] = /\/agents\/invoice-bot\?before=(\d+)/.exec(html) ?? [];
  assert.equal(Number(before), newest - 19);
  const older = (await get(`/agents/${agent}?before=${before}`, first)).html;
  assert.match(older, /The first one\./);
  assert.doesNotMatch(older, /Proposed|Candidate|Older versions/);
  assert.match((await get(`/agents/${agent}?before=${'9'.repeat(40)}`, first)).html, new RegExp(`Version ${newest} `));

  await store.run({ name: 'test_triggers', text: 'ALTER TABLE manifest DISABLE TRIGGER ALL' }, []);
  await store.prisma.manifest.update({
    where: { agent_version: { agent, version: newest } },
    data: { author: 'user:nobody@example.com' },
  });
  const changed = (await get(`/agents/${agent}`, first)).html;
  assert.match(changed, /was not written by this broker, or was changed\. Nothing is decided on it/);
  assert.doesNotMatch(changed, /tag good">in force/);
});
