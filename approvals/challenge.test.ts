/** Approval challenges: who approves picks the sentence that the request says, once, on their own page. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after as afterAll, test } from 'node:test';
import { assertEventsFit } from '../broker/audit/rows.test-support.ts';
import { manualClock } from '../broker/core/clock.ts';
import { aboutCall } from '../broker/core/questions.ts';
import type { ApprovalTerm, Plan } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import type { Identity } from '../broker/people/identity.ts';
import { takeOnce } from '../broker/sessions/take-once.ts';
import { openTestStore } from '../broker/store/store.test-support.ts';
import { loadForReview } from './eligibility.ts';
import { makeChallenge, type ReviewDeps, type ReviewRequest, review, type ShownChallenge } from './review.ts';
import { addGrant, addSession, eventsOf, person, plan, start } from './rows.test-support.ts';

const store = await openTestStore();
afterAll(async () => {
  await assertEventsFit(store);
  await store.close();
});
const clock = manualClock(start);
const deps = {
  store,
  clock,
  challengeKey: randomBytes(32),
  once: (key: string, until: Date) => takeOnce(store, key, until),
  approversOf: async () => ['team:billing'],
  aboutGrant: async () => ({ owner: 'team:billing', challenged: true }),
  describePlan: ({ permission, state }: Plan) => ({
    summary: [
      `Read objects of ${String(permission.of ?? 'customer 42')}`,
      ...(state === undefined ? [] : ['As it is']),
    ],
    revocability: { kind: 'expiry' as const, text: 'It ends.' },
  }),
} satisfies ReviewDeps;
const [owner, second] = ['owner', 'second'].map((name) => person(`${name}@example.com`, { groups: ['billing'] }));
assert.ok(owner && second);

let made = 0;
interface Asked {
  approval?: ApprovalTerm[];
  tier?: number;
  plan?: Plan;
  capability?: string;
  agent?: string;
}

async function pending(more: Asked = {}) {
  made += 1;
  const about = more.agent === undefined ? {} : { agent: more.agent };
  const sessionId = await addSession(store, {
    id: `ses_${made}`,
    expiresAt: after(86_400),
    heartbeatDeadline: after(86_400),
    ...about,
  });
  const grantId = await addGrant(store, { id: `gnt_${made}`, sessionId, decideBy: after(86_400), ...more });
  const row = () => store.prisma.grant.findUniqueOrThrow({ where: { id: grantId } });
  /** As the page shows it to somebody. */
  const shown = async (reader: Identity = owner!, loginId = 'login_1') =>
    makeChallenge(deps, { grant: await loadForReview(store, grantId), reader, loginId });
  const decide = async (more: Partial<ReviewRequest> = {}, others: Partial<ReviewDeps> = {}) =>
    review(
      { ...deps, ...others },
      {
        grantId,
        reviewer: owner!,
        verdict: 'approve',
        planDigest: (await row()).planDigest,
        channel: 'web',
        requestId: 'req',
        ...more,
      },
    );
  return { sessionId, grantId, row, shown, decide };
}

const after = (seconds: number) => new Date(start.getTime() + seconds * 1000);

function picking({ token, options }: ShownChallenge, right: boolean, own = 'Read objects of customer 42') {
  const option = options.find(({ sentence }) => (sentence === own) === right);
  assert.ok(option);
  return { loginId: 'login_1', token, picked: option.value };
}

/** Refused, on record for this reason, and nothing is approved. */
async function refused(
  { sessionId, row }: Awaited<ReturnType<typeof pending>>,
  deciding: Promise<unknown>,
  because: 'no_answer' | 'wrong_answer',
) {
  await assert.rejects(deciding, { code: 'forbidden' });
  const last = (await eventsOf(store, sessionId)).at(-1);
  assert.deepEqual([last?.type, last?.payload.refused_because], ['review.refused', because]);
  assert.equal((await row()).status, 'pending');
}

test('the right sentence approves, and the record says that it was picked', async () => {
  const request = await pending();
  const { options } = await request.shown();
  assert.equal(options.length, 4);
  assert.equal(options.filter(({ sentence }) => sentence === 'Read objects of customer 42').length, 1);
  await request.decide({ challenge: picking(await request.shown(), true) });
  assert.equal((await request.row()).status, 'approved');
  const last = (await eventsOf(store, request.sessionId)).at(-1);
  assert.deepEqual([last?.type, last?.payload.challenge], ['grant.approved', 'passed']);
});

test('it is off where nothing asks for it, and never about a call or a session', async () => {
  const request = await pending();
  await request.decide({}, { aboutGrant: async () => ({ owner: 'team:billing' }) });
  const last = (await eventsOf(store, request.sessionId)).at(-1);
  assert.deepEqual([last?.type, last?.payload.challenge], ['grant.approved', undefined]);
  const question = await pending({ capability: aboutCall('send_mail'), plan: { ...plan, provider: 'call' } });
  await question.decide();
  assert.equal((await question.row()).status, 'approved');
});

