/** `/v1/logins` through the public door: a broker that listens, and signed-in people. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { manualClock, systemClock } from '../core/clock.ts';
import { type Identity, namesToRemember } from '../people/identity.ts';
import { signedIn } from '../people/signed-in.test-support.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';

const hand = manualClock(new Date('2026-03-04T12:00:00.000Z'));
const clock = { now: hand.now, sleep: systemClock.sleep };
const person = (subject: string, groups: string[]): Identity => ({
  issuer: 'https://id.example',
  subject,
  email: `${subject}@example.com`,
  emailVerified: true,
  groups,
  aliases: [],
});
const admin = person('admin', ['admins']);
const owner = person('owner', ['billing']);

let ground: Ground;
let broker: Broker;

before(async () => {
  ground = await prepareGround([], '127.0.0.1', clock);
  broker = await ground.start({ WRIT_ADMIN_GROUP: 'admins' }, { clock });
});
after(async () => {
  await assertEventsFit(broker.store);
  await broker.stop();
  await ground.close();
});

async function browser(who: Identity): Promise<{ cookie: string }> {
  const { cookie } = await signedIn(broker.store, who, clock.now());
  await broker.store.prisma.accountName.createMany({
    data: namesToRemember(who).map(({ kind, value }) => ({
      issuer: who.issuer,
      subject: who.subject,
      kind,
      value,
      firstSeen: clock.now(),
      provenAt: clock.now(),
    })),
    skipDuplicates: true,
  });
  return { cookie };
}

type Login = { id: string; person: string; method: string; stands: boolean };
type Answer = { status: number; body: { logins: Login[]; ended: number; code: string; errors: { path: string }[] } };
async function call(by: Record<string, string>, method: string, path: string, body?: object): Promise<Answer> {
  const answer = await fetch(ground.url + path, {
    method,
    headers: { ...by, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Answer['body'] };
}

test('an admin sees who is signed in, and ends one login or all of a person; nobody else does', async () => {
  const bootstrap = { authorization: `Bearer ${broker.bootstrapToken}` };
  const [desk, phone] = [await browser(owner), await browser(owner)];
  const list = async (by: Record<string, string>, query = '') => call(by, 'GET', `/v1/logins${query}`);
  const end = async (by: Record<string, string>, body: object) => call(by, 'POST', '/v1/logins/end', body);

  assert.deepEqual([(await list({})).status, (await list(desk)).status], [401, 403]);
  assert.deepEqual([(await end({}, {})).status, (await end(desk, {})).status], [401, 403]);

  const { body } = await list(bootstrap);
  assert.deepEqual(
    body.logins.map(({ person: name, stands }) => [name, stands]),
    [
      ['user:owner@example.com', true],
      ['user:owner@example.com', true],
    ],
  );
  assert.equal((await list(bootstrap, '?limit=1')).body.logins.length, 1);
  for (const { id } of body.logins) assert.match(id, /^[0-9a-f]{64}$/);
  // What names a login opens nothing.
  assert.equal((await list({ cookie: desk.cookie.replace(/=.*/, `=${body.logins[0]!.id}`) })).status, 401);

  for (const [wrong, path] of [
    [{ reason: 'left' }, ''],
    [{ login: body.logins[0]!.id, person: 'owner@example.com', reason: 'left' }, ''],
    [{ login: 'x', reason: 'left' }, 'login'],
    [{ person: 'owner@example.com' }, 'reason'],
    [{ person: 'owner@example.com', reason: 'left', force: true }, 'force'],
  ] as const) {
    const answer = await end(bootstrap, wrong);
    assert.deepEqual([answer.status, answer.body.code, answer.body.errors[0]?.path], [400, 'bad_request', path]);
  }
  assert.deepEqual((await end(bootstrap, { login: 'f'.repeat(64), reason: 'left' })).body, { ended: 0 });
  assert.equal((await end(bootstrap, { person: 'nobody@example.com', reason: 'left' })).status, 404);
  assert.equal((await list(bootstrap, '?person=nobody@example.com')).status, 404);

  const console = await browser(admin);
  const one = body.logins[1]!.id;
  assert.deepEqual((await end(console, { login: one, reason: 'lost phone' })).body, { ended: 1 });
  assert.deepEqual((await end(console, { login: one, reason: 'lost phone' })).body, { ended: 0 });
  assert.equal((await list(bootstrap, '?person=owner@example.com')).body.logins.length, 1);
  assert.deepEqual((await end(console, { person: 'owner@example.com', reason: 'left' })).body, { ended: 1 });
  assert.deepEqual((await list(bootstrap, '?person=owner@example.com')).body.logins, []);
  for (const { cookie } of [desk, phone]) assert.equal((await list({ cookie })).status, 401);
  assert.deepEqual(
    (await list(console)).body.logins.map(({ person: name }) => name),
    ['user:admin@example.com'],
  );
});
