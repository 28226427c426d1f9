/** How a login ends besides by its time: idle, ended by an admin, and with the provider’s configuration. */
import assert from 'node:assert/strict';
import { after as afterAll, beforeEach, test } from 'node:test';
import { addGrant, addSession, eventsOf, person, start } from '../../approvals/rows.test-support.ts';
import { openHarness } from '../../approvals/web/pages.test-support.ts';
import { statement } from '../harness.test-support.ts';
import { type Identity, namesToRemember } from './identity.ts';
import { loginProven } from './login-method.ts';

const harness = await openHarness();
afterAll(() => harness.close());
beforeEach(() => {
  harness.clock.set(start);
  harness.idleSeconds = undefined;
  harness.idp = undefined;
});

const owner = person('owner@example.com', { groups: ['billing'] });
const admin = person('admin@example.com', { groups: ['writ-admins'] });
let made = 0;

async function pending() {
  made += 1;
  const sessionId = await addSession(harness.store, {
    id: `ses_l${made}`,
    expiresAt: new Date(start.getTime() + 86_400_000),
  });
  const id = await addGrant(harness.store, { id: `gnt_l${made}`, sessionId });
  return `/approvals/${id}`;
}

/** A browser that is signed in. */
async function browser(who: Identity) {
  const { cookie, csrf } = await harness.signedIn(who);
  await harness.store.prisma.accountName.createMany({
    data: namesToRemember(who).map(({ kind, value }) => ({
      issuer: who.issuer,
      subject: who.subject,
      kind,
      value,
      firstSeen: start,
      provenAt: start,
    })),
    skipDuplicates: true,
  });
  const open = async (path: string) => {
    const answer = await fetch(harness.url + path, { headers: { cookie }, redirect: 'manual' });
    return { status: answer.status, location: answer.headers.get('location'), html: await answer.text() };
  };
  const post = async (path: string, fields: Record<string, string>) => {
    const body = new URLSearchParams({ csrf, ...fields });
    const headers = { cookie, 'sec-fetch-site': 'same-origin' };
    const answer = await fetch(harness.url + path, { method: 'POST', headers, body, redirect: 'manual' });
    return { status: answer.status, html: await answer.text() };
  };
  return { open, post, cookie };
}
const seconds = (count: number) => harness.clock.advance(count * 1000);
const writes = async () => (await harness.store.prisma.login.findMany()).map(({ seenAt }) => seenAt?.getTime() ?? 0);

test('a browser that asked for nothing for too long signs in again, and comes back to the page', async () => {
  harness.idleSeconds = 600;
  const path = await pending();
  const { open, post } = await browser(owner);
  for (let minutes = 0; minutes < 30; minutes += 9) {
    assert.equal((await open(path)).status, 200, `after ${minutes} minutes`);
    seconds(9 * 60);
  }
  assert.equal((await open(path)).status, 200);
  // What a page’s script asks by itself keeps nobody signed in.
  for (let minutes = 0; minutes < 9; minutes += 1) {
    seconds(60);
    assert.equal((await open(`${path}/state`)).status, 200);
  }
  seconds(60);
  assert.equal((await open(`${path}/state`)).status, 404);
  const away = await open(path);
  assert.deepEqual([away.status, away.location], [303, `/login?return_to=${encodeURIComponent(path)}`]);
  assert.equal((await post(path, { verdict: 'approve' })).status, 403, 'nor does a form of then count');
  assert.equal((await open(path)).status, 303, 'and coming back does not undo it');
});

test('that somebody is there is written once a minute, not at each request', async () => {
  harness.idleSeconds = 600;
  const { open } = await browser(owner);
  const before = await writes();
  for (let count = 0; count < 5; count += 1) await open('/approvals');
  assert.deepEqual(await writes(), before);
  seconds(60);
  for (let count = 0; count < 5; count += 1) await open('/approvals');
  assert.equal((await writes()).filter((at) => at === harness.clock.now().getTime()).length, 1);
});

test('whoever writes the database keeps no idle login alive', async () => {
  harness.idleSeconds = 600;
  const { open } = await browser(owner);
  seconds(700);
  await harness.store.run(statement("UPDATE login SET seen_at = $1::timestamptz, seen_proof = 'v1.x'"), [
    harness.clock.now(),
  ]);
  assert.equal((await open('/approvals')).status, 303);
});

test('an admin reads who is signed in, ends logins with a reason, and it is on record', async () => {
  const [mine, first, second] = [await browser(admin), await browser(owner), await browser(owner)];
  const { html, status } = await mine.open('/logins');
  assert.equal(status, 200);
  assert.match(html, /owner@example\.com/);
  assert.match(html, /identity provider/);
  assert.equal((await first.open('/logins')).status, 403, 'for admins alone');
  assert.equal((await first.post('/logins/end', { person: 'admin@example.com', reason: 'x' })).status, 403);
  assert.equal((await mine.post('/logins/end', { person: 'owner@example.com', reason: '' })).status, 400);
  assert.equal((await mine.post('/logins/end', { person: 'nobody@example.com', reason: 'gone' })).status, 400);
  assert.equal((await first.open('/approvals')).status, 200);
  const { prisma } = harness.store;
  const [one] = await prisma.login.findMany({
    where: { identity: { path: ['subject'], equals: owner.subject } },
    orderBy: { createdAt: 'desc' },
  });
  const before = await prisma.login.count();
  assert.match((await mine.post('/logins/end', { login: one!.tokenHash, reason: 'lost a laptop' })).html, /Ended: 1\./);
  assert.equal(await prisma.login.count(), before - 1);
  const done = await mine.post('/logins/end', { person: 'owner@example.com', reason: 'lost a laptop' });
  assert.match(done.html, /Ended: \d/);
  for (const { open } of [first, second]) assert.equal((await open('/approvals')).status, 303);
  assert.equal((await mine.open('/approvals')).status, 200);
  const [event] = (await eventsOf(harness.store, 'system'))
    .filter(({ type }) => type === 'person.logins_ended')
    .slice(-1);
  assert.equal(event?.actor, 'user:admin@example.com');
  assert.deepEqual([event?.payload.reason, event?.payload.subject], ['lost a laptop', owner.subject]);
});

test('a login stands under the issuer and client id alone under which it was made', async () => {
  const { proofs, prisma } = harness.store;
  const [old, anew] = [await browser(owner), await browser(owner)];
  harness.idp = 'https://login.example writ';
  for (const { open } of [old, anew]) assert.equal((await open('/approvals')).status, 303, 'it says of neither');
  const rows = await prisma.login.findMany();
  for (const row of rows) {
    const proven = loginProven({
      token_hash: row.tokenHash,
      identity: row.identity as object,
      csrf: row.csrf,
      created_at: row.createdAt,
      checked_at: row.checkedAt,
      sealed: row.sealed,
      expires_at: row.expiresAt,
      method: 'oidc',
      idp: 'https://login.example writ',
    });
    await prisma.login.update({
      where: { tokenHash: row.tokenHash },
      data: { idp: 'https://login.example writ', proof: proofs.make('login', proven) },
    });
  }
  assert.equal((await old.open('/approvals')).status, 200);
  for (const other of ['https://login.example other', 'https://other.example writ']) {
    harness.idp = other;
    assert.equal((await old.open('/approvals')).status, 303, other);
    // Whoever writes the database cannot take it over.
    await prisma.login.updateMany({ data: { idp: other } });
    assert.equal((await old.open('/approvals')).status, 303, other);
    await prisma.login.updateMany({ data: { idp: 'https://login.example writ' } });
  }
});
