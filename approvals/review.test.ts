import assert from 'node:assert/strict';
import { after as afterAll, test } from 'node:test';
import { assertEventsFit } from '../broker/audit/rows.test-support.ts';
import { manualClock } from '../broker/core/clock.ts';
import { WritError } from '../broker/core/errors.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { openTestStore } from '../broker/store/store.test-support.ts';
import { expireUndecided, type ReviewDeps, type ReviewRequest, review } from './review.ts';
import { addGrant, addSession, after, eventsOf, person, plan, start } from './rows.test-support.ts';

const store = await openTestStore('pglite');
afterAll(async () => {
  await assertEventsFit(store);
  await store.close();
});

const owner = person('owner@example.com', { groups: ['billing'] });
const digest = planDigest(plan);
let made = 0;

/** A pending grant in a session of its own, and the deps and request to review it. */
async function pending(
  session: Partial<Parameters<typeof addSession>[1]> = {},
  grant: Partial<Parameters<typeof addGrant>[1]> = {},
) {
  made += 1;
  const sessionId = await addSession(store, { id: `ses_${made}`, ...session });
  const grantId = await addGrant(store, { id: `gnt_${made}`, sessionId, ...grant });
  const clock = manualClock(start);
  const deps: ReviewDeps = { store, clock, approversOf: async () => ['team:billing', 'user:storage@example.com'] };
  const decide = (more: Partial<ReviewRequest> = {}) =>
    review(deps, {
      grantId,
      reviewer: owner,
      verdict: 'approve',
      planDigest: digest,
      channel: 'web',
      requestId: 'req',
      ...more,
    });
  const row = () => store.prisma.grant.findUniqueOrThrow({ where: { id: grantId }, include: { reviews: true } });
  return { sessionId, grantId, clock, deps, decide, row };
}

const refused = (code: WritError['code'], detail?: RegExp) => (error: unknown) =>
  error instanceof WritError && error.code === code && (detail === undefined || detail.test(error.detail ?? ''));

test('an approval moves the grant, leaves a review and an audit row, and sets a time to redeem', async () => {
  const { decide, row, sessionId } = await pending();
  const result = await decide({ reason: ' looks right ' });
  assert.deepEqual(
    { ...result, reviewId: '' },
    {
      reviewId: '',
      grantId: result.grantId,
      status: 'approved',
      planDigest: digest,
      ttlSeconds: 900,
      redeemBy: after(300),
    },
  );
  const grant = await row();
  assert.equal(grant.status, 'approved');
  assert.deepEqual(grant.decideBy, after(300));
  assert.deepEqual(grant.decidedAt, start);
  assert.equal(grant.endedAt, null);
  assert.equal(grant.reviews.length, 1);
  assert.equal(grant.reviews[0]?.reason, 'looks right');
  assert.equal(grant.reviews[0]?.consentedDigest, digest);
  const [event, ...more] = await eventsOf(store, sessionId);
  assert.equal(more.length, 0);
  assert.equal(event?.type, 'grant.approved');
  assert.equal(event?.actor, 'user:owner@example.com');
  assert.equal(event?.payload.plan_digest, digest);
});

test('a denial needs a reason, ends the grant and tells the agent', async () => {
  const { decide, row, sessionId } = await pending();
  await assert.rejects(decide({ verdict: 'deny' }), refused('bad_request'));
  await assert.rejects(decide({ verdict: 'deny', reason: '  ' }), refused('bad_request'));
  await assert.rejects(decide({ verdict: 'deny', reason: 'x'.repeat(501) }), refused('bad_request'));
  await assert.rejects(decide({ verdict: 'deny', reason: 'a\u0000b' }), refused('bad_request'));
  assert.equal((await row()).status, 'pending');
  const result = await decide({ verdict: 'deny', reason: 'not on a Friday' });
  assert.equal(result.status, 'denied');
  assert.equal(result.redeemBy, null);
  const grant = await row();
  assert.equal(grant.status, 'denied');
  assert.deepEqual(grant.endedAt, start);
  assert.deepEqual(grant.decision, {
    effect: 'deny',
    reasons: [{ code: 'denied_by_approver', advice: 'not on a Friday' }],
  });
  assert.deepEqual(
    (await eventsOf(store, sessionId)).map((e) => e.type),
    ['grant.denied'],
  );
});

