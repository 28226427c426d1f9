import assert from 'node:assert/strict';
import { after as afterAll, test } from 'node:test';
import { z } from 'zod';
import { assertEventsFit } from '../broker/audit/rows.test-support.ts';
import { manualClock } from '../broker/core/clock.ts';
import { WritError } from '../broker/core/errors.ts';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import type { ProviderShapes } from '../broker/manifests/check.ts';
import { publishManifest } from '../broker/manifests/publish.ts';
import { type Identity, identityRecord } from '../broker/people/identity.ts';
import { openTestStore } from '../broker/store/store.test-support.ts';
import { expireUndecided, type ReviewDeps, type ReviewRequest, review } from './review.ts';
import { addGrant, addSession, after, eventsOf, person, plan, start, vouched } from './rows.test-support.ts';

const store = await openTestStore();
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

test('by a clock that is far off nothing is approved, and all is denied', async () => {
  const one = await pending();
  one.deps.clockHolds = () => false;
  await assert.rejects(one.decide(), refused('unavailable', /clock/));
  assert.equal((await one.row()).status, 'pending');
  assert.equal((await one.decide({ verdict: 'deny', reason: 'no' })).status, 'denied');
});

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

test('nobody approves what is done for them or was started by them, admins and approvers included; all may deny', async () => {
  const admin = {
    ...owner,
    groups: ['billing', 'writ-admins'],
    username: 'owner',
    aliases: [{ kind: 'github_login', value: 'octo-owner' }],
    former: [{ kind: 'email', value: 'before@example.com' }],
  };
  const parties: Partial<Parameters<typeof addSession>[1]>[] = [
    { declaredOnBehalfOf: 'user:owner@example.com' },
    { declaredOnBehalfOf: 'user:OWNER@Example.com' },
    { declaredOnBehalfOf: 'user:ｏｗｎｅｒ@example.com' },
    { declaredOnBehalfOf: 'user:sub-owner@example.com' },
    { declaredOnBehalfOf: 'user:Octo-Owner' },
    { declaredOnBehalfOf: 'user:github_login:octo-owner' },
    { declaredOnBehalfOf: 'user:before@example.com' },
    { onBehalfOf: vouched('owner@example.com') },
    { startedBy: vouched('owner', 'username') },
    { startedBy: vouched('OCTO-owner', 'github_login') },
    { startedBy: vouched('before@example.com') },
    { startedBy: vouched(owner.subject, 'subject', owner.issuer) },
    { startedBy: vouched('owner@example.com'), declaredOnBehalfOf: 'user:somebody@example.com' },
    { startedBy: null, responsible: 'team:billing' },
    { startedBy: null, responsible: 'team:Billing' },
    { startedBy: null, responsible: 'team:/billing' },
    { startedBy: null, responsible: 'user:owner@example.com' },
    { startedBy: null, responsible: 'user:github_login:octo-owner' },
    { subject: { issuer: owner.issuer, subject: owner.subject } },
  ];
  for (const party of parties) {
    const { decide, row, sessionId } = await pending(party);
    const said = JSON.stringify(party);
    await assert.rejects(decide({ reviewer: admin }), refused('forbidden', /somebody else/), said);
    const grant = await row();
    assert.equal(grant.status, 'pending', said);
    assert.equal(grant.reviews.length, 0);
    const events = await eventsOf(store, sessionId);
    assert.deepEqual(
      events.map((e) => [e.type, e.payload.refused_because]),
      [['review.refused', 'party']],
    );
    await decide({ reviewer: admin, verdict: 'deny', reason: 'not mine' });
    assert.equal((await row()).status, 'denied', said);
  }
});

test('what only the agent says opens nothing: an outsider whom it names sees nothing and denies nothing', async () => {
  const { decide, row } = await pending({ declaredOnBehalfOf: 'user:outsider@example.com' });
  const outsider = person('outsider@example.com');
  await assert.rejects(decide({ reviewer: outsider }), refused('forbidden'));
  await assert.rejects(decide({ reviewer: outsider, verdict: 'deny', reason: 'no' }), refused('forbidden'));
  assert.equal((await row()).status, 'pending');
});

