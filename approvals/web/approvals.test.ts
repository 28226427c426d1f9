import assert from 'node:assert/strict';
import { after as afterAll, test } from 'node:test';
import { planDigest } from '../../broker/decide/plan-digest.ts';
import type { Identity } from '../../broker/people/identity.ts';
import { addBatch, addGrant, addSession, after, eventsOf, person, plan, start, vouched } from '../rows.test-support.ts';
import { openHarness } from './pages.test-support.ts';

const harness = await openHarness();
afterAll(() => harness.close());

const owner = person('owner@example.com', {
  groups: ['billing'],
  aliases: [{ kind: 'github_login', value: 'octo-owner' }],
});
const digest = planDigest(plan);
let made = 0;

async function pending(
  session: Partial<Parameters<typeof addSession>[1]> = {},
  grant: Partial<Parameters<typeof addGrant>[1]> = {},
) {
  made += 1;
  const sessionId = await addSession(harness.store, { id: `ses_${made}`, ...session });
  const id = await addGrant(harness.store, { id: `gnt_${made}`, sessionId, ...grant });
  const row = () => harness.store.prisma.grant.findUniqueOrThrow({ where: { id }, include: { reviews: true } });
  return { id, sessionId, path: `/approvals/${id}`, row };
}

/** Without the one file that we run. */
const withoutOurs = (html: string) =>
  html.replace(/<script src="\/assets\/live\.[0-9a-f]{16}\.js" defer><\/script>/, '');

async function get(path: string, who?: Identity) {
  const headers: Record<string, string> = who === undefined ? {} : { cookie: (await harness.signedIn(who)).cookie };
  const response = await fetch(harness.url + path, { headers, redirect: 'manual' });
  return { status: response.status, headers: response.headers, html: await response.text() };
}

/** Posts the form as a page of ours would, except for what the test changes. */
async function post(
  path: string,
  who: Identity,
  fields: Record<string, string | string[]>,
  change: { headers?: Record<string, string>; csrf?: string | null } = {},
) {
  const { cookie, csrf } = await harness.signedIn(who);
  const token = change.csrf === undefined ? csrf : change.csrf;
  const all = { plan_digest: digest, ...fields, ...(token === null ? {} : { csrf: token }) };
  const body = new URLSearchParams(
    Object.entries(all).flatMap(([name, said]) => [said].flat().map((one) => [name, one])),
  );
  const headers = { cookie, 'sec-fetch-site': 'same-origin', ...change.headers };
  const response = await fetch(harness.url + path, { method: 'POST', headers, body, redirect: 'manual' });
  return { status: response.status, headers: response.headers, html: await response.text() };
}

test('the link alone shows nothing: it leads to sign-in and back', async () => {
  const { path } = await pending();
  for (const [asked, back] of [
    [path, path],
    ['/approvals', '/approvals'],
    ['/', '/'],
    [`${path}?x=https://evil.example`, '/'],
  ] as const) {
    const answer = await get(asked);
    assert.equal(answer.status, 303);
    assert.equal(answer.headers.get('location'), `/login?return_to=${encodeURIComponent(back)}`);
    assert.ok(!answer.html.includes('read-customer-files'));
  }
});

test('an approver sees who, for whom, what exactly, how long, and how it ends', async () => {
  const { path, sessionId } = await pending(
    {
      onBehalfOf: vouched('starter@example.com'),
      startedBy: vouched('starter-login', 'github_login'),
      inputs: { invoice_id: '4711', urgent: true },
    },
    { justification: 'Due today.' },
  );
  await addGrant(harness.store, {
    id: 'gnt_before',
    sessionId,
    capability: 'open-refund',
    status: 'denied',
    decision: { effect: 'deny', reasons: [{ code: 'timeout' }] },
  });
  harness.about = {
    owner: 'team:billing',
    agentDescription: 'Pays invoices.',
    capabilityDescription: 'Sends orders.',
    taskDescription: 'One invoice.',
  };
  const { status, html } = await get(path, owner);
  assert.equal(status, 200);
  for (const part of [
    'invoice-bot',
    'team:billing',
    'starter@example.com',
    'starter-login',
    'pay-invoice',
    '4711',
    'true',
    '15 min',
    'tier 2',
    '5 min left',
    digest,
    'Pays invoices.',
    'Sends orders.',
    'One invoice.',
    'open-refund',
    'nobody decided',
    'Due today.',
    's3:GetObject',
    'arn:aws:s3:::orders/customers/42/*',
    harness.description.summary[0] as string,
    harness.description.revocability.text,
  ]) {
    assert.ok(html.includes(part), part);
  }
  assert.ok(html.includes('agent’s own words'));
  assert.doesNotMatch(withoutOurs(html), /<script|style="|\son\w+="|javascript:/i);
  assert.match(html, /name="viewport"/);
});

test('who may not decide sees nothing of the request', async () => {
  const { path, row } = await pending(
    { declaredOnBehalfOf: 'user:outsider@example.com' },
    { justification: 'a secret plan' },
  );
  for (const who of [
    person('outsider@example.com'),
    person('x@example.com', { groups: ['writ-admins'] }),
    person('y@example.com', { groupsUnknown: true }),
  ]) {
    const shown = await get(path, who);
    assert.equal(shown.status, 403);
    for (const part of [
      'invoice-bot',
      'read-customer-files',
      's3:GetObject',
      'pay-invoice',
      'a secret plan',
      digest,
      '<textarea',
    ]) {
      assert.ok(!shown.html.includes(part), part);
    }
    assert.equal(shown.html.includes('WRIT_OIDC_GROUPS_CLAIM'), who.groupsUnknown === true);
    assert.equal((await post(path, who, { verdict: 'approve' })).status, 403);
    assert.equal((await post(path, who, { verdict: 'deny', reason: 'no' })).status, 403);
  }
  assert.equal((await row()).status, 'pending');
  assert.equal((await get('/approvals/..%2f..%2fetc', owner)).status, 404);
  for (const odd of ['gnt_unknown', '%00', "'%20OR%201=1", 'x'.repeat(65), '%F0%9F%A6%8A']) {
    assert.equal((await get(`/approvals/${odd}`, owner)).status, 404, odd);
    assert.equal((await get(`/sessions/${odd}`, owner)).status, 404, odd);
    assert.equal((await post(`/approvals/${odd}`, owner, { verdict: 'approve' })).status, 404, odd);
  }
});

