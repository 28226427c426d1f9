import assert from 'node:assert/strict';
import { after as afterAll, test } from 'node:test';
import { addGrant, addSession, after, person, start, vouched } from '../../approvals/rows.test-support.ts';
import { openHarness } from '../../approvals/web/pages.test-support.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Identity } from '../people/identity.ts';
import { loadSessions } from './load.ts';
import { clamp, duration, prettyJson, visible } from './text.ts';
import { describeEvent } from './timeline.ts';

const harness = await openHarness();
afterAll(() => harness.close());

const append = {
  name: 'test_append',
  text: 'INSERT INTO audit_event (chain, at, type, actor, grant_id, payload) VALUES ($1, $2, $3, $4, $5, $6::json)',
};
const addEvent = (chain: string, type: string, actor: string, grantId: string | null, payload: JsonObject) =>
  harness.store.run(append, [chain, start, type, actor, grantId, JSON.stringify(payload)]);

async function get(path: string, who?: Identity) {
  const headers: Record<string, string> = who === undefined ? {} : { cookie: (await harness.signedIn(who)).cookie };
  const response = await fetch(harness.url + path, { headers, redirect: 'manual' });
  return { status: response.status, html: await response.text() };
}

test('a session’s history reads as sentences, credentials with their true state', async () => {
  await addSession(harness.store, { id: 'ses_1', declaredOnBehalfOf: 'user:starter@example.com' });
  await addGrant(harness.store, { id: 'gnt_1', sessionId: 'ses_1', capability: 'pay-supplier', status: 'issued' });
  const lease = {
    sessionId: 'ses_1',
    grantId: 'gnt_1',
    agent: 'invoice-bot',
    provider: 'aws',
    plan: {},
    planDigest: 'x',
    intentAt: start,
  };
  const times = { expiresAt: after(600), providerExpiresAt: after(600) };
  await harness.store.prisma.lease.createMany({
    data: [
      {
        ...lease,
        ...times,
        id: 'lse_1',
        status: 'revoking',
        dueAt: start,
        lastError: 'upstream_unavailable (403)',
        providerText: 'You have exceeded a <b>limit</b>.',
      },
      { ...lease, ...times, id: 'lse_2', status: 'revoked', endedAt: start, evidence: { status: 204 } },
    ],
  });
  await addEvent('ses_1', 'session.opened', 'invoice-bot', null, {
    on_behalf_of: vouched('starter@example.com') as unknown as JsonObject,
  });
  await addEvent('ses_1', 'grant.pending', 'invoice-bot', 'gnt_1', {});
  await addEvent('ses_1', 'grant.approved', 'user:owner@example.com', 'gnt_1', { ttl_seconds: 300 });
  await addEvent('ses_1', 'something.quite_new', 'system', null, { reason: 'because_so' });
  const { status, html } = await get('/sessions/ses_1', person('owner@example.com', { groups: ['billing'] }));
  assert.equal(status, 200);
  const order = [
    'invoice-bot opened the session on behalf of user:starter@example.com.',
    'asked for pay-supplier; a person must decide.',
    'user:owner@example.com approved pay-supplier for 5 min.',
    'something quite new: because so',
  ].map((line) => html.indexOf(line));
  assert.ok(
    order.every((at, i) => at > (order[i - 1] ?? 0)),
    String(order),
  );
  assert.match(html, /being revoked/);
  assert.match(html, /upstream_unavailable \(403\)/);
  assert.match(html, /said: .*You have exceeded a &lt;b>limit/);
  assert.equal(html.split('revoked, proven').length, 2, 'only the lease whose row says so');
});

test('sessions are seen by owners, admins, the people in them and approvers of their grants; by nobody else', async () => {
  await addSession(harness.store, {
    id: 'ses_2',
    agent: 'seen-bot',
    onBehalfOf: vouched('starter@example.com'),
    startedBy: vouched('team:marketing', 'username'),
    declaredOnBehalfOf: 'user:declared@example.com',
  });
  await addSession(harness.store, { id: 'ses_3', agent: 'child-bot', parentId: 'ses_2' });
  const seen = [
    person('a@example.com', { groups: ['billing'] }),
    person('b@example.com', { groups: ['writ-admins'] }),
    person('starter@example.com'),
  ];
  const unseen = [
    person('storage@example.com'),
    person('c@example.com', { groups: ['marketing'] }),
    person('starter@example.com', { emailVerified: false }),
    person('d@example.com', {
      username: 'starter@example.com',
      aliases: [{ kind: 'github_login', value: 'starter@example.com' }],
    }),
    person('declared@example.com'),
  ];
  for (const who of seen) {
    assert.equal((await get('/sessions/ses_2', who)).status, 200, who.email);
    assert.match((await get('/', who)).html, /seen-bot/);
  }
  for (const who of unseen) {
    const { status, html } = await get('/sessions/ses_2', who);
    assert.equal(status, 404, who.subject);
    assert.ok(!html.includes('seen-bot'));
    assert.ok(!(await get('/', who)).html.includes('seen-bot'));
  }
  await addGrant(harness.store, { id: 'gnt_2', sessionId: 'ses_2' });
  assert.equal((await get('/sessions/ses_2', person('storage@example.com'))).status, 200, 'an approver of its grant');
  assert.equal((await get('/sessions/ses_none', seen[1])).status, 404);
  assert.equal((await get('/sessions/ses_2')).status, 303);
});

