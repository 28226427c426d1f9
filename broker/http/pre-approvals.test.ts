/** `/v1/pre-approvals` through the public door: a broker that listens, an agent, and signed-in people. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { review } from '../../approvals/review.ts';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { manualClock, systemClock } from '../core/clock.ts';
import type { Identity } from '../people/identity.ts';
import { signedIn } from '../people/signed-in.test-support.ts';
import { type Ground, prepareGround, source } from '../running.test-support.ts';

const capabilities = `  ask-plain:
    description: Ask for it.
    provider: plain
    tasks: [work]
    tier: 2
    max_ttl: 15m
    choose: { scope: { type: string, enum: [one, two, three], default: one } }
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
  /** Admin, and one of those who approve. */
  giver: person('giver', ['admins', 'billing']),
  admin: person('admin', ['admins']),
  approver: person('approver', ['billing']),
};

let ground: Ground;
let broker: Broker;

before(async () => {
  ground = await prepareGround([], '127.0.0.1', clock);
  await writeFile(join(ground.manifests, 'agent.yaml'), source + capabilities);
  broker = await ground.start({ WRIT_ADMIN_GROUP: 'admins' }, { clock });
  // Nobody approves what they edited within a day.
  hand.advance(2 * 86_400_000);
});
after(async () => {
  await assertEventsFit(broker.store);
  await broker.stop();
  await ground.close();
});

