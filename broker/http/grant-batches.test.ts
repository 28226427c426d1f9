/**
 * `POST /v1/grants/batch` and the page on which people decide, through the public doors of a running broker.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { manualClock, systemClock } from '../core/clock.ts';
import type { Identity } from '../people/identity.ts';
import { signedIn } from '../people/signed-in.test-support.ts';
import { type Ground, prepareGround, source } from '../running.test-support.ts';
import { until } from '../until.test-support.ts';

const scope = 'choose: { scope: { type: string, enum: [one, two, three, four], default: one } }';
const capabilities = `  ask-plain: { description: Ask for it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m, ${scope} }
  ask-other: { description: Ask for it too., provider: plain, tasks: [work], tier: 2, max_ttl: 5m, ${scope} }
  ask-two: { description: Ask two., provider: plain, tasks: [work], tier: 2, max_ttl: 15m, approval: { quorum: 2, from: [team:billing] }, ${scope} }
  ask-none: { description: Of another task., provider: plain, tasks: [rest], tier: 2, max_ttl: 15m }
`;
const hand = manualClock(new Date('2026-03-04T12:00:00.000Z'));
const clock = { now: hand.now, sleep: systemClock.sleep };
const person = (subject: string, groups: string[]): Identity => ({
  issuer: 'https://id.example',
  subject,
  groups,
  aliases: [],
});
const people = {
  first: person('first', ['billing']),
  second: person('second', ['billing']),
  stranger: person('x', []),
};

let ground: Ground;
let broker: Broker;

before(async () => {
  ground = await prepareGround([], '127.0.0.1', clock);
  const manifest = source.replace(
    'Work., inputs: {} }',
    'Work., inputs: {} }, rest: { description: Rest., inputs: {} }',
  );
  await writeFile(join(ground.manifests, 'agent.yaml'), manifest + capabilities);
  broker = await ground.start({}, { clock });
  // Nobody approves what they edited within a day.
  hand.advance(2 * 86_400_000);
});
after(async () => {
  await assertEventsFit(broker.store);
  await broker.stop();
  await ground.close();
});

interface Body {
  [member: string]: never;
}
type Each = { status: number; body: { [member: string]: string } };
type Session = Awaited<ReturnType<Ground['session']>>;

async function ask(session: Session, requests: object[], headers: Record<string, string> = {}): Promise<Each[]> {
  const answer = await session.withHeaders('/v1/grants/batch', { requests }, headers);
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  return JSON.parse(text).answers;
}
const wants = (capability: string, chosen?: string) => ({
  capability,
  ...(chosen === undefined ? {} : { params: { scope: chosen } }),
});
const statuses = (answers: Each[]) => answers.map(({ status }) => status);
const batchOf = (answers: Each[]): string => {
  const [batch, ...others] = [
    ...new Set(answers.flatMap(({ body }) => (body.batch === undefined ? [] : [body.batch]))),
  ];
  assert.ok(batch !== undefined && others.length === 0, 'one batch');
  return batch;
};
const read = async (session: Session, id: string): Promise<Body> =>
  (await session.get(`/v1/grants/${id}`)).json() as never;
const redeem = async (session: Session, id: string) => {
  const answer = await session(`/v1/grants/${id}/redeem`, {});
  return { status: answer.status, body: (await answer.json()) as Each['body'] };
};
const statusesOf = (ids: string[]) =>
  Promise.all(ids.map(async (id) => (await broker.store.prisma.grant.findUniqueOrThrow({ where: { id } })).status));

async function page(who: keyof typeof people, path: string) {
  const { cookie } = await signedIn(broker.store, people[who], clock.now());
  const answer = await fetch(`${ground.url}${path}`, { headers: { cookie }, redirect: 'manual' });
  return { status: answer.status, html: await answer.text(), to: answer.headers.get('location') };
}

/** Opens the page, and sends its form. */
async function decide(who: keyof typeof people, id: string, fields: Record<string, string>, taking: string[] = []) {
  const { cookie, csrf } = await signedIn(broker.store, people[who], clock.now());
  const shown = await (await fetch(`${ground.url}/approvals/${id}`, { headers: { cookie } })).text();
  const digest = /name="plan_digest" value="([^"]+)"/.exec(shown)?.[1] ?? '';
  const form = new URLSearchParams({ csrf, plan_digest: digest, ...fields });
  for (const one of taking) form.append('withhold', one);
  const headers = { cookie, origin: ground.url };
  const answer = await fetch(`${ground.url}/approvals/${id}`, {
    method: 'POST',
    headers,
    body: form,
    redirect: 'manual',
  });
  return { status: answer.status, html: await answer.text() };
}
const text = (html: string) => html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');

