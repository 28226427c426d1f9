/** A page that is open hears that what it shows has changed; and what ends its stream. */
import assert from 'node:assert/strict';
import { after as afterAll, test } from 'node:test';
import { planDigest } from '../../broker/decide/plan-digest.ts';
import type { Identity } from '../../broker/people/identity.ts';
import { endLogins } from '../../broker/people/live-logins.ts';
import { until } from '../../broker/until.test-support.ts';
import { review } from '../review.ts';
import { addGrant, addSession, person, plan } from '../rows.test-support.ts';
import { openHarness } from './pages.test-support.ts';

const harness = await openHarness();
afterAll(() => harness.close());

const digest = planDigest(plan);
const owner = person('owner@example.com', { groups: ['billing'] });
let made = 0;

async function pending() {
  made += 1;
  const sessionId = await addSession(harness.store, { id: `ses_v${made}` });
  const id = await addGrant(harness.store, { id: `gnt_v${made}`, sessionId });
  const approve = () =>
    review(
      {
        store: harness.store,
        clock: harness.clock,
        approversOf: async () => ['team:billing', 'user:storage@example.com'],
      },
      { grantId: id, reviewer: owner, verdict: 'approve', planDigest: digest, channel: 'web', requestId: 'req_1' },
    );
  return { id, approve, state: `pending.0.${digest}` };
}

/** A stream, as a browser's EventSource reads it. @param id of a request; null = the list */
async function listen(cookie: string, id: string | null, state: string) {
  const leaving = new AbortController();
  const page = id === null ? '/approvals' : `/approvals/${id}`;
  const path = `${harness.url}${page}/events?state=${encodeURIComponent(state)}`;
  const answer = await fetch(path, { headers: { cookie, accept: 'text/event-stream' }, signal: leaving.signal });
  let heard = '';
  let over = false;
  const reading = (async () => {
    for await (const chunk of answer.body ?? []) heard += Buffer.from(chunk).toString();
  })()
    .catch(() => {})
    .finally(() => {
      over = true;
    });
  return {
    status: answer.status,
    headers: answer.headers,
    heard: () => heard,
    over: () => over,
    leave: async () => {
      leaving.abort();
      await reading;
    },
  };
}
const cookieOf = async (who: Identity) => (await harness.signedIn(who)).cookie;

test('what another process decides is told, and on connecting what was missed', async () => {
  const { id, approve, state } = await pending();
  const cookie = await cookieOf(owner);
  const stream = await listen(cookie, id, state);
  assert.equal(stream.status, 200);
  assert.match(stream.headers.get('content-type') ?? '', /^text\/event-stream/);
  assert.equal(stream.headers.get('x-accel-buffering'), 'no');
  assert.match(stream.headers.get('content-security-policy') ?? '', /connect-src 'self'/);
  await until('it is open', () => stream.heard().includes('retry: 3000'));
  // Through nginx and the like: it is never silent for long.
  harness.clock.advance(15_000);
  await until('it is kept alive', () => stream.heard().includes(': still here'));
  assert.doesNotMatch(stream.heard(), /^data:/m);
  await approve();
  await until('it is told', () => /^data: approved\.1\.sha256:/m.test(stream.heard()));
  await until('it is over', stream.over);
  const late = await listen(cookie, id, state);
  await until('it is told at once', () => /^data: approved\./m.test(late.heard()));
  await until('it is over', late.over);
});

test('nobody hears of a request that they may not see', async () => {
  const { id, state } = await pending();
  const stranger = person('stranger@example.com');
  for (const cookie of ['', await cookieOf(stranger), 'writ_login=xyz'])
    assert.equal((await listen(cookie, id, state)).status, 404);
  assert.equal((await listen(await cookieOf(owner), 'gnt_unknown', state)).status, 404);
});

test('the list hears of a request that comes, and of one that is decided; of others’ requests nothing', async () => {
  const cookie = await cookieOf(owner);
  const shownTo = async (cookie: string) => {
    const html = await (await fetch(`${harness.url}/approvals`, { headers: { cookie } })).text();
    const state = /data-state="([^"]+)"/.exec(html)?.[1] ?? '';
    const asked = await fetch(`${harness.url}/approvals/state`, { headers: { cookie } });
    assert.deepEqual([asked.status, await asked.text()], [200, state], 'what the script asks without a stream');
    return state;
  };
  const stranger = await cookieOf(person('stranger@example.com'));
  const [before, strangers] = [await shownTo(cookie), await shownTo(stranger)];
  const [stream, other] = [await listen(cookie, null, before), await listen(stranger, null, strangers)];
  assert.deepEqual([stream.status, other.status], [200, 200]);
  await until('both are open', () => [stream, other].every(({ heard }) => heard().includes('retry')));
  const { approve } = await pending();
  await until('it is told', () => /^data: \S+/m.test(stream.heard()));
  const now = await shownTo(cookie);
  assert.match(stream.heard(), new RegExp(`^data: ${now}$`, 'm'));
  assert.notEqual(now, before);
  await until('it is over', stream.over);
  const next = await listen(cookie, null, now);
  await until('it is open', () => next.heard().includes('retry'));
  await approve();
  await until('it is told that it was decided', () => /^data: /m.test(next.heard()));
  await until('the other was looked at', () => other.heard().includes(': still here'));
  assert.doesNotMatch(other.heard(), /^data:/m);
  await other.leave();
  for (const nobody of ['', 'writ_login=xyz']) {
    assert.equal((await listen(nobody, null, now)).status, 404);
    const asked = await fetch(`${harness.url}/approvals/state`, { headers: { cookie: nobody } });
    assert.deepEqual([asked.status, await asked.text()], [404, '']);
  }
});

test('a login that ends takes its streams with it', async () => {
  const { id, state } = await pending();
  const [mine, other] = [await cookieOf(owner), await cookieOf(person('storage@example.com'))];
  const [ends, stays] = [await listen(mine, id, state), await listen(other, id, state)];
  await until('both are open', () => [ends, stays].every(({ heard }) => heard().includes('retry')));
  const admin = { name: 'user:admin@example.com', identity: null } as never;
  const account = { issuer: owner.issuer, subject: owner.subject, names: [] };
  await endLogins(
    { store: harness.store, clock: harness.clock, publicUrl: harness.url },
    { account },
    { reason: 'gone', admin, requestId: null },
  );
  await until('its stream is over', ends.over);
  assert.doesNotMatch(ends.heard(), /^data:/m);
  assert.equal(stays.over(), false);
  await stays.leave();
});

test('one login has a few streams, and another has its own', async () => {
  const { id, state } = await pending();
  const [mine, other] = [await cookieOf(owner), await cookieOf(owner)];
  const streams = [];
  for (let count = 0; count < 4; count += 1) streams.push(await listen(mine, id, state));
  assert.deepEqual(
    streams.map(({ status }) => status),
    [200, 200, 200, 200],
  );
  assert.equal((await listen(mine, id, state)).status, 429);
  const theirs = await listen(other, id, state);
  assert.equal(theirs.status, 200);
  await streams[0]!.leave();
  await until('there is room again', async () => {
    const one = await listen(mine, id, state);
    await one.leave();
    return one.status === 200;
  });
  for (const stream of [...streams, theirs]) await stream.leave();
});

test('a broker that stops waits for no stream', async () => {
  const { id, state } = await pending();
  const stream = await listen(await cookieOf(owner), id, state);
  await until('it is open', () => stream.heard().includes('retry'));
  harness.stopWaiting();
  await until('it is over', stream.over);
});
