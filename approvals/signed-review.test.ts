/** Tier 3: each approval is signed by the reviewer's passkey, over the very plan they consent to. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after as afterAll, test } from 'node:test';
import { assertEventsFit } from '../broker/audit/rows.test-support.ts';
import { manualClock } from '../broker/core/clock.ts';
import type { PasskeyEvidence } from '../broker/core/passkey-evidence.ts';
import type { ApprovalTerm } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { type ConsentedRow, consentedBy, type ReviewRow } from '../broker/grants/consent.ts';
import { evidenceProven } from '../broker/grants/proven-review.ts';
import type { Identity } from '../broker/people/identity.ts';
import { holderOf, type Lies } from '../broker/people/passkeys/authenticator.test-support.ts';
import { takeOnce } from '../broker/sessions/take-once.ts';
import { openTestStore } from '../broker/store/store.test-support.ts';
import { beginSigning, type ReviewRequest, review } from './review.ts';
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
  publicUrl: 'https://writ.example',
  passkeyKey: randomBytes(32),
  once: (key: string, until: Date) => takeOnce(store, key, until),
  approversOf: async () => ['team:billing'],
};
const digest = planDigest(plan);
const [owner, second] = ['owner', 'second'].map((name) => person(`${name}@example.com`, { groups: ['billing'] }));
assert.ok(owner && second);
const mine = await holderOf(deps, owner);
const theirs = await holderOf(deps, second);

let made = 0;
async function pending(more: { approval?: ApprovalTerm[]; tier?: number } = {}) {
  made += 1;
  const sessionId = await addSession(store, { id: `ses_${made}` });
  const grantId = await addGrant(store, { id: `gnt_${made}`, sessionId, tier: 3, ...more });
  const row = () => store.prisma.grant.findUniqueOrThrow({ where: { id: grantId }, include: { reviews: true } });
  const request = (more: Partial<ReviewRequest> = {}): ReviewRequest => ({
    grantId,
    reviewer: owner as Identity,
    verdict: 'approve',
    planDigest: digest,
    channel: 'web',
    requestId: 'req',
    ...more,
  });
  /** As the page would: begin for the form as it is, then the browser. */
  const signed = async (more: Partial<ReviewRequest> = {}, by = mine, lies: Lies = {}) => {
    const { options, token } = await beginSigning(deps, request(more), by.login.id);
    return { loginId: by.login.id, signed: { token, response: by.key.get(options, lies) } };
  };
  const decide = (more: Partial<ReviewRequest> = {}) => review(deps, request(more));
  return { sessionId, grantId, row, signed, decide };
}

type Pending = Awaited<ReturnType<typeof pending>>;

/** Refused, on the session's record, and nothing is approved. */
async function unsigned({ sessionId, row, decide }: Pending, more: Partial<ReviewRequest>) {
  await assert.rejects(decide(more), { code: 'forbidden' });
  const last = (await eventsOf(store, sessionId)).at(-1);
  assert.deepEqual([last?.type, last?.payload.refused_because], ['review.refused', 'no_passkey']);
  assert.deepEqual([(await row()).status, (await row()).reviews.length], ['pending', 0]);
}

/** The request and its one approval, as they are read when the credential is collected. */
async function stored(grantId: string) {
  const all = `SELECT *, decision -> 'approval' AS approval, decision -> 'asked_plan' AS asked_plan FROM grants WHERE id = $1`;
  const [grant] = await store.run<ConsentedRow>({ name: 'test_grant', text: all }, [grantId]);
  const given = await store.run<ReviewRow>({ name: 'test_review', text: 'SELECT * FROM review WHERE grant_id = $1' }, [
    grantId,
  ]);
  assert.ok(grant !== undefined && given[0] !== undefined && given.length === 1);
  return [grant, given[0]] as const;
}

test('a stolen cookie approves nothing of tier 3, whatever the channel; a denial needs no passkey', async () => {
  const asked = await pending();
  for (const channel of ['web', 'slack', 'api', 'pre_approval']) await unsigned(asked, { channel });
  const { passkeyKey: _, ...without } = deps;
  const request = { grantId: asked.grantId, reviewer: owner, verdict: 'approve', planDigest: digest } as const;
  await assert.rejects(
    review(without, { ...request, channel: 'web', requestId: 'req', passkey: await asked.signed() }),
    { code: 'forbidden' },
  );
  assert.equal((await asked.decide({ verdict: 'deny', reason: 'no' })).status, 'denied');
  const plainly = await pending({ tier: 2 });
  assert.equal((await plainly.decide()).status, 'approved');
});