test('whoever is barred from approving still sees the request, and may deny it', async () => {
  const declared = await pending({ declaredOnBehalfOf: 'user:owner@example.com' });
  const own = await pending({ startedBy: vouched('owner@example.com') });
  const unlike = await pending({ startedBy: vouched('octo', 'gitlab_login') });
  const asked = await pending({ startedBy: vouched('starter@example.com') });
  const starter = person('starter@example.com');
  const cases = [
    [declared, owner, 'claimed by the agent', true],
    [own, owner, 'started by you', false],
    [unlike, owner, 'WRIT_OIDC_ALIAS_CLAIMS', true],
    [asked, starter, 'started by you', false],
  ] as const;
  for (const [request, who, told, listed] of cases) {
    const shown = await get(request.path, who);
    assert.equal(shown.status, 200);
    assert.ok(shown.html.includes(told), told);
    assert.ok(shown.html.includes('s3:GetObject'));
    assert.doesNotMatch(shown.html, /value="approve"/);
    assert.equal((await get('/approvals', who)).html.includes(`"${request.path}"`), listed, told);
    assert.equal((await post(request.path, who, { verdict: 'approve' })).status, 403);
    assert.equal((await request.row()).status, 'pending');
    assert.equal((await post(request.path, who, { verdict: 'deny', reason: 'not asked for' })).status, 303);
    assert.equal((await request.row()).status, 'denied');
  }
});

test('the second of two approvers reads who was the first', async () => {
  const { path, row } = await pending({ startedBy: null });
  assert.match(
    (await get(path, owner)).html,
    /0 of 2 approvals given\.?(?:<[^>]*>)*\. Nobody says who started this run, so two people/,
  );
  assert.equal((await post(path, owner, { verdict: 'approve' })).status, 303);
  assert.match((await get(path, owner)).html, /You approved this; one more person must/);
  const second = person('second@example.com', { groups: ['billing'] });
  assert.match(
    (await get(path, second)).html,
    /1 of 2 approvals given(?:<[^>]*>)*, by (?:<[^>]*>)*owner@example\.com(?:<[^>]*>)* at /,
  );
  assert.equal((await post(path, owner, { verdict: 'approve' })).status, 403);
  assert.equal((await row()).status, 'pending');
  assert.equal((await post(path, second, { verdict: 'approve' })).status, 303);
  assert.equal((await row()).status, 'approved');
});

test('who is asked for by group sees the request and its session; owners see how far it is', async () => {
  const { path, row } = await pending({}, { approval: [{ quorum: 2, from: ['team:security', 'team:sre'] }] });
  const [one, two] = ['one@example.com', 'two@example.com'].map((email) => person(email, { groups: ['sre'] }));
  assert.match((await get(path, one!)).html, /0 of 2 approvals given<\/b>\. Of (?:<[^>]*>)*team:security/);
  assert.ok((await get('/approvals', one!)).html.includes(`"${path}"`));
  const { sessionId } = await row();
  assert.equal((await get(`/sessions/${sessionId}`, one!)).status, 200);
  assert.equal((await post(path, one!, { verdict: 'approve' })).status, 303);
  const byOwner = await get(path, owner);
  assert.match(byOwner.html, /1 of 2 approvals given<\/b>, by (?:<[^>]*>)*one@example\.com(?:<[^>]*>)* at .*UTC/);
  assert.doesNotMatch(byOwner.html, /value="approve"/);
  assert.equal((await post(path, owner, { verdict: 'approve' })).status, 403);
  assert.equal((await post(path, two!, { verdict: 'approve' })).status, 303);
  assert.equal((await row()).status, 'approved');
});

test('what is not ticked is left out, and stays so for the next approver', async () => {
  const asked = {
    params: { repositories: ['orders', 'notes', 'policy'] },
    approval: [{ quorum: 2, from: ['team:billing'] }],
  };
  const { path, row } = await pending({}, asked);
  const { html } = await get(path, owner);
  assert.equal([...html.matchAll(/type="checkbox" name="keep" value="\/repositories\/\d" checked/g)].length, 3);
  const part = '/repositories/1';
  assert.equal((await post(path, owner, { verdict: 'approve', part })).status, 303);
  const narrowed = await row();
  assert.deepEqual((narrowed.plan as { permission: { without: string[] } }).permission.without, [part]);
  const second = person('second@example.com', { groups: ['billing'] });
  assert.doesNotMatch((await get(path, second)).html, /value="\/repositories\/1"/);
  const fields = {
    verdict: 'approve',
    part: '/repositories/0',
    keep: '/repositories/0',
    plan_digest: narrowed.planDigest,
  };
  const all = await post(path, second, fields);
  assert.equal(all.status, 303);
  const approved = await row();
  assert.deepEqual([approved.status, approved.planDigest], ['approved', narrowed.planDigest]);
});