test('nobody reviews what is done for them or was started by them, admins and approvers included', async () => {
  const admin = { ...owner, groups: ['billing', 'writ-admins'], username: 'owner', aliases: ['octo-owner'] };
  const parties = [
    { onBehalfOf: 'user:owner@example.com' },
    { onBehalfOf: 'user:OWNER@Example.com' },
    { onBehalfOf: 'user:ｏｗｎｅｒ@example.com' },
    { onBehalfOf: 'user:sub-owner@example.com' },
    { startedBy: 'user:owner' },
    { startedBy: 'octo-owner' },
    { startedBy: 'owner@example.com', onBehalfOf: 'user:somebody@example.com' },
    { subject: { issuer: owner.issuer, subject: owner.subject } },
  ];
  for (const party of parties) {
    const { decide, row, sessionId } = await pending(party);
    await assert.rejects(decide({ reviewer: admin }), refused('forbidden', /somebody else/));
    await assert.rejects(decide({ reviewer: admin, verdict: 'deny', reason: 'no' }), refused('forbidden'));
    const grant = await row();
    assert.equal(grant.status, 'pending', JSON.stringify(party));
    assert.equal(grant.reviews.length, 0);
    const events = await eventsOf(store, sessionId);
    assert.deepEqual(
      events.map((e) => [e.type, e.payload.refused_because]),
      [
        ['review.refused', 'party'],
        ['review.refused', 'party'],
      ],
    );
  }
});

test('a sub-agent does not wash its parent’s people out of the request', async () => {
  const grandparent = await addSession(store, { id: 'ses_grand', startedBy: 'user:owner@example.com' });
  const parent = await addSession(store, {
    id: 'ses_parent',
    parentId: grandparent,
    onBehalfOf: 'user:storage@example.com',
  });
  const { decide, row } = await pending({ parentId: parent, onBehalfOf: 'user:nobody@example.com' });
  await assert.rejects(decide(), refused('forbidden'));
  await assert.rejects(decide({ reviewer: person('storage@example.com') }), refused('forbidden'));
  assert.equal((await row()).status, 'pending');
  await decide({ reviewer: person('colleague@example.com', { groups: ['billing'] }) });
  assert.equal((await row()).status, 'approved');
});

test('self-review is refused before anything else is looked at', async () => {
  const { decide, clock } = await pending({ startedBy: 'owner@example.com', status: 'ended' });
  clock.advance(1_000_000);
  await assert.rejects(
    decide({ planDigest: 'sha256:other', reviewer: { ...owner, groups: [] } }),
    refused('forbidden', /somebody else/),
  );
});

test('only the approver set reviews; refusals are audited', async () => {
  const { decide, row, sessionId } = await pending();
  const outsiders = [
    person('admin@example.com', { groups: ['writ-admins'] }),
    person('x@example.com', { groups: ['Billing', 'team:billing'] }),
    person('storage@example.com', { emailVerified: false }),
    person('y@example.com', { username: 'storage@example.com', name: 'storage@example.com' }),
  ];
  for (const reviewer of outsiders) await assert.rejects(decide({ reviewer }), refused('forbidden', /owner/));
  assert.equal((await row()).status, 'pending');
  assert.deepEqual(
    (await eventsOf(store, sessionId)).map((e) => e.payload.refused_because),
    outsiders.map(() => 'not_an_approver'),
  );
  await decide({ reviewer: person('storage@example.com') });
  assert.equal((await row()).status, 'approved');
});

test('an approver set that cannot be read approves nobody', async () => {
  const { deps, decide, row } = await pending();
  deps.approversOf = async () => {
    throw new Error('manifest gone');
  };
  await assert.rejects(decide(), /manifest gone/);
  assert.equal((await row()).status, 'pending');
});