test('three are approved by one decision on a page that says all of each, and each is collected once', async () => {
  const session = await ground.session(clock.now());
  const answers = await ask(session, [
    { ...wants('ask-plain', 'one'), justification: 'To read.' },
    { ...wants('ask-other', 'two'), justification: 'To write.' },
    wants('ask-plain', 'three'),
  ]);
  assert.deepEqual(statuses(answers), [202, 202, 202]);
  const batch = batchOf(answers);
  const ids = answers.map(({ body }) => body.id as string);
  for (const { body } of answers) assert.equal(body.approval_url, `${ground.url}/approvals/${batch}`);
  assert.equal((await read(session, batch)).status, 'pending');

  const inbox = await page('first', '/approvals');
  assert.deepEqual(
    [...inbox.html.matchAll(/href="\/approvals\/(gnt_\w+)"/g)].map(([, id]) => id),
    [batch],
  );
  assert.match(text(inbox.html), /scripted-agent asks for 3 permissions at once/);
  const member = await page('first', `/approvals/${ids[1]}`);
  assert.deepEqual([member.status, member.to], [303, `/approvals/${batch}`]);
  const shown = text((await page('first', `/approvals/${batch}`)).html);
  for (const words of [
    '1. ask-plain , for 15 min',
    '2. ask-other , for 5 min',
    '3. ask-plain , for 15 min',
    '1. To read. 2. To write.',
  ])
    assert.ok(shown.includes(words), `${words}: ${shown}`);
  for (const one of ['one', 'two', 'three'])
    assert.ok(shown.includes(`&quot;scope&quot;: &quot;${one}&quot;`) || shown.includes(`"scope": "${one}"`), one);
  assert.equal((await page('stranger', `/approvals/${batch}`)).status, 403);

  assert.equal((await decide('first', batch, { verdict: 'approve' })).status, 303);
  for (const id of ids) {
    const given = await redeem(session, id);
    assert.equal(given.status, 201, JSON.stringify(given.body));
    assert.equal((await redeem(session, id)).body.code, 'already_redeemed');
  }
  assert.equal((await redeem(session, batch)).status, 404, 'nothing is minted from the list itself');
  const events = await broker.store.prisma.auditEvent.findMany({
    where: { type: 'grant.approved' },
    orderBy: { seq: 'asc' },
  });
  const about = events.filter(({ grantId }) => grantId === batch || ids.includes(grantId ?? ''));
  assert.equal(about.length, 4, 'the review, and each member');
  const reviewIds = new Set(about.map(({ payload }) => (payload as { review_id: string }).review_id));
  assert.equal(reviewIds.size, 1);
  await session('/v1/session/end', {});
  assert.equal((await broker.store.prisma.grant.findUniqueOrThrow({ where: { id: batch } })).status, 'ended');
});

test('what policy allows or denies is answered as ever; what people decide waits, by whom it needs', async () => {
  const session = await ground.session(clock.now());
  const answers = await ask(session, [
    wants('use-plain'),
    wants('ask-plain', 'one'),
    wants('ask-none'),
    wants('ask-two', 'one'),
    wants('no-such'),
    wants('ask-other', 'two'),
    wants('ask-two', 'two'),
    wants('ask-plain', 'one'),
  ]);
  assert.deepEqual(statuses(answers), [201, 202, 403, 202, 400, 202, 202, 202]);
  assert.ok(answers[0]?.body.credential);
  assert.equal(answers[2]?.body.code, 'denied');
  const batches = answers.map(({ body }) => body.batch);
  assert.deepEqual([batches[1], batches[3]], [batches[5], batches[6]]);
  assert.notEqual(batches[1], batches[3]);
  assert.equal(answers[7]?.body.id, answers[1]?.body.id, 'the same is asked for once');
  // One alone is no batch.
  const [alone] = await ask(await ground.session(clock.now()), [wants('ask-plain')]);
  assert.deepEqual(
    [alone?.body.batch, alone?.body.approval_url],
    [undefined, `${ground.url}/approvals/${alone?.body.id}`],
  );
});

test('the same key again is the same grants and the same batch', async () => {
  const session = await ground.session(clock.now());
  const requests = [wants('use-plain'), wants('ask-plain', 'one'), wants('ask-plain', 'two')];
  const once = await ask(session, requests, { 'idempotency-key': 'k' });
  const twice = await ask(session, requests, { 'idempotency-key': 'k' });
  assert.deepEqual(statuses(twice), [200, 202, 202]);
  assert.deepEqual(
    twice.map(({ body }) => body.id),
    once.map(({ body }) => body.id),
  );
  assert.equal(batchOf(twice), batchOf(once));
  assert.equal(twice[0]?.body.credential, undefined);
});