test('what the passkey signed stands in the review and in the record, and makes the approval count when it is collected', async () => {
  const asked = await pending();
  await asked.decide({ passkey: await asked.signed() });
  const grant = await asked.row();
  const [given] = grant.reviews;
  assert.ok(given);
  const evidence = given.evidence as unknown as PasskeyEvidence;
  assert.deepEqual(
    [grant.status, evidence.passkey_id, evidence.challenge.about, evidence.challenge.digest],
    ['approved', mine.id, asked.grantId, digest],
  );
  const [event] = await eventsOf(store, asked.sessionId);
  assert.deepEqual(event?.payload.passkey, evidence);

  const [standing, row] = await stored(asked.grantId);
  const people = { startedBy: 'somebody', responsible: null };
  const collect = (review: ReviewRow) => consentedBy(store, standing, [review], people, start);
  assert.deepEqual(collect(row), ['user:owner@example.com']);
  // Without it, with another's, or made with a proof of ours for what is no signature for this.
  assert.throws(() => collect({ ...row, evidence: null }), { code: 'not_approved' });
  const proven = (more: Partial<ReviewRow>) => {
    const { id, grant_id, reviewer, verdict, plan_digest, consented_digest, reason, channel, at, redeem_by } = row;
    const plain = { id, grant_id, reviewer, verdict, plan_digest, consented_digest, reason, channel, at, redeem_by };
    const changed = { ...row, ...more };
    const proof = store.proofs.make('review', { ...plain, ...evidenceProven(changed.evidence) });
    return { ...changed, proof };
  };
  assert.throws(() => collect(proven({ evidence: null })), { code: 'not_approved' });
  const other = { ...evidence, challenge: { ...evidence.challenge, about: 'gnt_other' } };
  assert.throws(() => collect(proven({ evidence: other })), { code: 'not_approved' });
  assert.deepEqual(collect(proven({})), ['user:owner@example.com']);
});

test('an approval without a passkey does not count once its capability is of tier 3', async () => {
  const asked = await pending({ tier: 2 });
  await asked.decide();
  const [standing, given] = await stored(asked.grantId);
  const people = { startedBy: 'somebody', responsible: null };
  assert.equal(consentedBy(store, standing, [given], people, start, 2).length, 1);
  assert.throws(() => consentedBy(store, standing, [given], people, start, 3), { code: 'not_approved' });
});

test('an assertion is for one grant and one digest: not for another of the same plan, nor for the wider one', async () => {
  const [asked, twin] = [await pending(), await pending()];
  await unsigned(twin, { passkey: await asked.signed() });
  // Signed for less, and sent for more; signed for more, and sent for less.
  await unsigned(asked, { passkey: await asked.signed({ ttlSeconds: 60 }) });
  await unsigned(asked, { ttlSeconds: 60, passkey: await asked.signed() });
  const passkey = await asked.signed({ ttlSeconds: 60 });
  await asked.decide({ ttlSeconds: 60, passkey });
  const [given] = (await asked.row()).reviews;
  assert.ok(given);
  const { challenge } = given.evidence as unknown as PasskeyEvidence;
  assert.deepEqual([given.consentedDigest, challenge.digest === digest], [challenge.digest, false]);
  // And once.
  const again = await pending();
  await unsigned(again, { passkey });
});

test('another person’s passkey, another login, no user verification, a counter that went back: nothing is approved', async () => {
  const asked = await pending();
  const { options, token } = await beginSigning(
    deps,
    { grantId: asked.grantId, reviewer: owner, verdict: 'approve', planDigest: digest, channel: 'web', requestId: 'r' },
    mine.login.id,
  );
  await unsigned(asked, { passkey: { loginId: mine.login.id, signed: { token, response: theirs.key.get(options) } } });
  await unsigned(asked, { passkey: await asked.signed({ reviewer: second }, theirs) });
  await unsigned(asked, { passkey: { ...(await asked.signed()), loginId: 'another login of the same person' } });
  await unsigned(asked, { passkey: await asked.signed({}, mine, { unverified: true }) });
  await unsigned(asked, { passkey: await asked.signed({}, mine, { origin: 'https://evil.example' }) });
  const third = person('third@example.com', { groups: ['billing'] });
  const cloned = await holderOf(deps, third);
  await unsigned(asked, { reviewer: third, passkey: await asked.signed({ reviewer: third }, cloned, { count: 0 }) });
  await assert.rejects(asked.signed({ reviewer: third }, cloned), { code: 'conflict' });
  await assert.rejects(asked.signed({ reviewer: person('nobody@example.com') }), { code: 'forbidden' });
});

test('where two must approve, each signs; whoever narrows has the other sign anew', async () => {
  const asked = await pending({ approval: [{ quorum: 2, from: ['team:billing'] }] });
  assert.equal((await asked.decide({ passkey: await asked.signed() })).status, 'pending');
  await assert.rejects(asked.decide({ reviewer: second }), { code: 'forbidden' });
  const less = { reviewer: second, ttlSeconds: 60 } as const;
  const narrowed = await asked.decide({ ...less, passkey: await asked.signed(less, theirs) });
  assert.equal(narrowed.status, 'pending');
  const rest = { planDigest: narrowed.planDigest };
  assert.equal((await asked.decide({ ...rest, passkey: await asked.signed(rest) })).status, 'approved');
});