test('a level is lowered by a choice, a prefix by what is typed; what is left as asked is not sent on', async () => {
  const { path, row, sessionId } = await pending({}, { params: { prefix: 'a/' } });
  const { html } = await get(path, owner);
  assert.match(
    html,
    /<label for="level-0">.*access.*<select id="level-0" name="lower\/access">.*<option value="list">only: list/,
  );
  assert.match(html, /<label for="level-1">.*prefix in &lt;b>orders/);
  assert.match(html, /<input id="level-1" name="lower\/prefix" type="text"/);
  const twice = { verdict: 'approve', 'lower/access': ['list', 'get'] };
  assert.equal((await post(path, owner, twice)).status, 400);
  const both = { 'lower/access': '', 'lower/prefix': 'a/b/' };
  assert.equal((await post(path, owner, { verdict: 'approve', ...both })).status, 303);
  const { plan: given, decision } = await row();
  assert.deepEqual((given as unknown as typeof plan).permission.lowered, { '/prefix': 'a/b/' });
  assert.deepEqual((decision as { lowered: object }).lowered, { '/prefix': 'a/b/' });
  const event = (await eventsOf(harness.store, sessionId)).at(-1);
  assert.deepEqual(event?.payload.lowered, { '/prefix': 'a/b/' });
});

test('what was sent back says first what has changed', async () => {
  const stated = { ...plan, state: { round: 1, seen: { head: 'two' } } };
  const described = harness.description;
  const decision = { effect: 'approve', reasons: [{ code: 'state_changed' }], state_was: { head: '<b>one</b>' } };
  const { path } = await pending({}, { plan: stated, decision });
  harness.describe = ({ state }) => ({
    ...described,
    summary: [...described.summary, `head ${String(state?.seen.head)}`],
  });
  const { html } = await get(path, owner);
  harness.describe = null;
  assert.match(html, /Approved before, and changed since/);
  const [, was, now] = /When it was approved:<\/p><ul>(.*?)<\/ul><p>Now:<\/p><ul>(.*?)<\/ul>/.exec(html) ?? [];
  assert.match(was ?? '', /head &lt;b>one&lt;\/b>/);
  assert.match(now ?? '', /head two/);
  assert.doesNotMatch(`${was}${now}`, new RegExp(described.summary[0] as string));
  assert.doesNotMatch((await get((await pending()).path, owner)).html, /changed since/);
});

/** A credential that a grant gave, as it came to its end. */
async function lease(
  grant: { id: string; sessionId: string },
  agent: string,
  reason: string | null,
  status = 'revoked',
) {
  await harness.store.prisma.lease.create({
    data: {
      id: `lse_${grant.id}`,
      grantId: grant.id,
      sessionId: grant.sessionId,
      agent,
      provider: 'aws',
      plan: plan as unknown as object,
      planDigest: digest,
      status,
      intentAt: start,
      issuedAt: start,
      expiresAt: after(900),
      providerExpiresAt: after(900),
      endedAt: after(60),
      revokeReason: reason,
    },
  });
}

test('a credential that ended early does not read as if its time had been over', async () => {
  for (const [reason, told] of [
    ['session_ended', /was revoked \(04 Mar 12:01:00 UTC\): the session ended/],
    ['expired', /its time has ended \(04 Mar 12:01:00 UTC\)/],
  ] as const) {
    const ended = await pending({ agent: 'early-bot' }, { agent: 'early-bot', status: 'ended' });
    await lease(ended, 'early-bot', reason);
    const { html } = await get(ended.path, owner);
    assert.match(html, told);
    if (reason === 'session_ended') assert.doesNotMatch(html, /its time has ended/);
  }
});

test('what is new against the last credential of the capability is said, lifetime included', async () => {
  const agent = { agent: 'growing-bot' };
  const given = await pending(agent, { ...agent, status: 'ended', requestedAt: after(-600) });
  assert.match((await get(given.path, owner)).html, /was never given anything of this capability/);
  await lease(given, 'growing-bot', 'expired');
  const same = await pending(agent, agent);
  assert.match((await get(same.path, owner)).html, /The same as (?:<[^>]*>)*it was last given/);
  const longer = await pending(agent, { ...agent, plan: { ...plan, ttl_seconds: 1800 } });
  assert.match((await get(longer.path, owner)).html, /lifetime: <\/b>(?:<[^>]*>)*30 min, before 15 min/);
});

test('an approval that nobody collected is taken back by who gave it, and by nobody else', async () => {
  const { path, row, sessionId } = await pending();
  assert.equal((await post(path, owner, { verdict: 'withdraw' })).status, 403, 'none was given');
  assert.equal((await post(path, owner, { verdict: 'approve' })).status, 303);
  const second = person('second@example.com', { groups: ['billing'] });
  assert.doesNotMatch((await get(path, second)).html, /value="withdraw"/);
  assert.equal((await post(path, second, { verdict: 'withdraw' })).status, 403);
  const posing = { ...second, email: owner.email!, emailVerified: false };
  assert.doesNotMatch((await get(path, posing)).html, /value="withdraw"/);
  assert.equal((await post(path, posing, { verdict: 'withdraw' })).status, 403, 'nobody verified its address');
  assert.equal((await row()).status, 'approved');
  assert.match((await get(path, owner)).html, /value="withdraw"/);
  assert.equal((await post(path, owner, { verdict: 'withdraw' })).status, 303);
  const grant = await row();
  assert.deepEqual([grant.status, grant.decision], ['denied', { effect: 'deny', reasons: [{ code: 'withdrawn' }] }]);
  assert.match((await get(path, owner)).html, /Taken back/);
  const last = (await eventsOf(harness.store, sessionId)).at(-1);
  assert.deepEqual(
    [last?.type, last?.actor, last?.payload.reason],
    ['grant.denied', 'user:owner@example.com', 'withdrawn'],
  );
  const late = await post(path, owner, { verdict: 'withdraw' });
  assert.equal(late.status, 409);
  const issued = await pending();
  assert.equal((await post(issued.path, owner, { verdict: 'approve' })).status, 303);
  await harness.store.prisma.grant.update({ where: { id: issued.id }, data: { status: 'issued' } });
  assert.equal((await post(issued.path, owner, { verdict: 'withdraw' })).status, 409, 'it was collected');
});