test('names are compared within one kind: who lacks one of the party’s kind is barred, and told what to configure', async () => {
  const cases: [Partial<Parameters<typeof addSession>[1]>, Partial<Identity>, RegExp][] = [
    [{ startedBy: vouched('octo', 'github_login') }, {}, /WRIT_OIDC_ALIAS_CLAIMS \(github_login=/],
    [{ startedBy: vouched('octo', 'github_login') }, { username: 'octo' }, /WRIT_OIDC_ALIAS_CLAIMS/],
    [{ startedBy: vouched('0a-1', 'oid') }, {}, /WRIT_OIDC_ALIAS_CLAIMS \(oid=/],
    [{ startedBy: vouched('7', 'subject', 'https://ci.example') }, {}, /people must sign in there/],
    [{ onBehalfOf: vouched('x@example.com') }, { emailVerified: false }, /WRIT_OIDC_SCOPE/],
    [{ declaredOnBehalfOf: 'user:github_login:octo' }, {}, /WRIT_OIDC_ALIAS_CLAIMS/],
    [{ startedBy: null, responsible: 'team:storage' }, { groupsUnknown: true }, /WRIT_OIDC_GROUPS_CLAIM/],
  ];
  for (const [session, more, told] of cases) {
    const { decide, row, sessionId } = await pending(session);
    const reviewer = person('other@example.com', { groups: ['billing'], ...more });
    await assert.rejects(decide({ reviewer }), refused('forbidden', told), JSON.stringify(session));
    assert.equal((await eventsOf(store, sessionId))[0]?.payload.refused_because, 'not_comparable');
    await decide({ reviewer, verdict: 'deny', reason: 'cannot be told' });
    assert.equal((await row()).status, 'denied');
  }
  const { decide, row } = await pending({ startedBy: vouched('octo', 'github_login') });
  const aliases = [{ kind: 'github_login', value: 'else' }];
  await decide({ reviewer: person('o@example.com', { groups: ['billing'], username: 'octo', aliases }) });
  assert.equal((await row()).status, 'approved', 'a user name of the same letters is another name');
});

test('an identity provider that releases no e-mail at all bars where the party is known by one', async () => {
  const { decide } = await pending();
  const { email: _, emailVerified: __, ...nameless } = owner;
  await assert.rejects(decide({ reviewer: nameless }), refused('forbidden', /verified e-mail/));
});

test('where nobody says who started the run, two people must approve: two different ones, none of them a party', async () => {
  const { decide, row, sessionId } = await pending({
    startedBy: null,
    declaredOnBehalfOf: 'user:strict@example.com',
  });
  const operator = person('operator@example.com', { groups: ['billing'] });
  const first = await decide({ reviewer: operator });
  assert.equal(first.status, 'pending');
  assert.equal((await row()).status, 'pending');
  const again = [
    operator,
    { ...operator, subject: 'another account' },
    person('new@example.com', { groups: ['billing'], former: [{ kind: 'email', value: 'operator@example.com' }] }),
  ];
  for (const reviewer of again) await assert.rejects(decide({ reviewer }), refused('forbidden', /one more person/));
  const strict = person('strict@example.com', { groups: ['billing'] });
  await assert.rejects(decide({ reviewer: strict }), refused('forbidden', /somebody else/));
  assert.equal((await decide({ reviewer: owner })).status, 'approved');
  const grant = await row();
  assert.equal(grant.status, 'approved');
  assert.equal(grant.reviews.length, 2);
  assert.deepEqual(
    (await eventsOf(store, sessionId)).map((e) => e.type).filter((type) => type !== 'review.refused'),
    ['review.approved', 'grant.approved'],
  );
});

const inGroups = (email: string, ...groups: string[]) => person(email, { groups });

test('two of two groups: whoever is in both counts once, owners who are in neither only deny', async () => {
  const approval = [{ quorum: 2, from: ['team:security', 'team:sre'] }];
  const { decide, row } = await pending({}, { approval });
  await assert.rejects(decide(), refused('forbidden', /team:security, team:sre/));
  const both = inGroups('both@example.com', 'sre', 'security');
  assert.equal((await decide({ reviewer: both })).status, 'pending');
  await assert.rejects(decide({ reviewer: both }), refused('forbidden'));
  const again = { ...both, subject: 'another account' };
  await assert.rejects(decide({ reviewer: again }), refused('forbidden'), 'another sign-in of the same person');
  assert.equal((await decide({ reviewer: inGroups('one@example.com', 'sre') })).status, 'approved');
  assert.equal((await row()).status, 'approved');

  const denied = await pending({}, { approval });
  assert.equal((await denied.decide({ reviewer: both })).status, 'pending');
  assert.equal((await denied.decide({ verdict: 'deny', reason: 'no' })).status, 'denied', 'by an owner');
  await assert.rejects(denied.decide({ reviewer: inGroups('one@example.com', 'sre') }), refused('conflict'));
});

test('what a rule asks and what the capability asks must both be met', async () => {
  const approval = [
    { quorum: 1, from: ['team:billing'] },
    { quorum: 2, from: ['team:security'] },
  ];
  const { decide } = await pending({}, { approval });
  assert.equal((await decide({ reviewer: inGroups('a@example.com', 'security') })).status, 'pending');
  assert.equal((await decide({ reviewer: inGroups('b@example.com', 'security') })).status, 'pending');
  assert.equal((await decide({ reviewer: owner })).status, 'approved');
  const unvouched = await pending({ startedBy: null }, { approval: [{ quorum: 1, from: ['team:sre'] }] });
  assert.equal((await unvouched.decide({ reviewer: inGroups('a@example.com', 'sre') })).status, 'pending');
  assert.equal((await unvouched.decide({ reviewer: inGroups('b@example.com', 'sre') })).status, 'approved');
});

test('two who approve at once, where two must: both count, and it is approved once', async () => {
  const { decide, row, sessionId } = await pending({}, { approval: [{ quorum: 2, from: ['team:sre'] }] });
  const reviewers = ['a@example.com', 'b@example.com'].map((email) => inGroups(email, 'sre'));
  const results = await Promise.all(reviewers.map((reviewer) => decide({ reviewer })));
  assert.deepEqual(results.map(({ status }) => status).sort(), ['approved', 'pending']);
  assert.equal((await row()).reviews.length, 2);
  const types = (await eventsOf(store, sessionId)).map(({ type }) => type);
  assert.deepEqual(types, ['review.approved', 'grant.approved']);
});

test('who is on call at the moment of the review approves, counts once, and is on record as on call', async () => {
  const ana = person('ana@example.com');
  const ben = person('ben@example.com');
  const people: { [rota: string]: string[] } = {
    payments: ['user:ana@example.com'],
    storage: ['user:ana@example.com'],
  };
  const onCall = { peopleOn: async (rota: string) => people[rota] ?? [] };
  const approval = [{ quorum: 2, from: ['oncall:payments', 'oncall:storage', 'team:security'] }];
  const { decide, deps, row, sessionId } = await pending({}, { approval });
  // Without a rota nobody is on call.
  await assert.rejects(decide({ reviewer: ben }), refused('forbidden', /oncall:payments/));
  deps.onCall = onCall;
  await assert.rejects(decide({ reviewer: ben }), refused('forbidden'));
  // Whoever says so of themselves is not.
  await assert.rejects(decide({ reviewer: { ...ben, onCall: ['payments'] } }), refused('forbidden'));
  // On two rotas: one person.
  assert.equal((await decide({ reviewer: ana })).status, 'pending');
  assert.deepEqual(
    (await eventsOf(store, sessionId)).at(-1)?.payload.reviewer,
    identityRecord({ ...ana, onCall: ['payments', 'storage'] }),
  );
  await assert.rejects(decide({ reviewer: ana }), refused('forbidden', /one more person/));
  // The turn has passed on: what was given stands.
  people.payments = ['user:ben@example.com'];
  people.storage = [];
  assert.equal((await decide({ reviewer: ben })).status, 'approved');
  assert.equal((await row()).reviews.length, 2);
});

test('whoever is on call approves nothing of their own', async () => {
  for (const session of [{ startedBy: vouched('ana@example.com') }, { onBehalfOf: vouched('ana@example.com') }]) {
    const { decide, deps, row } = await pending(session, { approval: [{ quorum: 1, from: ['oncall:payments'] }] });
    deps.onCall = { peopleOn: async () => ['user:ana@example.com'] };
    const ana = person('ana@example.com');
    await assert.rejects(decide({ reviewer: ana }), refused('forbidden', /somebody else must approve/));
    assert.equal((await row()).status, 'pending');
  }
});

test('a quorum that was lowered in the database, or taken away, is nobody’s request', async () => {
  for (const change of [{ approval: [{ quorum: 1, from: ['team:sre'] }] }, { approval: null }, {}]) {
    const { decide, grantId } = await pending({}, { approval: [{ quorum: 2, from: ['team:sre'] }] });
    const decision = { effect: 'approve', reasons: [], ...change };
    await store.prisma.grant.update({ where: { id: grantId }, data: { decision } });
    await assert.rejects(decide({ reviewer: inGroups('a@example.com', 'sre') }), refused('not_found'));
  }
});

test('one denial is enough, and a narrower plan is approved anew', async () => {
  const denied = await pending({ startedBy: null });
  await denied.decide({ reviewer: person('a@example.com', { groups: ['billing'] }) });
  await denied.decide({ verdict: 'deny', reason: 'no' });
  assert.equal((await denied.row()).status, 'denied');

  const narrowed = await pending({ startedBy: null });
  const [a, b] = ['a', 'b'].map((name) => person(`${name}@example.com`, { groups: ['billing'] })) as [
    Identity,
    Identity,
  ];
  await narrowed.decide({ reviewer: a });
  const shorter = await narrowed.decide({ reviewer: b, ttlSeconds: 60 });
  assert.equal(shorter.status, 'pending', 'the first consented to another plan');
  await assert.rejects(narrowed.decide({ reviewer: a }), refused('conflict', /screen/));
  assert.equal((await narrowed.decide({ reviewer: a, planDigest: shorter.planDigest })).status, 'approved');
});

test('two who approve at the same moment are both counted', async () => {
  for (let round = 0; round < 5; round += 1) {
    const { decide, row } = await pending({ startedBy: null });
    const results = await Promise.all(
      ['a', 'b'].map((name) => decide({ reviewer: person(`${name}@example.com`, { groups: ['billing'] }) })),
    );
    assert.deepEqual(results.map((result) => result.status).sort(), ['approved', 'pending']);
    assert.equal((await row()).status, 'approved');
  }
});

test('a sub-agent does not wash its parent’s people out of the request', async () => {
  const grandparent = await addSession(store, { id: 'ses_grand', startedBy: vouched('owner@example.com') });
  const parent = await addSession(store, {
    id: 'ses_parent',
    parentId: grandparent,
    declaredOnBehalfOf: 'user:storage@example.com',
  });
  const { decide, row } = await pending({ parentId: parent, declaredOnBehalfOf: 'user:nobody@example.com' });
  await assert.rejects(decide(), refused('forbidden'));
  await assert.rejects(decide({ reviewer: person('storage@example.com') }), refused('forbidden'));
  assert.equal((await row()).status, 'pending');
  await decide({ reviewer: person('colleague@example.com', { groups: ['billing'] }) });
  assert.equal((await row()).status, 'approved');
});

test('self-review is refused before anything else is looked at', async () => {
  const { decide, clock } = await pending({ startedBy: vouched('owner@example.com'), status: 'ended' });
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

test('whoever is refused again and again fills no chain: so many rows a minute, of each person', async () => {
  const { decide, sessionId, clock } = await pending();
  const tries = async (name: string, count: number) => {
    for (let n = 0; n < count; n += 1)
      await assert.rejects(decide({ reviewer: person(name) }), (error: unknown) => error instanceof WritError);
  };
  const rows = async () => (await eventsOf(store, sessionId)).filter(({ type }) => type === 'review.refused').length;
  await tries('outsider@example.com', 100);
  assert.equal(await rows(), 60);
  await tries('another@example.com', 2);
  assert.equal(await rows(), 62);
  clock.advance(60_001);
  await tries('outsider@example.com', 1);
  assert.equal(await rows(), 63);
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

const source = (owner: string, capabilityOwner = '') => `apiVersion: writ/v1
agent: owned-bot
owner: ${owner}
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  read-customer-files: { description: Read., provider: plain, tasks: [work], tier: 2, max_ttl: 15m${capabilityOwner} }
`;

test('owners whom a new manifest replaces decide no more: what waits for them lapses, approved or not', async () => {
  const clock = manualClock(start);
  const shapes = { plain: { params: z.strictObject({}) } } as unknown as ProviderShapes;
  const publication = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
  const publish = (text: string) => publishManifest(store, clock, shapes, { ...publication, source: text });
  await publish(source('team:billing'));
  const asked = { agent: 'owned-bot' };
  const waiting = await pending(asked, asked);
  const approved = await pending(asked, asked);
  await approved.decide();
  await publish(source('team:billing', ', max_grants: 3'));
  const owners = async ({ manifestVersion }: { manifestVersion: number }) =>
    manifestVersion < 3 ? ['team:billing'] : ['team:storage'];
  waiting.deps.approversOf = owners as ReviewDeps['approversOf'];
  assert.deepEqual(await expireUndecided(store, after(1), 100), [], 'a version with the same owners changes nothing');
  await publish(source('team:billing', ', owner: team:storage'));
  await assert.rejects(waiting.decide(), refused('conflict', /other owners/));
  const lapsed = await expireUndecided(store, after(1), 100);
  assert.deepEqual(
    lapsed.map(({ grantId, reason }) => [grantId, reason]).sort(),
    [
      [approved.grantId, 'owner_changed'],
      [waiting.grantId, 'owner_changed'],
    ].sort(),
  );
  assert.equal((await approved.row()).status, 'denied');
  assert.deepEqual((await waiting.row()).decision, { effect: 'deny', reasons: [{ code: 'owner_changed' }] });
});

test('a manifest that asks more people, or others, is waited for under the new one', async () => {
  const clock = manualClock(start);
  const shapes = { plain: { params: z.strictObject({}) } } as unknown as ProviderShapes;
  const publication = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
  const publish = (more: string) =>
    publishManifest(store, clock, shapes, {
      ...publication,
      source: source('team:billing', more).replaceAll('owned-bot', 'quorum-bot'),
    });
  await publish('');
  const asked = { agent: 'quorum-bot' };
  const waiting = await pending(asked, asked);
  await publish(', approval: { quorum: 2 }');
  await assert.rejects(waiting.decide(), refused('conflict', /other owners/));
  const lapsed = await expireUndecided(store, after(1), 100);
  assert.deepEqual(lapsed, [{ grantId: waiting.grantId, sessionId: waiting.sessionId, reason: 'owner_changed' }]);
});

test('a manifest published between reading and writing: nothing is approved', async () => {
  const { deps, decide, row } = await pending({ agent: 'raced-bot' }, { agent: 'raced-bot' });
  deps.approversOf = async () => {
    await store.prisma.agent.update({ where: { name: 'raced-bot' }, data: { version: 2 } });
    return ['team:billing'];
  };
  await assert.rejects(decide(), refused('conflict'));
  assert.equal((await row()).status, 'pending');
});

test('whoever wrote or agreed to the manifest in the last day approves nothing by it; a folder bars nobody', async () => {
  const shapes = { plain: { params: z.strictObject({}) } } as unknown as ProviderShapes;
  const second = person('second@example.com', { groups: ['billing'] });
  const third = person('third@example.com', { groups: ['billing'] });
  const { email: _, emailVerified: __, ...nameless } = third;
  const publish = (author: string, more: string, at: Date, agent: string) =>
    publishManifest(store, manualClock(at), shapes, {
      author,
      reason: 'test',
      agent: null,
      expectedVersion: null,
      requestId: null,
      source: source('team:billing', more).replaceAll('owned-bot', agent),
    });
  await publish('WRIT_MANIFEST_DIR', '', start, 'edited-bot');
  const asked = { agent: 'edited-bot' };
  const started = { ...asked, startedBy: vouched('sub-else', 'subject', 'https://login.example') };
  assert.equal((await (await pending(started, asked)).decide({ reviewer: nameless })).status, 'approved');
  await publish('user:owner@example.com', ', max_grants: 3', after(10), 'edited-bot');
  await publish('bootstrap token', ', max_grants: 4', after(20), 'edited-bot');
  const { deps, decide, clock, row, sessionId } = await pending(started, asked);
  clock.set(after(60));
  await assert.rejects(decide(), refused('forbidden', /changed what this agent may do/));
  const renamed = { ...second, former: [{ kind: 'email', value: 'Owner@example.com' }] };
  await assert.rejects(decide({ reviewer: renamed }), refused('forbidden', /changed what this agent may do/));
  await assert.rejects(decide({ reviewer: nameless }), refused('forbidden', /nobody can tell/));
  assert.deepEqual(
    (await eventsOf(store, sessionId)).map(({ payload }) => payload.refused_because),
    ['edited_manifest', 'edited_manifest', 'not_comparable'],
  );
  deps.editorCoolingSeconds = 50;
  assert.equal((await decide()).status, 'approved', 'the time is a setting');
  assert.equal((await row()).status, 'approved');

  // Two who agree on a version are both its editors.
  await store.prisma.manifestProposal.create({
    data: {
      id: 'mpr_1',
      agent: 'edited-bot',
      baseVersion: 3,
      source: '',
      sha256: '',
      author: 'user:sub-second',
      proposer: { kind: 'person', identity: identityRecord(second) as JsonObject },
      reason: 'test',
      proposedAt: after(30),
      status: 'published',
      decidedBy: 'user:third@example.com',
      decidedAt: after(40),
      version: 4,
    },
  });
  const agreed = await pending(asked, asked);
  agreed.clock.set(after(60));
  agreed.deps.editorCoolingSeconds = 45;
  for (const reviewer of [second, third])
    await assert.rejects(agreed.decide({ reviewer }), refused('forbidden', /changed what this agent may do/));
  assert.equal(
    (await agreed.decide({ reviewer: third, verdict: 'deny', reason: 'no' })).status,
    'denied',
    'but denies',
  );
  // Who is on record as having agreed did, whatever the row says.
  await store.prisma.auditEvent.create({
    data: {
      chain: 'agent:edited-bot',
      at: after(40),
      type: 'manifest.agreed',
      actor: 'user:third@example.com',
      payload: { proposal: 'mpr_1', version: 4, sha256: '' },
    },
  });
  await store.prisma.manifestProposal.update({ where: { id: 'mpr_1' }, data: { decidedAt: after(-100_000) } });
  const hidden = await pending(asked, asked);
  hidden.clock.set(after(60));
  hidden.deps.editorCoolingSeconds = 45;
  await assert.rejects(hidden.decide({ reviewer: third }), refused('forbidden', /changed what this agent may do/));
  const off = await pending(asked, asked);
  off.deps.editorCoolingSeconds = 0;
  assert.equal((await off.decide()).status, 'approved');
});