test('a long session’s page is bounded: what may be alive, and the latest', async () => {
  await addSession(harness.store, { id: 'ses_long' });
  await addGrant(harness.store, {
    id: 'gnt_long',
    sessionId: 'ses_long',
    capability: 'pay-supplier',
    status: 'issued',
  });
  const lease = {
    sessionId: 'ses_long',
    grantId: 'gnt_long',
    agent: 'invoice-bot',
    provider: 'aws',
    plan: {},
    planDigest: 'x',
    expiresAt: after(600),
    providerExpiresAt: after(600),
  };
  await harness.store.prisma.lease.createMany({
    data: Array.from({ length: 260 }, (_, n) => ({
      ...lease,
      id: `lse_long_${n}`,
      intentAt: after(n),
      ...(n === 0 ? { status: 'active', dueAt: after(600) } : { status: 'revoked', endedAt: after(n) }),
    })),
  });
  const { html } = await get('/sessions/ses_long', person('owner@example.com', { groups: ['billing'] }));
  const shown = new Set([...html.matchAll(/lse_long_(\d+)/g)].map(([, n]) => Number(n)));
  assert.ok(shown.size <= 200, String(shown.size));
  assert.ok(shown.has(0) && shown.has(259) && !shown.has(5));
  assert.match(html, /Only 200/);
});

test('an event is never left out for want of words, and never shows a promise as a fact', () => {
  const event = { seq: 1, at: start, actor: 'system', grant_id: null, lease_id: null, payload: {} };
  const told = (type: string, payload: JsonObject = {}) =>
    describeEvent({ ...event, type, payload }, () => 'read-files').text;
  assert.equal(
    told('lease.revoking', { reason: 'session_ended' }),
    'The credential for read-files is being revoked: the session ended.',
  );
  assert.doesNotMatch(told('lease.revoke_failed'), /dead|revoked/);
  assert.doesNotMatch(told('lease.settling'), /dead|revoked/);
  assert.equal(told('session.ended', { reason: 'heartbeat_missed' }), 'The session ended: its heartbeat was missed.');
  assert.equal(told('grant.denied', { reasons: [{ code: 'ttl_too_long' }] }), 'read-files was denied: ttl too long.');
  assert.equal(told('x.y_z'), 'x y z');
});

test('invisible characters are written out, visible ones stay', () => {
  assert.equal(visible('a\u202eb\u0000c\u200bd\ufeffe\n'), 'a⟨U+202E⟩b⟨U+0000⟩c⟨U+200B⟩d⟨U+FEFF⟩e⟨U+000A⟩');
  assert.equal(visible('a\nb', '\n'), 'a\nb');
  assert.equal(visible('\ud800x\u{e0041}'), '⟨U+D800⟩x⟨U+E0041⟩');
  assert.equal(visible('Zürich 東京 مرحبا 🦊'), 'Zürich 東京 مرحبا 🦊');
  assert.deepEqual(clamp('🦊🦊🦊', 2), { text: '🦊🦊', left: 1 });
  assert.equal(prettyJson({ a: '\u202e' }), '{\n  "a": "⟨U+202E⟩"\n}');
  assert.deepEqual([0, 59, 60, 90, 3600, 90_061].map(duration), [
    '0 s',
    '59 s',
    '1 min',
    '1 min 30 s',
    '1 h',
    '1 d 1 h',
  ]);
});

test('an agent that opens sessions without end hides no other agent’s, alive or ended', async () => {
  await addSession(harness.store, { id: 'ses_quiet', agent: 'quiet-bot' });
  await addSession(harness.store, { id: 'ses_quiet_ended', agent: 'quiet-bot', status: 'ended' });
  const {
    id: _,
    slept: __,
    ...row
  } = await harness.store.prisma.session.findUniqueOrThrow({ where: { id: 'ses_quiet' } });
  await harness.store.prisma.agent.create({ data: { name: 'loud-bot', version: 1 } });
  const loud = (status: string) =>
    Array.from({ length: 250 }, (_, n) => ({
      ...row,
      id: `ses_loud_${status}${n}`,
      rootId: 'x',
      agent: 'loud-bot',
      status,
      endedAt: status === 'ended' ? after(300) : null,
      inputs: {},
      subject: {},
      capabilities: [],
      openedAt: after(1 + n),
    }));
  await harness.store.prisma.session.createMany({ data: [...loud('active'), ...loud('ended')] as never });
  const { html } = await get('/', person('owner@example.com', { groups: ['billing'] }));
  assert.ok(html.includes('/sessions/ses_quiet"'));
  assert.equal(html.split('/sessions/ses_loud_active').length - 1, 20);
  assert.match(html, /and 230 more of (?:<[^>]*>)*loud-bot/);
  const listed = await loadSessions(harness.store);
  assert.ok(listed.ended.some((session) => session.id === 'ses_quiet_ended'));
  await harness.store.prisma.session.deleteMany({ where: { agent: 'loud-bot' } });
});