test('who is too late reads who decided, and when, and is offered nothing', async () => {
  const { path } = await pending();
  const second = person('second@example.com', { groups: ['billing'] });
  assert.equal((await post(path, owner, { verdict: 'deny', reason: 'not today' })).status, 303);
  const late = await post(path, second, { verdict: 'approve' });
  assert.equal(late.status, 409);
  const { html } = late;
  assert.match(html, /decided already: user:owner@example\.com denied it at 2026-03-04T12:00:00/);
  assert.match(html, /Denied by (?:<[^>]*>)*owner@example\.com(?:<[^>]*>)* at (?:<[^>]*>)*04 Mar 12:00:00 UTC/);
  assert.doesNotMatch(html, /value="approve"/);
});

test('an approval faster than anybody reads is noted; one in its time is not', async () => {
  for (const [seconds, hasty] of [
    [0, true],
    [30, false],
  ] as const) {
    const { path, sessionId } = await pending();
    const shown = /name="shown_at" value="([^"]+)"/.exec((await get(path, owner)).html)?.[1] ?? '';
    harness.clock.advance(seconds * 1000);
    assert.equal((await post(path, owner, { verdict: 'approve', shown_at: shown })).status, 303);
    const [event] = await eventsOf(harness.store, sessionId);
    assert.equal(event?.payload.hasty_seconds, hasty ? 0 : undefined);
    assert.equal(/faster than this can be read/.test((await get(path, owner)).html), hasty);
    harness.clock.set(start);
  }
});

/** One browser: its form, sent as it stands, with what was changed in it. */
async function reader(who: Identity, path: string) {
  const { cookie, csrf } = await harness.signedIn(who);
  const send = async (fields: Record<string, string>) => {
    const body = new URLSearchParams({ plan_digest: digest, csrf, ...fields });
    const headers = { cookie, 'sec-fetch-site': 'same-origin' };
    const answer = await fetch(harness.url + path, { method: 'POST', headers, body, redirect: 'manual' });
    return { status: answer.status, html: await answer.text() };
  };
  const open = async () => {
    const { html } = await fetch(harness.url + path, { headers: { cookie } }).then(async (one) => ({
      html: await one.text(),
    }));
    return { verdict: 'approve', shown_at: /name="shown_at" value="([^"]+)"/.exec(html)?.[1] ?? '' };
  };
  return { send, open };
}
const confirmationIn = (html: string) =>
  /name="confirmation" value="([^"]+)"/.exec(html)?.[1] ?? assert.fail('no warning');

test('an approval faster than anybody reads counts once it is confirmed; a denial, or a slow one, at once', async () => {
  harness.warns = true;
  try {
    const { path, sessionId, row } = await pending();
    const { send, open } = await reader(owner, path);
    const form = { ...(await open()), ttl_seconds: '300' };
    harness.clock.advance(2000);
    const warned = await send(form);
    assert.equal(warned.status, 409);
    assert.match(warned.html, /You decided after 2 s/);
    assert.match(warned.html, /for 5 min:/);
    assert.match(warned.html, /Read objects under customers/);
    assert.match(warned.html, /<input type="checkbox" name="read" value="yes" required/);
    const confirmation = confirmationIn(warned.html);
    // However long they look at the warning: without the box it is another warning.
    harness.clock.advance(60_000);
    assert.equal((await send({ ...form, confirmation })).status, 409);
    assert.equal((await row()).status, 'pending');
    assert.equal((await send({ ...form, confirmation, read: 'yes' })).status, 303);
    assert.equal((await row()).status, 'approved');
    const [event] = await eventsOf(harness.store, sessionId);
    assert.deepEqual([event?.payload.hasty_seconds, event?.payload.hasty_confirmed], [2, true]);
    assert.match((await get(path, owner)).html, /faster than this can be read, and confirmed after a warning/);
    const denied = await pending();
    const denying = await reader(owner, denied.path);
    assert.equal((await denying.send({ ...(await denying.open()), verdict: 'deny', reason: 'no' })).status, 303);
    const slow = await pending();
    const reading = await reader(owner, slow.path);
    const shown = await reading.open();
    harness.clock.advance(15_000);
    assert.equal((await reading.send(shown)).status, 303);
  } finally {
    harness.warns = false;
    harness.clock.set(start);
  }
});

test('several at once, one of them ticked, approved too fast: the warning says what is left, and approves that', async () => {
  harness.warns = true;
  try {
    const sessionId = await addSession(harness.store, { id: 'ses_warned_batch' });
    const members = ['one', 'two', 'three'].map((name) => ({
      id: `gnt_warned_${name}`,
      capability: `read-${name}`,
      plan: { ...plan, permission: { of: name } },
      summary: [`Read objects of ${name}`],
    }));
    const batch = await addBatch(harness.store, { id: 'gnt_warned', sessionId }, members);
    const { send, open } = await reader(owner, `/approvals/${batch}`);
    const { planDigest: digest } = await harness.store.prisma.grant.findUniqueOrThrow({ where: { id: batch } });
    const form = { ...(await open()), plan_digest: digest, withhold: 'gnt_warned_two' };
    harness.clock.advance(1000);
    const warned = await send(form);
    assert.equal(warned.status, 409);
    const told = warned.html.replace(/<[^>]*>/g, '');
    for (const words of [
      '1. read-one: Read objects of one',
      '2. read-two: was taken out, and is denied',
      'Approve all 2',
    ])
      assert.ok(told.includes(words), `${words} in ${told}`);
    const answered = await send({ ...form, confirmation: confirmationIn(warned.html), read: 'yes' });
    assert.equal(answered.status, 303, answered.html);
    const all = await harness.store.prisma.grant.findMany({ where: { batchId: batch }, orderBy: { id: 'asc' } });
    assert.deepEqual(
      all.map(({ id, status }) => [id, status]),
      [
        ['gnt_warned_one', 'approved'],
        ['gnt_warned_three', 'approved'],
        ['gnt_warned_two', 'denied'],
      ],
    );
  } finally {
    harness.warns = false;
    harness.clock.set(start);
  }
});