test('narrowing shortens under a new digest, and never widens', async () => {
  const { decide, row, deps } = await pending();
  deps.minTtlSeconds = () => 30;
  for (const ttlSeconds of [901, 86_400, 0, -1, 29, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    await assert.rejects(decide({ ttlSeconds }), refused('bad_request'), String(ttlSeconds));
  }
  assert.equal((await row()).status, 'pending');
  const result = await decide({ ttlSeconds: 60 });
  const narrowed = { ...plan, ttl_seconds: 60 };
  const grant = await row();
  assert.deepEqual(grant.plan, narrowed);
  assert.equal(grant.planDigest, planDigest(narrowed));
  assert.equal(result.planDigest, grant.planDigest);
  assert.notEqual(grant.planDigest, digest);
  assert.equal(grant.reviews[0]?.planDigest, digest);
  assert.equal(grant.reviews[0]?.consentedDigest, grant.planDigest);
});

test('what was seen must be what stands', async () => {
  const { decide, row } = await pending();
  await assert.rejects(decide({ planDigest: planDigest({ ...plan, ttl_seconds: 60 }) }), refused('conflict', /screen/));
  assert.equal((await row()).status, 'pending');
});

test('the plan changes between reading and writing: nothing is approved', async () => {
  const { deps, grantId, decide, row } = await pending();
  deps.approversOf = async () => {
    await store.prisma.grant.update({ where: { id: grantId }, data: { planDigest: 'sha256:swapped' } });
    return ['team:billing'];
  };
  await assert.rejects(decide(), refused('conflict'));
  const grant = await row();
  assert.equal(grant.status, 'pending');
  assert.equal(grant.reviews.length, 0);
});

test('the session ends between reading and writing: nothing is approved', async () => {
  const { deps, sessionId, decide, row } = await pending();
  deps.approversOf = async () => {
    await store.prisma.session.update({ where: { id: sessionId }, data: { status: 'ended', endedAt: start } });
    return ['team:billing'];
  };
  await assert.rejects(decide(), refused('conflict'));
  assert.equal((await row()).status, 'pending');
  assert.deepEqual(await eventsOf(store, sessionId), []);
});

test('too late, session over, decided already, unknown: no review', async () => {
  const late = await pending();
  late.clock.advance(300_000);
  await assert.rejects(late.decide(), refused('conflict', /time/));
  const over = await pending({ status: 'ended' });
  await assert.rejects(over.decide(), refused('conflict', /session/));
  const spent = await pending({ expiresAt: after(10) }, { decideBy: after(300) });
  spent.clock.advance(11_000);
  await assert.rejects(spent.decide(), refused('conflict', /session/));
  const twice = await pending();
  await twice.decide();
  await assert.rejects(twice.decide({ verdict: 'deny', reason: 'second thoughts' }), refused('conflict'));
  assert.equal((await twice.row()).status, 'approved');
  await assert.rejects(twice.decide({ grantId: 'gnt_none' }), refused('not_found'));
});

test('of many reviewers at once exactly one decides', async () => {
  const { decide, row, sessionId } = await pending();
  const verdicts = await Promise.allSettled(
    Array.from({ length: 8 }, (_, i) =>
      decide({
        reviewer: person(`p${i}@example.com`, { groups: ['billing'] }),
        ...(i % 2 === 0 ? { ttlSeconds: 60 + i } : { verdict: 'deny' as const, reason: 'no' }),
      }),
    ),
  );
  assert.equal(verdicts.filter((v) => v.status === 'fulfilled').length, 1);
  for (const verdict of verdicts) {
    if (verdict.status === 'rejected') assert.ok(refused('conflict')(verdict.reason));
  }
  assert.equal((await row()).reviews.length, 1);
  assert.equal((await eventsOf(store, sessionId)).length, 1);
});

test('no time to redeem reaches beyond the session', async () => {
  const { decide } = await pending({ expiresAt: after(120) }, { decideBy: after(100) });
  assert.deepEqual((await decide()).redeemBy, after(120));
});

test('what nobody decided is denied, what nobody collected lapses, and the rest stays', async () => {
  const undecided = await pending();
  const uncollected = await pending();
  await uncollected.decide();
  const fresh = await pending({}, { decideBy: after(10_000) });
  const first = await expireUndecided(store, after(299), 100);
  assert.ok(!first.some((e) => e.grantId === undecided.grantId || e.grantId === uncollected.grantId));
  const expired = await expireUndecided(store, after(300), 100);
  const reasonOf = (id: string) => expired.find((e) => e.grantId === id)?.reason;
  assert.equal(reasonOf(undecided.grantId), 'timeout');
  assert.equal(reasonOf(uncollected.grantId), 'not_redeemed');
  assert.equal(reasonOf(fresh.grantId), undefined);
  assert.deepEqual((await undecided.row()).decision, { effect: 'deny', reasons: [{ code: 'timeout' }] });
  assert.deepEqual((await uncollected.row()).decidedAt, start);
  assert.deepEqual(await eventsOf(store, undecided.sessionId), [
    {
      type: 'grant.denied',
      actor: 'system',
      payload: { capability: 'read-customer-files', reason: 'timeout', plan_digest: digest },
    },
  ]);
  assert.deepEqual(await expireUndecided(store, after(300), 100), []);
  await assert.rejects(undecided.decide(), refused('conflict'));
});

test('many workers expire each grant once', async () => {
  for (let i = 0; i < 10; i += 1) await pending();
  const rounds = await Promise.all(Array.from({ length: 4 }, () => expireUndecided(store, after(400), 4)));
  const ids = rounds.flat().map((e) => e.grantId);
  assert.equal(new Set(ids).size, ids.length);
  for (const round of rounds) assert.ok(round.length <= 4);
});
