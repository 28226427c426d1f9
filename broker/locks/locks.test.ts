/** Locks through the public door, on brokers that really listen. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort } from '../../sandbox/free-port.ts';
import { call } from '../actions/asking.test-support.ts';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { type Identity, identityRecord } from '../people/identity.ts';
import { type Ground, prepareGround, source } from '../running.test-support.ts';
import type { Store } from '../store/open.ts';
import { createTestDatabase, migratedImage, testBackends } from '../store/store.test-support.ts';
import { until } from '../until.test-support.ts';

const capabilities = `
  ask-plain: { description: Ask for it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m }
  more-plain: { description: Use more., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
tools:
  look: { args: { n: { min: 0 } } }
`;
const agentSource = source + capabilities.slice(1);
const otherSource = agentSource
  .replace('agent: scripted-agent', 'agent: other-agent')
  .replace('owner: team:billing', 'owner: team:other');

const person = (subject: string, groups: string[]): Identity => ({
  issuer: 'https://id.example',
  subject,
  groups,
  aliases: [],
});
/** Signs somebody in, without the identity provider. @returns their cookie */
async function signedIn(store: Store, identity: Identity): Promise<string> {
  const token = randomBytes(32).toString('base64url');
  const now = new Date();
  const row = {
    token_hash: createHash('sha256').update(token).digest('hex'),
    identity: identityRecord(identity),
    csrf: 'csrf',
    created_at: now,
    checked_at: now,
    sealed: null,
    expires_at: new Date(now.getTime() + 3600_000),
  };
  await store.prisma.login.create({
    data: {
      tokenHash: row.token_hash,
      identity: row.identity,
      csrf: row.csrf,
      createdAt: now,
      checkedAt: now,
      expiresAt: row.expires_at,
      proof: store.proofs.make('login', row),
    },
  });
  return `writ_login=${token}`;
}

interface Lock {
  id: string;
  stands: boolean;
  proven: boolean;
  set_by: string;
  lifted_by: string | null;
  sessions: { ended: number; ending: number };
  leases: { [state: string]: number };
  done: boolean;
}