test('one denial ends all; a reason goes to each', async () => {
  const session = await ground.session(clock.now());
  const answers = await ask(session, [wants('ask-two', 'one'), wants('ask-two', 'two')]);
  const batch = batchOf(answers);
  const ids = answers.map(({ body }) => body.id as string);
  assert.equal((await decide('first', batch, { verdict: 'approve' })).status, 303);
  assert.deepEqual(await statusesOf([batch, ...ids]), ['pending', 'pending', 'pending'], 'two must approve');
  assert.equal((await redeem(session, ids[0]!)).body.code, 'not_approved');
  assert.equal((await decide('second', batch, { verdict: 'deny', reason: 'Not today.' })).status, 303);
  assert.deepEqual(await statusesOf([batch, ...ids]), ['denied', 'denied', 'denied']);
  for (const id of ids) {
    const refused = await redeem(session, id);
    assert.deepEqual((refused.body.reasons as never as object[])[0], {
      code: 'denied_by_approver',
      advice: 'Not today.',
    });
  }
});

test('of a quorum of two each sees what the other left; what was taken out is denied at once, and for good', async () => {
  const session = await ground.session(clock.now());
  const answers = await ask(session, [wants('ask-two', 'one'), wants('ask-two', 'two'), wants('ask-two', 'three')]);
  const batch = batchOf(answers);
  const [one, two, three] = answers.map(({ body }) => body.id as string) as [string, string, string];
  // The first agrees to all, the second to less: that is another list, and the first is asked again.
  assert.equal((await decide('first', batch, { verdict: 'approve' })).status, 303);
  assert.equal((await decide('second', batch, { verdict: 'approve' }, [two])).status, 303);
  assert.deepEqual(await statusesOf([batch, one, two, three]), ['pending', 'pending', 'denied', 'pending']);
  const shown = text((await page('first', `/approvals/${batch}`)).html);
  assert.match(shown, /Was taken out by an approver, and is denied/);
  assert.match(shown, /Approve all 2/);
  assert.equal((await decide('first', batch, { verdict: 'approve' })).status, 303);
  assert.deepEqual(await statusesOf([batch, one, two, three]), ['approved', 'approved', 'denied', 'approved']);
  assert.deepEqual(
    (await Promise.all([one, two, three].map((id) => redeem(session, id)))).map(({ status }) => status),
    [201, 403, 201],
  );
  const everything = await ask(await ground.session(clock.now()), [
    wants('ask-plain', 'one'),
    wants('ask-plain', 'two'),
  ]);
  const all = everything.map(({ body }) => body.id as string);
  const refused = await decide('first', batchOf(everything), { verdict: 'approve' }, all);
  assert.deepEqual([refused.status, /Nothing would be left of it/.test(refused.html)], [400, true]);
  assert.equal(
    (await decide('first', batchOf(everything), { verdict: 'approve' }, [one])).status,
    400,
    'of another batch',
  );
});

test('an approval is taken back as far as it was not collected; undecided, all are denied', async () => {
  const session = await ground.session(clock.now());
  const answers = await ask(session, [wants('ask-plain', 'one'), wants('ask-plain', 'two')]);
  const batch = batchOf(answers);
  const [one, two] = answers.map(({ body }) => body.id as string) as [string, string];
  await decide('first', batch, { verdict: 'approve' });
  assert.equal((await redeem(session, one)).status, 201);
  assert.equal((await decide('second', batch, { verdict: 'withdraw' })).status, 403);
  assert.equal((await decide('first', batch, { verdict: 'withdraw' })).status, 303);
  assert.equal((await redeem(session, two)).status, 403);
  assert.equal((await read(session, one)).status, 'issued');
  assert.equal((await decide('first', batch, { verdict: 'withdraw' })).status, 409);

  const later = await ask(session, [wants('ask-plain', 'three'), wants('ask-plain', 'four')]);
  hand.advance(301_000);
  const undecided = [batchOf(later), ...later.map(({ body }) => body.id as string)];
  await until('the undecided are denied', async () =>
    (await statusesOf(undecided)).every((status) => status === 'denied'),
  );
  assert.doesNotMatch((await page('first', `/approvals/${undecided[0]}`)).html, /value="approve"/);
});

test('more than sixteen are not asked for at once, nor none', async () => {
  const session = await ground.session(clock.now());
  for (const requests of [[], Array.from({ length: 17 }, () => wants('ask-plain'))])
    assert.equal((await session('/v1/grants/batch', { requests })).status, 400);
});