test('a wrong sentence is on record and costs a minute: of this person, for this request, and not to deny', async () => {
  const request = await pending();
  await refused(request, request.decide({ challenge: picking(await request.shown(), false) }), 'wrong_answer');
  clock.advance(59_000);
  const early = picking(await request.shown(), true);
  await assert.rejects(request.decide({ challenge: early }), {
    code: 'conflict',
    detail: /You picked a wrong sentence/,
  });
  assert.equal((await request.row()).status, 'pending');
  // Others, and other requests of this one, are free.
  const other = await pending();
  await other.decide({ challenge: picking(await other.shown(), true) });
  clock.advance(1_000);
  await request.decide({ challenge: early });
  assert.equal((await request.row()).status, 'approved', 'what came too soon had used nothing up');

  const seconds = await pending();
  await refused(seconds, seconds.decide({ challenge: picking(await seconds.shown(), false) }), 'wrong_answer');
  await seconds.decide({ reviewer: second!, challenge: picking(await seconds.shown(second), true) });
  assert.equal((await seconds.row()).status, 'approved');

  const denied = await pending();
  await refused(denied, denied.decide({ challenge: picking(await denied.shown(), false) }), 'wrong_answer');
  await denied.decide({ verdict: 'deny', reason: 'No.' });
  assert.equal((await denied.row()).status, 'denied');
});

test('none, a forged one, and one of another page, person, login or request: none of them approves', async () => {
  const request = await pending();
  const right = async () => picking(await request.shown(), true);
  const { token, picked } = await right();
  const [head, body, mac] = token.split('.') as [string, string, string];
  const forged = `${head}.${Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(body, 'base64url').toString()), exp: 9_999_999_999 })).toString('base64url')}.${mac}`;
  const strangers = [
    undefined,
    { ...(await right()), token: '' },
    { ...(await right()), token: forged },
    { ...(await right()), loginId: 'login_2' },
    picking(await request.shown(second), true),
    picking(await (await pending()).shown(), true),
  ];
  for (const challenge of strangers) await refused(request, request.decide({ challenge }), 'no_answer');
  // What was picked on one page is nothing on another.
  await refused(request, request.decide({ challenge: { ...(await right()), picked } }), 'wrong_answer');
  clock.advance(60_000);
  for (const key of ['challengeKey', 'once', 'describePlan'] as const)
    await refused(request, request.decide({ challenge: await right() }, { [key]: undefined }), 'no_answer');
  await request.decide({ challenge: { loginId: 'login_1', token, picked } });
  assert.equal((await request.row()).status, 'approved', 'none of them had used it up');
});

test('a challenge is good for one answer and a quarter of an hour', async () => {
  const request = await pending();
  const once = await request.shown();
  await refused(request, request.decide({ challenge: picking(once, false) }), 'wrong_answer');
  clock.advance(60_000);
  await refused(request, request.decide({ challenge: picking(once, true) }), 'no_answer');
  const old = picking(await request.shown(), true);
  clock.advance(901_000);
  await refused(request, request.decide({ challenge: old }), 'no_answer');
});

test('it is about the plan on the screen, whatever of it is approved', async () => {
  const request = await pending({ approval: [{ quorum: 2, from: ['team:billing'] }] });
  const before = picking(await request.shown(second), true);
  await request.decide({ ttlSeconds: 300, challenge: picking(await request.shown(), true) });
  const { status, planDigest: narrowed } = await request.row();
  assert.deepEqual([status, narrowed], ['pending', planDigest({ ...plan, ttl_seconds: 300 })]);
  // The second one read the wider plan: that is no answer about the one that stands.
  await refused(request, request.decide({ reviewer: second!, challenge: before }), 'no_answer');
  await request.decide({ reviewer: second!, challenge: picking(await request.shown(second), true) });
  assert.equal((await request.row()).status, 'approved');
});

test('of tier 3, the sentence comes before the passkey, and does not stand for it', async () => {
  const request = await pending({ tier: 3 });
  await refused(request, request.decide({ challenge: picking(await request.shown(), false) }), 'wrong_answer');
  clock.advance(60_000);
  await assert.rejects(request.decide({ challenge: picking(await request.shown(), true) }), { code: 'forbidden' });
  const last = (await eventsOf(store, request.sessionId)).at(-1);
  assert.equal(last?.payload.refused_because, 'no_passkey');
});

test('what stands beside it is of the same agent and capability, and no state', async () => {
  const of = (name: string): Plan => ({ ...plan, permission: { of: name } });
  for (const name of ['Anna', 'Ben', 'Cem']) await pending({ agent: 'clerk', plan: of(name) });
  await pending({ agent: 'clerk', capability: 'other', plan: of('a secret of another owner') });
  await pending({ agent: 'stranger', plan: of('a secret of another agent') });
  const state = { round: 0, seen: {} };
  const request = await pending({ agent: 'clerk', plan: { ...of('Dora'), state } });
  const { options } = await request.shown();
  assert.deepEqual(options.map(({ sentence }) => sentence).sort(), [
    'Read objects of Anna',
    'Read objects of Ben',
    'Read objects of Cem',
    'Read objects of Dora',
  ]);
  await request.decide({ challenge: picking(await request.shown(), true, 'Read objects of Dora') });
  assert.equal((await request.row()).status, 'approved');
});