test('a confirmation of something else is refused, and on record: another plan, request, person, login; used; too old', async () => {
  harness.warns = true;
  try {
    const [one, other] = [await pending(), await pending()];
    const second = person('second@example.com', { groups: ['billing'] });
    const mine = await reader(owner, one.path);
    const form = await mine.open();
    const read = { read: 'yes', confirmation: confirmationIn((await mine.send(form)).html) };
    const attempts: [string, typeof one, Identity | null, Record<string, string>][] = [
      ['a wider or narrower plan', one, null, { ...form, ...read, ttl_seconds: '60' }],
      ['another request', other, owner, { ...form, ...read }],
      ['another person', one, second, { ...form, ...read }],
      ['another login of theirs', one, owner, { ...form, ...read }],
      ['none of ours', one, null, { ...form, read: 'yes', confirmation: `${read.confirmation.slice(0, -4)}AAAA` }],
    ];
    for (const [what, of, who, fields] of attempts) {
      const { send } = who === null ? mine : await reader(who, of.path);
      const answer = await send(fields);
      assert.equal(answer.status, 403, what);
      assert.equal((await of.row()).status, 'pending', what);
      const [event] = await eventsOf(harness.store, of.sessionId);
      assert.deepEqual([event?.type, event?.payload.refused_because], ['review.refused', 'not_confirmed'], what);
    }
    harness.clock.advance(301_000);
    assert.equal((await mine.send({ ...form, ...read })).status, 409, 'the request waits no more either');
    const late = await pending({}, { decideBy: after(3600) });
    const asleep = await reader(owner, late.path);
    const shown = await asleep.open();
    const old = confirmationIn((await asleep.send(shown)).html);
    harness.clock.advance(301_000);
    assert.equal((await asleep.send({ ...shown, confirmation: old, read: 'yes' })).status, 403);
    assert.equal((await late.row()).status, 'pending');
  } finally {
    harness.warns = false;
    harness.clock.set(start);
  }
});