for (const backend of await testBackends()) {
  describe(`locks on ${backend}`, () => {
    let ground: Ground;
    let database: Awaited<ReturnType<typeof createTestDatabase>> | null = null;
    const brokers: Broker[] = [];
    /** Of every broker: two where there is a server to share. */
    const urls: string[] = [];
    const cookies: { [name: string]: string } = {};
    before(async () => {
      ground = await prepareGround(['other-agent']);
      await writeFile(join(ground.manifests, 'agent.yaml'), agentSource);
      await writeFile(join(ground.manifests, 'other.yaml'), otherSource);
      database = backend === 'postgres' ? await createTestDatabase() : null;
      const env = { WRIT_ADMIN_GROUP: 'admins', WRIT_REQUESTS_PER_MINUTE: '0', WRIT_GRANTS_PER_MINUTE: '0' };
      if (database === null) {
        brokers.push(await ground.start(env, { inMemory: await migratedImage() }));
        urls.push(ground.url);
      } else {
        brokers.push(await ground.start({ ...env, DATABASE_URL: database.url }));
        const port = await freePort();
        brokers.push(await ground.start({ ...env, DATABASE_URL: database.url, PORT: String(port) }));
        urls.push(ground.url, `http://127.0.0.1:${port}`);
      }
      const { store } = brokers[0]!;
      cookies.first = await signedIn(store, person('first', ['admins']));
      cookies.second = await signedIn(store, person('second', ['admins']));
      cookies.outsider = await signedIn(store, person('outsider', ['billing']));
    });
    after(async () => {
      await assertEventsFit(brokers[0]!.store);
      for (const broker of brokers) await broker.stop();
      await database?.drop();
      await ground.close();
    });

    const as = async (who: string, method: string, path: string, body?: object) => {
      const response = await fetch(urls[0] + path, {
        method,
        headers: {
          'content-type': 'application/json',
          ...(who.startsWith('writ_') ? { authorization: `Bearer ${who}` } : { cookie: cookies[who]! }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: (await response.json()) as Lock & { [member: string]: unknown } };
    };
    const set = async (level: string, subject?: string, who = 'first'): Promise<Lock> => {
      const { status, body } = await as(who, 'POST', '/v1/locks', {
        level,
        ...(subject === undefined ? {} : { subject }),
        reason: 'it misbehaves',
      });
      assert.equal(status, 200, JSON.stringify(body));
      return body;
    };
    const lift = (id: string, who = 'second') => as(who, 'POST', `/v1/locks/${id}/lift`, { reason: 'well again' });
    const lifted = async (id: string) => assert.equal((await lift(id)).status, 200);
    const open = async (agent = 'scripted') => ground.session(undefined, agent);
    type Holder = Awaited<ReturnType<typeof open>>;
    const grant = async (holder: Holder, capability: string, at = 0) => {
      const response = await holder(`${urls[at % urls.length]}/v1/grants`, { capability });
      return { status: response.status, body: (await response.json()) as { [member: string]: unknown } };
    };
    const idOf = async (holder: Holder) =>
      ((await (await holder.get('/v1/session')).json()) as { session: { id: string } }).session.id;
    const aliveOf = async (...holders: string[]) => {
      const leases = await brokers[0]!.store.prisma.lease.findMany({ where: { sessionId: { in: holders } } });
      return leases.filter(({ id }) => ground.provider.alive().includes(id)).length;
    };
    const done = async (id: string) => {
      await until('all under the lock has ended', async () => (await as('first', 'GET', `/v1/locks/${id}`)).body.done);
      return (await as('first', 'GET', `/v1/locks/${id}`)).body;
    };
    const refusedToOpen = async (agent?: string) => assert.rejects(open(agent), /"error":"locked"/);

    test('an agent: its sessions and their children end, their credentials die at the target, and no other’s', async () => {
      const [holder, other] = [await open(), await open('other-agent')];
      const child = await holder.child(['use-plain']);
      const ids = [await idOf(holder), await idOf(child)];
      const othersId = await idOf(other);
      for (const one of [holder, child, other]) assert.equal((await grant(one, 'use-plain')).status, 201);
      const { status: waiting, body: asked } = await grant(holder, 'ask-plain');
      assert.equal(waiting, 202, JSON.stringify(asked));
      const lock = await set('agent', 'scripted-agent');
      assert.deepEqual(
        [lock.stands, lock.proven, lock.set_by, lock.sessions],
        [true, true, 'user:first', { ended: 2, ending: 0 }],
      );
      for (const at of [0, 1])
        for (const one of [holder, child]) assert.equal((await grant(one, 'use-plain', at)).status, 401);
      const { session } = (await (await holder.get('/v1/session')).json()) as { session: { end_reason: string } };
      assert.equal(session.end_reason, 'locked');
      const question = await brokers[0]!.store.prisma.grant.findFirstOrThrow({
        where: { sessionId: ids[0]!, capability: 'ask-plain' },
      });
      assert.equal(question.status, 'denied', 'what waited for a person has lapsed');
      await refusedToOpen();
      assert.equal((await grant(other, 'use-plain')).status, 201);
      const end = await done(lock.id);
      assert.deepEqual([end.leases.revoked, end.leases.revoking], [2, 0]);
      assert.deepEqual([await aliveOf(...ids), await aliveOf(othersId)], [0, 2]);

      // Neither whoever set it lifts it, nor the bootstrap token, nor who is no admin; another admin does.
      const bootstrap = brokers[0]!.bootstrapToken!;
      for (const [who, detail] of [
        ['first', /Another admin than the one who set it/],
        [bootstrap, /bootstrap token says nothing of who holds it/],
        ['outsider', /./],
      ] as const) {
        const { status, body } = await lift(lock.id, who);
        assert.equal(status, 403);
        assert.match(String(body.detail ?? body.title), detail);
      }
      assert.equal((await as('outsider', 'POST', '/v1/locks', { level: 'everything', reason: 'x' })).status, 403);
      await refusedToOpen();
      const { body } = await lift(lock.id);
      assert.deepEqual([body.stands, body.lifted_by], [false, 'user:second']);
      assert.equal((await lift(lock.id)).status, 409);
      assert.equal((await grant(holder, 'use-plain')).status, 401, 'what it ended stays ended');
      assert.equal((await grant(await open(), 'use-plain')).status, 201);
    });

    test('an owner, and everything: also when the bootstrap token sets it', async () => {
      for (const [level, subject] of [['owner', 'team:billing'], ['everything']] as const) {
        const [holder, other] = [await open(), await open('other-agent')];
        for (const one of [holder, other]) assert.equal((await grant(one, 'use-plain')).status, 201);
        const ids = [await idOf(holder), await idOf(other)] as const;
        const lock = await set(level, subject, brokers[0]!.bootstrapToken!);
        assert.equal(lock.set_by, 'bootstrap token');
        const all = level === 'everything';
        assert.equal((await grant(holder, 'use-plain')).status, 401);
        assert.equal((await grant(other, 'use-plain')).status, all ? 401 : 201);
        await refusedToOpen();
        if (all) await refusedToOpen('other-agent');
        await done(lock.id);
        assert.equal(await aliveOf(ids[0]), 0);
        assert.equal(await aliveOf(ids[1]), all ? 0 : 2);
        await lifted(lock.id);
      }
    });

    test('a capability, or a provider: sessions go on, what they hold of it dies, and no person’s yes gets it back', async () => {
      for (const [level, subject] of [
        ['capability', 'use-plain'],
        ['capability', 'scripted-agent/use-plain'],
        ['provider', 'plain'],
      ] as const) {
        const holder = await open();
        const child = await holder.child(['use-plain', 'more-plain']);
        for (const one of [holder, child]) assert.equal((await grant(one, 'use-plain')).status, 201);
        assert.equal((await grant(holder, 'more-plain')).status, 201);
        const ids = [await idOf(holder), await idOf(child)];
        const lock = await set(level, subject);
        assert.deepEqual(lock.sessions, { ended: 0, ending: 0 });
        for (const at of [0, 1]) {
          const { status, body } = await grant(child, 'use-plain', at);
          assert.equal(status, 403);
          assert.deepEqual(body.reasons, [{ code: 'locked', policy_id: `lock.${level}`, path: 'capability' }]);
          assert.doesNotMatch(JSON.stringify(body), /misbehaves/);
        }
        assert.equal((await grant(holder, 'more-plain')).status, level === 'provider' ? 403 : 201);
        assert.equal((await call(holder, 'look', { n: 1 })).decision, true, 'the session goes on');
        await done(lock.id);
        assert.equal(await aliveOf(...ids), level === 'provider' ? 0 : 2);
        await lifted(lock.id);
        assert.equal((await grant(child, 'use-plain')).status, 201);
      }
    });

    test('what there is nothing of is not locked, and a reason is needed', async () => {
      for (const body of [
        { level: 'agent', subject: 'scripted-agnet' },
        { level: 'owner', subject: 'team:bliling' },
        { level: 'capability', subject: 'other-agent/none' },
        { level: 'provider', subject: 'none' },
        { level: 'provider' },
        { level: 'everything', subject: 'plain' },
      ]) {
        const answer = await as('first', 'POST', '/v1/locks', { ...body, reason: 'x' });
        assert.equal(answer.status, 400, JSON.stringify(body));
        assert.equal((answer.body.errors as { path: string }[])[0]!.path, 'subject');
      }
      assert.equal((await as('first', 'POST', '/v1/locks', { level: 'everything' })).status, 400);
      assert.equal((await as('first', 'POST', '/v1/locks', { level: 'everything', reason: '' })).status, 400);
    });

    test('while 50 ask at once, at every broker: after the call has returned nobody is given anything, and nothing lives', async () => {
      for (const [level, subject] of [
        ['agent', 'scripted-agent'],
        ['capability', 'use-plain'],
        ['everything', undefined],
      ] as const) {
        const holders = await Promise.all(Array.from({ length: 5 }, () => open()));
        const ids = await Promise.all(holders.map(idOf));
        let over = false;
        let begun = 0;
        const late: number[] = [];
        const asking = Array.from({ length: 50 }, async (_, n) => {
          for (;;) {
            const after = over;
            begun += 1;
            const { status } = await grant(holders[n % holders.length]!, 'use-plain', n);
            if (after) {
              late.push(status);
              return;
            }
          }
        });
        await until('they ask', async () => begun > 100);
        const lock = await set(level, subject);
        over = true;
        await Promise.all(asking);
        assert.deepEqual([...new Set(late)], [level === 'capability' ? 403 : 401]);
        const end = await done(lock.id);
        assert.equal(await aliveOf(...ids), 0);
        assert.equal(end.leases.waiting, 0);
        assert.ok((end.leases.revoked ?? 0) > 0);
        await lifted(lock.id);
      }
    });

    test('the list says what stands and what was lifted, and the record says who did what', async () => {
      const lock = await set('provider', 'plain');
      const { body } = await as('second', 'GET', '/v1/locks?limit=3');
      const { locks } = body as unknown as { locks: Lock[] };
      assert.deepEqual(
        locks.map(({ stands }) => stands),
        [true, false, false],
      );
      assert.equal((await as('outsider', 'GET', '/v1/locks')).status, 403);
      assert.equal((await as('first', 'GET', '/v1/locks/lck_00000000000000000000')).status, 404);
      await lifted(lock.id);
      const events = await brokers[0]!.store.prisma.auditEvent.findMany({
        where: { chain: 'locks' },
        orderBy: { seq: 'desc' },
        take: 2,
      });
      assert.deepEqual(
        events.map(({ type, actor }) => `${type} by ${actor}`),
        ['lock.lifted by user:second', 'lock.set by user:first'],
      );
    });
  });
}