type Answer = { status: number; body: { [member: string]: never } };
async function call(
  who: keyof typeof people | 'bootstrap' | 'nobody',
  method: string,
  path: string,
  body?: object,
): Promise<Answer> {
  const by: Record<string, string> =
    who === 'nobody'
      ? {}
      : who === 'bootstrap'
        ? { authorization: `Bearer ${broker.bootstrapToken}` }
        : { cookie: (await signedIn(broker.store, people[who], clock.now())).cookie };
  const answer = await fetch(ground.url + path, {
    method,
    headers: { ...by, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Answer['body'] };
}
const faultsOf = ({ body }: Answer) =>
  (body.errors as never as { path: string; message: string }[]).map(({ path }) => path);

type Post = Awaited<ReturnType<Ground['session']>>;
async function asked(agent: Post, scope: string) {
  const answer = await agent('/v1/grants', { capability: 'ask-plain', params: { scope } });
  const { id } = (await answer.json()) as { id: string };
  return { code: answer.status, grant_id: id };
}
/** A request that a person approved: what the next ones are like. */
async function example(): Promise<string> {
  const { grant_id: grantId } = await asked(await ground.session(clock.now()), 'one');
  const { planDigest } = await broker.store.prisma.grant.findUniqueOrThrow({ where: { id: grantId } });
  await review(
    { store: broker.store, clock, approversOf: async () => ['team:billing'] },
    { grantId, reviewer: people.approver, verdict: 'approve', planDigest, channel: 'web', requestId: 'req_1' },
  );
  return grantId;
}
const later = (seconds: number) => new Date(clock.now().getTime() + seconds * 1000).toISOString();
const given = (grant_id: string, more: object = {}) => ({
  grant_id,
  bounds: { scope: { one_of: ['one', 'two'] } },
  max_uses: 2,
  max_ttl_seconds: 300,
  until: later(3600),
  reason: 'The report of each night.',
  ...more,
});

test('one is given, used as often as it says, shown with its uses, and then it asks people again', async () => {
  const made = await call('giver', 'POST', '/v1/pre-approvals', given(await example()));
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const path = `/v1/pre-approvals/${made.body.id}`;
  assert.deepEqual([made.body.state, made.body.used, made.body.given_by], ['stands', 0, 'user:giver']);
  const agent = await ground.session(clock.now());
  // What it does not cover waits for a person.
  assert.deepEqual([(await asked(agent, 'three')).code, (await call('admin', 'GET', path)).body.used], [202, 0]);
  for (const [used, state] of [
    [1, 'stands'],
    [2, 'used_up'],
  ] as const) {
    const session = await ground.session(clock.now());
    const grant = await asked(session, used === 1 ? 'one' : 'two');
    const { status } = await broker.store.prisma.grant.findUniqueOrThrow({ where: { id: grant.grant_id } });
    assert.equal(status, 'approved');
    const shown = (await call('admin', 'GET', path)).body;
    assert.deepEqual([shown.used, shown.state], [used, state]);
    assert.deepEqual((shown.uses as never as { grant_id: string }[])[0]?.grant_id, grant.grant_id);
    const redeemed = await session(`/v1/grants/${grant.grant_id}/redeem`, {});
    assert.equal(redeemed.status, 201);
    const { credential } = (await redeemed.json()) as { credential: object };
    assert.ok(credential);
  }
  const third = await asked(await ground.session(clock.now()), 'one');
  const { status } = await broker.store.prisma.grant.findUniqueOrThrow({ where: { id: third.grant_id } });
  assert.equal(status, 'pending');
  const { pre_approvals } = (await call('admin', 'GET', '/v1/pre-approvals')).body as never as {
    pre_approvals: { id: string; state: string; used: number }[];
  };
  assert.deepEqual(
    pre_approvals.map(({ id, state, used }) => [id, state, used]),
    [[made.body.id, 'used_up', 2]],
  );
});

test('only a signed-in admin who could approve it gives one; any admin sees and withdraws', async () => {
  const body = given(await example());
  assert.equal((await call('nobody', 'POST', '/v1/pre-approvals', body)).status, 401);
  assert.equal((await call('bootstrap', 'POST', '/v1/pre-approvals', body)).status, 403);
  assert.equal((await call('approver', 'POST', '/v1/pre-approvals', body)).status, 403, 'no admin');
  assert.ok([403, 404].includes((await call('admin', 'POST', '/v1/pre-approvals', body)).status), 'no approver');
  const agent = await ground.session(clock.now());
  assert.equal((await agent('/v1/pre-approvals', body)).status, 401);
  const made = await call('giver', 'POST', '/v1/pre-approvals', body);
  assert.equal(made.status, 201);
  const path = `/v1/pre-approvals/${made.body.id}`;
  for (const [method, at] of [
    ['GET', path],
    ['GET', '/v1/pre-approvals'],
    ['POST', `${path}/withdraw`],
  ] as const) {
    assert.equal((await call('nobody', method, at)).status, 401);
    assert.equal((await call('approver', method, at)).status, 403);
  }
  for (const at of ['/v1/pre-approvals/pap_00000000000000000000', '/v1/pre-approvals/gnt_00000000000000000000']) {
    assert.ok([400, 404].includes((await call('admin', 'GET', at)).status));
    assert.ok([400, 404].includes((await call('admin', 'POST', `${at}/withdraw`)).status));
  }
  // What it approved and nobody has collected is denied with it.
  const { grant_id: id } = await asked(agent, 'two');
  const withdrawn = await call('admin', 'POST', `${path}/withdraw`);
  assert.deepEqual([withdrawn.status, withdrawn.body.state], [200, 'withdrawn']);
  assert.equal((await broker.store.prisma.grant.findUniqueOrThrow({ where: { id } })).status, 'denied');
  assert.equal((await call('admin', 'POST', `${path}/withdraw`)).status, 409);
  const next = await asked(await ground.session(clock.now()), 'one');
  const { status } = await broker.store.prisma.grant.findUniqueOrThrow({ where: { id: next.grant_id } });
  assert.equal(status, 'pending');
});

test('what is out of bounds is refused with the path of its field, and gives nothing', async () => {
  const grant = await example();
  const count = () => broker.store.prisma.preApproval.count();
  const before_ = await count();
  for (const [more, path] of [
    [{ max_uses: 0 }, 'max_uses'],
    [{ max_uses: 1_000_000 }, 'max_uses'],
    [{ max_ttl_seconds: 0 }, 'max_ttl_seconds'],
    [{ until: 'tomorrow' }, 'until'],
    [{ until: later(-1) }, 'until'],
    [{ until: later(400 * 86_400) }, 'until'],
    [{ bounds: { scope: { one_of: [] } } }, 'bounds.scope'],
    [{ bounds: { scope: { min: 2, max: 1 } } }, 'bounds.scope'],
    [{ bounds: { scope: { one_of: ['two'] } } }, 'bounds'],
    [{ bounds: {} }, 'bounds'],
    [{ bounds: { scope: { one_of: ['one'] }, other: { equals: 1 } } }, 'bounds'],
    [{ reason: '' }, 'reason'],
    [{ reason: 'two\nlines' }, 'reason'],
    [{ grant_id: 'gnt' }, 'grant_id'],
    [{ more: 1 }, ''],
  ] as const) {
    const answer = await call('giver', 'POST', '/v1/pre-approvals', given(grant, more));
    assert.equal(answer.status, 400, JSON.stringify([more, answer.body]));
    const [first] = faultsOf(answer);
    assert.ok(first?.startsWith(path), `${JSON.stringify(more)}: ${JSON.stringify(answer.body)}`);
  }
  assert.equal((await call('giver', 'POST', '/v1/pre-approvals', given('gnt_00000000000000000000'))).status, 404);
  assert.equal((await call('giver', 'GET', '/v1/pre-approvals?limit=0')).status, 400);
  assert.equal(await count(), before_);
});

test('after its time it approves nothing, and says so', async () => {
  const made = await call('giver', 'POST', '/v1/pre-approvals', given(await example(), { until: later(600) }));
  hand.advance(601_000);
  const { grant_id: id } = await asked(await ground.session(clock.now()), 'one');
  assert.equal((await broker.store.prisma.grant.findUniqueOrThrow({ where: { id } })).status, 'pending');
  const shown = (await call('admin', 'GET', `/v1/pre-approvals/${made.body.id}`)).body;
  assert.deepEqual([shown.state, shown.used], ['expired', 0]);
});