test('the next ones like an approved request are approved ahead of time, on a page, and withdrawn there', async () => {
  const params = { folder: 'reports/2026/05', note: '<b>x</b>', lines: 5 };
  const { path } = await pending({}, { params });
  assert.doesNotMatch((await get(path, owner)).html, /next ones like this/);
  assert.equal((await get(`${path}/ahead`, person('nobody@example.com'))).status, 404);
  assert.equal((await post(path, owner, { verdict: 'approve' })).status, 303);
  assert.match((await get(path, owner)).html, new RegExp(`href="${path}/ahead"`));
  const form = (await get(`${path}/ahead`, owner)).html;
  assert.match(form, /&lt;b>x&lt;\/b>|&lt;b&gt;x&lt;\/b&gt;/);
  const fields = {
    'kind.folder': 'prefix',
    'text.folder': 'reports/2026/',
    'kind.note': 'equals',
    'kind.lines': 'range',
    'text.lines': '1 to 9',
    max_uses: '3',
    max_ttl_seconds: '300',
    days: '7',
    reason: 'Each night.',
  };
  for (const wrong of [
    { 'text.folder': 'elsewhere/' },
    { 'text.folder': 'reports' },
    { max_uses: '0' },
    { 'kind.note': '' },
  ])
    assert.equal((await post(`${path}/ahead`, owner, { ...fields, ...wrong })).status, 400, JSON.stringify(wrong));
  assert.equal((await post(`${path}/ahead`, owner, fields, { csrf: 'forged' })).status, 403);
  const given = await post(`${path}/ahead`, owner, fields);
  const at = given.headers.get('location') ?? '';
  assert.deepEqual([given.status, /^\/pre-approvals\/pap_\w{20}$/.test(at)], [303, true]);
  const page = (await get(at, owner)).html;
  assert.match(page, /anything under reports\/2026\//);
  assert.match(page, /0 of 3 used/);
  const [row] = await harness.store.prisma.preApproval.findMany({ where: { id: at.split('/').at(-1)! } });
  assert.deepEqual(row?.bounds, {
    folder: { prefix: 'reports/2026/', delimiter: '/' },
    note: { equals: '<b>x</b>' },
    lines: { min: 1, max: 9 },
  });
  assert.match((await get('/pre-approvals', owner)).html, /0 of 3 used/);
  const other = person('other@example.com', { groups: ['billing'] });
  const posing = { ...other, email: owner.email!, emailVerified: false };
  for (const person of [other, posing]) {
    assert.equal((await get(at, person)).status, 404);
    assert.equal((await post(at, person, {})).status, 403);
  }
  assert.equal((await post(at, owner, {})).status, 303);
  assert.match((await get(at, owner)).html, /it was withdrawn/);
});

test('rows of one agent are told apart, and one’s own decisions are listed', async () => {
  const mine = person('historian@example.com', { groups: ['billing'] });
  const one = await pending({ inputs: { invoice_id: '815' } });
  assert.equal((await post(one.path, mine, { verdict: 'deny', reason: 'no' })).status, 303);
  const two = await pending({ inputs: { invoice_id: '816' } });
  const { html } = await get('/approvals', mine);
  const row = html.split('<tr>').find((text) => text.includes(`"${two.path}"`)) ?? '';
  assert.match(row, /invoice_id 816/);
  assert.ok(row.includes(harness.description.summary[0] as string));
  const history = (await get('/approvals/mine', mine)).html;
  assert.match(history, /invoice_id 815/);
  assert.doesNotMatch(history, /invoice_id 816/);
  assert.match((await get('/approvals/mine', person('nobody@example.com'))).html, /You have decided nothing yet/);
  const state = await get(`${two.path}/state`, mine);
  assert.deepEqual([state.status, /^pending\.0\.sha256:/.test(state.html)], [200, true]);
  assert.equal((await get(`${two.path}/state`, person('nobody@example.com'))).status, 404);
  assert.equal((await get(`${two.path}/state`)).status, 404);
});

test('what was decided in a team’s name is listed for its members, a day at a time, and for nobody else', async () => {
  const approval = [{ quorum: 1, from: ['team:treasury', 'oncall:payments'] }];
  const mine = person('treasurer@example.com', { groups: ['treasury'] });
  const one = await pending({}, { approval, capability: 'pay-<b>invoice</b>' });
  const other = await pending();
  assert.equal((await post(one.path, mine, { verdict: 'deny', reason: 'no' })).status, 303);
  assert.equal((await post(other.path, owner, { verdict: 'deny', reason: 'no' })).status, 303);
  const { html } = await get('/approvals/team', mine);
  assert.match(html, /team:treasury/);
  assert.match(html, /1 asked: 0 approved, 0 approved ahead of time, 1 denied/);
  assert.match(html, /treasurer@example\.com/);
  assert.ok(html.includes(`"${one.path}"`));
  assert.ok(!html.includes(`"${other.path}"`) && !html.includes('oncall:payments'), 'not theirs');
  assert.match(html, /pay-&lt;b>invoice/);
  for (const stranger of [person('nobody@example.com'), owner, { ...owner, onCall: ['payments'] }])
    assert.ok(!(await get('/approvals/team', stranger)).html.includes(`"${one.path}"`));
  const before = await get('/approvals/team?until=2026-03-01T07:00:00.000Z', mine);
  assert.match(before.html, /Nothing was decided/);
  for (const said of ['2026-13-45T99:99', '0000', '%00', '2026-03-01%27--', '9999-01-01T00:00:00.000Z'])
    assert.equal((await get(`/approvals/team?until=${said}`, mine)).status, 200, said);
});

test('approve, with a shorter life', async () => {
  const { path, row } = await pending();
  const answer = await post(path, owner, { verdict: 'approve', ttl_seconds: '300' });
  assert.equal(answer.status, 303);
  assert.equal(answer.headers.get('location'), path);
  const grant = await row();
  assert.equal(grant.status, 'approved');
  assert.equal(grant.planDigest, planDigest({ ...plan, ttl_seconds: 300 }));
  const after = await get(path, owner);
  assert.match(after.html, /Approved/);
  assert.doesNotMatch(after.html, /<textarea/);
});

test('a longer life, no verdict, a wrong number, a repeated field: 400, nothing decided', async () => {
  const { path, row } = await pending();
  for (const fields of [
    { verdict: 'approve', ttl_seconds: '901' },
    { verdict: 'approve', ttl_seconds: '0' },
    { verdict: 'approve', ttl_seconds: '1e2' },
    { verdict: 'approve', ttl_seconds: '-5' },
    { verdict: 'maybe' },
    { verdict: 'approve', plan_digest: '' },
    {},
  ]) {
    assert.equal((await post(path, owner, fields as Record<string, string>)).status, 400, JSON.stringify(fields));
  }
  assert.equal((await row()).status, 'pending');
});

test('deny asks for a reason and keeps what was typed', async () => {
  const { path, row } = await pending();
  const missing = await post(path, owner, { verdict: 'deny', reason: ' ' });
  assert.equal(missing.status, 400);
  assert.match(missing.html, /role="alert"/);
  assert.match(missing.html, /<textarea/);
  const long = await post(path, owner, { verdict: 'deny', reason: `</textarea><b>${'x'.repeat(500)}` });
  assert.equal(long.status, 400);
  assert.ok(!long.html.includes('</textarea><b>'));
  assert.equal((await post(path, owner, { verdict: 'deny', reason: 'wrong supplier' })).status, 303);
  assert.equal((await row()).status, 'denied');
  assert.match((await get(path, owner)).html, /wrong supplier/);
});

test('what was on the screen must still stand; the second of two is told so', async () => {
  const { path, row } = await pending();
  const stale = await post(path, owner, { verdict: 'approve', plan_digest: planDigest({ ...plan, ttl_seconds: 1 }) });
  assert.equal(stale.status, 409);
  assert.equal((await row()).status, 'pending');
  const answers = await Promise.all([
    post(path, owner, { verdict: 'approve' }),
    post(path, owner, { verdict: 'deny', reason: 'no' }),
  ]);
  assert.deepEqual(answers.map((a) => a.status).sort(), [303, 409]);
  assert.equal((await row()).reviews.length, 1);
});

test('a form from elsewhere, without the token, or with another login’s token is refused', async () => {
  const { path, row, sessionId } = await pending();
  const other = (await harness.signedIn(owner)).csrf;
  const attempts = [
    { csrf: null },
    { csrf: '' },
    { csrf: other },
    { headers: { 'sec-fetch-site': 'cross-site' } },
    { headers: { 'sec-fetch-site': 'same-site' } },
    { headers: { 'sec-fetch-site': 'none' } },
    { headers: { 'sec-fetch-site': 'cross-site', origin: harness.url } },
  ];
  for (const attempt of attempts) {
    assert.equal((await post(path, owner, { verdict: 'approve' }, attempt)).status, 403, JSON.stringify(attempt));
  }
  // Without fetch metadata the origin must be ours.
  const { cookie, csrf } = await harness.signedIn(owner);
  const body = () => new URLSearchParams({ plan_digest: digest, verdict: 'approve', csrf });
  for (const origin of ['https://evil.example', 'null', `${harness.url}.evil.example`]) {
    const response = await fetch(harness.url + path, {
      method: 'POST',
      headers: { cookie, origin },
      body: body(),
      redirect: 'manual',
    });
    assert.equal(response.status, 403, origin);
  }
  const json = await fetch(harness.url + path, {
    method: 'POST',
    headers: { cookie, 'content-type': 'application/json' },
    body: JSON.stringify({ plan_digest: digest, verdict: 'approve', csrf }),
    redirect: 'manual',
  });
  assert.equal(json.status, 403);
  assert.equal((await row()).status, 'pending');
  assert.deepEqual(await eventsOf(harness.store, sessionId), []);
  // A program without either header holds the token itself: it read it from the page.
  const program = await fetch(harness.url + path, {
    method: 'POST',
    headers: { cookie },
    body: body(),
    redirect: 'manual',
  });
  assert.equal(program.status, 303);
});

test('signed out or with a made-up cookie nothing is decided', async () => {
  const { path, row } = await pending();
  for (const cookie of ['', 'writ_login=', `writ_login=${'A'.repeat(43)}`, "writ_login=' OR 1=1 --"]) {
    const response = await fetch(harness.url + path, {
      method: 'POST',
      headers: cookie === '' ? {} : { cookie },
      body: new URLSearchParams({ plan_digest: digest, verdict: 'approve' }),
      redirect: 'manual',
    });
    assert.equal(response.status, 403);
  }
  assert.equal((await row()).status, 'pending');
});

test('foreign text stays text, whoever wrote it', async () => {
  const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'\u202e\u0007\u200b</bdi></blockquote>`;
  const { path } = await pending(
    { agent: evil, taskType: evil, inputs: { [evil]: evil }, declaredOnBehalfOf: `user:${evil}` },
    {
      agent: evil,
      capability: evil,
      justification: evil,
      plan: { provider: evil, permission: { [evil]: evil }, ttl_seconds: 900 },
    },
  );
  await pending(
    { agent: evil, taskType: evil, declaredOnBehalfOf: evil, startedBy: vouched(evil, evil), responsible: evil },
    { agent: evil, capability: evil, status: 'denied', decision: { effect: 'deny', reasons: [{ code: evil }] } },
  );
  harness.about = { owner: evil, agentDescription: evil, capabilityDescription: evil, taskDescription: evil };
  const before = harness.description;
  harness.description = { summary: [evil], revocability: { kind: 'expiry', text: evil } };
  const named = { ...owner, name: evil };
  const sessionId = await addSession(harness.store, { id: 'ses_evil_batch', agent: evil, taskType: evil });
  const member = {
    capability: evil,
    plan: { provider: evil, permission: { [evil]: [evil] }, ttl_seconds: 900 },
    summary: [evil],
  };
  const batch = await addBatch(harness.store, { id: 'gnt_evil_batch', sessionId, agent: evil, justification: evil }, [
    { id: 'gnt_evil_1', ...member },
    { id: 'gnt_evil_2', ...member },
  ]);
  for (const page of [path, `/approvals/${batch}`, '/approvals', '/', path.replace('approvals/gnt', 'sessions/ses')]) {
    const { status, html } = await get(page, named);
    assert.equal(status, 200, page);
    assert.doesNotMatch(withoutOurs(html), /<script|<img|<\/bdi><\/blockquote>'/i, page);
    for (const hidden of ['\u202e', '\u0007', '\u200b'])
      assert.ok(!html.includes(hidden), `${page} ${hidden.charCodeAt(0)}`);
    assert.ok(html.includes('⟨U+202E⟩'), page);
    // The only quotes around an attribute are ours: nothing foreign ended one.
    assert.doesNotMatch(html, /="[^"]*"[^\s/>]/, page);
  }
  harness.description = before;
  harness.about = { owner: 'team:billing' };
});

/**
 * What an agent, its platform or its people wrote into the rows that pages show, and what only the broker
 * writes. A new column is in neither, and fails until somebody says who writes it.
 */
const writers = {
  session: {
    theirs: 'agent task_type inputs on_behalf_of declared_on_behalf_of started_by responsible subject'.split(' '),
    brokers:
      'id parent_id root_id principal_root capabilities withheld status end_reason proof dpop_jkt suspended_because slept resume_hash'.split(
        ' ',
      ),
  },
  grants: {
    theirs: 'agent capability params justification plan provider credential_jwk decision'.split(' '),
    brokers:
      'id session_id idempotency_key request_digest plan_digest status decision_jws proof sealed_arguments asked_moves redeemed_moves batch_id'.split(
        ' ',
      ),
  },
};

test('every column that somebody else writes is text on every page, and none is forgotten', async () => {
  const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e`;
  const { store } = harness;
  for (const [table, { theirs, brokers }] of Object.entries(writers)) {
    const columns = await store.run<{ name: string }>(
      {
        name: 'test_columns',
        text: `SELECT column_name AS name FROM information_schema.columns
               WHERE table_schema = current_schema() AND table_name = $1 AND data_type IN ('text', 'json', 'jsonb', 'ARRAY')`,
      },
      [table],
    );
    const known = new Set([...theirs, ...brokers]);
    assert.deepEqual(
      columns.map(({ name }) => name).filter((name) => !known.has(name)),
      [],
      `who writes it in ${table}?`,
    );
  }
  const { path } = await pending(
    {
      agent: evil,
      taskType: evil,
      inputs: { [evil]: evil },
      onBehalfOf: vouched(evil, evil, evil),
      declaredOnBehalfOf: evil,
      startedBy: vouched(evil, evil, evil),
      responsible: evil,
      subject: { issuer: evil, subject: evil },
    },
    {
      agent: evil,
      capability: evil,
      params: { [evil]: [evil, { [evil]: evil }] },
      justification: evil,
      plan: { provider: evil, permission: { [evil]: [evil] }, ttl_seconds: 900 },
      decision: { effect: 'approve', reasons: [{ code: evil, advice: evil }] },
    },
  );
  const before = harness.about;
  harness.about = { owner: evil };
  for (const page of [path, '/approvals', '/', path.replace('approvals/gnt', 'sessions/ses')]) {
    const { status, html } = await get(page, owner);
    assert.equal(status, 200, page);
    assert.doesNotMatch(withoutOurs(html), /<script|<img/i, page);
    assert.ok(!html.includes('\u202e'), page);
    assert.doesNotMatch(html, /="[^"]*"[^\s/>]/, page);
  }
  harness.about = before;
});

test('the agent’s words are clamped', async () => {
  const { path } = await pending({}, { justification: `${'a'.repeat(500)}TAIL${'b'.repeat(96)}` });
  const { html } = await get(path, owner);
  assert.ok(html.includes('a'.repeat(500)));
  assert.ok(!html.includes('TAIL'));
  assert.match(html, /100 more characters/);
});

test('every answer carries the headers that keep it ours', async () => {
  const { path } = await pending();
  const answers = [
    await get(path),
    await get(path, owner),
    await get('/approvals/gnt_unknown', owner),
    await post(path, owner, { verdict: 'maybe' }),
    await post(path, owner, { verdict: 'approve' }, { csrf: null }),
    await post(path, owner, { verdict: 'approve' }),
  ];
  for (const { headers, status } of answers) {
    const csp = headers.get('content-security-policy') ?? '';
    for (const part of ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"])
      assert.ok(csp.includes(part), `${status}`);
    assert.doesNotMatch(csp, /unsafe|\*|https?:|data:/);
    assert.equal(headers.get('referrer-policy'), 'no-referrer');
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
  }
  const sheet = /href="(\/assets\/writ\.[0-9a-f]{16}\.css)"/.exec(answers[1]?.html ?? '')?.[1];
  const css = await fetch(harness.url + sheet);
  assert.equal(css.status, 200);
  assert.match(css.headers.get('cache-control') ?? '', /immutable/);
});

test('the list shows what this person may decide, and only while it can be decided', async () => {
  const mine = await pending();
  const own = await pending({ startedBy: vouched('owner@example.com') });
  const over = await pending({ status: 'ended' });
  const late = await pending({}, { decideBy: after(0) });
  const { html } = await get('/approvals', owner);
  assert.ok(html.includes(`"${mine.path}"`));
  for (const other of [own, over, late]) assert.ok(!html.includes(`"${other.path}"`), other.path);
  assert.match((await get('/approvals', person('x@example.com', { groups: ['writ-admins'] }))).html, /Nothing waits/);
  for (const gone of [over, late]) assert.doesNotMatch((await get(gone.path, owner)).html, /<textarea/);
});

test('a request that the session’s end denied is not shown as a person’s or a policy’s denial', async () => {
  const { path } = await pending({ status: 'ended' }, { status: 'denied', agent: 'quiet-bot' });
  const { html } = await get(path, owner);
  assert.match(html, /denied · session ended/);
  assert.doesNotMatch(html, /by policy|by a person/);
});

test('a form too large or too odd is a 4xx', async () => {
  const { path } = await pending();
  assert.equal((await post(path, owner, { verdict: 'deny', reason: 'x'.repeat(70_000) })).status, 413);
  const many = Object.fromEntries(Array.from({ length: 230 }, (_, i) => [`f${i}`, 'x']));
  assert.equal((await post(path, owner, many)).status, 413);
});

test('an agent that asks without end hides nobody else’s request, nor its own for other capabilities', async () => {
  const quiet = await pending({ agent: 'quiet-bot' }, { agent: 'quiet-bot', capability: 'quiet-thing' });
  const loud = await pending({ agent: 'loud-bot' }, { agent: 'loud-bot', capability: 'rare-thing' });
  const many = Array.from({ length: 250 }, (_, n) => `gnt_loud${n}`);
  const earlier = after(200);
  for (const id of many)
    await addGrant(harness.store, {
      id,
      sessionId: loud.sessionId,
      agent: 'loud-bot',
      capability: 'loud-thing',
      decideBy: earlier,
    });
  const { html } = await get('/approvals', owner);
  assert.ok(html.includes(quiet.path));
  assert.ok(html.includes(loud.path));
  assert.equal(many.filter((id) => html.includes(`/approvals/${id}"`)).length, 20);
  assert.match(html, /and 230 more of (?:<[^>]*>)*loud-bot/);
  const home = await get('/', owner);
  assert.ok(home.html.includes(quiet.path));
  const stranger = await get('/approvals', person('nobody@example.com'));
  assert.ok(!stranger.html.includes('loud-bot'), 'the number too is for those who may decide');
  await harness.store.prisma.grant.deleteMany({ where: { agent: { in: ['loud-bot', 'quiet-bot'] } } });
});
