/** An owner whom the identity provider disables: told once, a grace, taken over or ended. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ProvenRows } from '../core/proven-rows.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { publishManifest } from '../manifests/publish.ts';
import type { Store } from '../store/open.ts';
import { testBackends } from '../store/store.test-support.ts';
import { effectOf } from './effects.ts';
import { goneOwners } from './owner-presence.ts';
import { type OwnerWatch, watchOwners } from './watch-owners.ts';

const risc = 'https://schemas.openid.net/secevent/risc/event-type/';
const hour = 3_600_000;

/** An agent of its own for each story, on one database. */
for (const backend of await testBackends())
  describe(`an owner who is gone (${backend})`, () => {
    test('the stories', async (t) => {
      const harness = await openHarness(backend, { providers: [{ name: 'vault' }] });
      try {
        const { store, clock } = harness;
        const gauge = {
          value: -1,
          set: (count: number) => {
            gauge.value = count;
          },
        };
        const watch: OwnerWatch = { graceSeconds: 7200, noticeChannels: ['mail'], alerts: ['team:sre'], gauge };
        const look = (more: Partial<OwnerWatch & { store: Store }> = {}) =>
          watchOwners({ ...harness.ending, ...watch, ...more }, clock.now());
        const signal = async (event: string, email: string) => {
          await receiveRows(harness, `${risc}${event}`, [{ kind: 'email', value: email }]);
          await harness.tick();
        };
        const events = async (agent: string) =>
          (await store.prisma.auditEvent.findMany({ where: { chain: `agent:${agent}` }, orderBy: { seq: 'asc' } }))
            .map(({ type }) => type)
            .filter((type) => type.startsWith('agent.'));
        const told = async (agent: string) =>
          (await store.prisma.approvalNotice.findMany({ where: { kind: 'incident' } })).filter(
            ({ incident }) => (incident as { agent: string }).agent === agent,
          );
        const opens = (agent: string) => harness.open({ agent, wallTimeSeconds: 86_400 });
        const ended = async ({ sessionId }: { sessionId: string }) => (await harness.session(sessionId)).endReason;

        await t.test('told once, and after the grace its sessions end and none is opened', async () => {
          await own(harness, 'late', 'user:a@example.com');
          const session = await opens('late');
          await signal('account-disabled', 'a@example.com');
          await Promise.all([look(), look()]);
          await look();
          assert.deepEqual(await events('late'), ['agent.owner_gone']);
          const [notice, ...more] = await told('late');
          assert.equal(more.length, 0);
          assert.deepEqual((notice!.incident as { happening: unknown }).happening, {
            what: 'owner_gone',
            event: `${risc}account-disabled`,
            ends_at: new Date(clock.now().getTime() + 2 * hour).toISOString(),
          });
          assert.equal(gauge.value, 1);
          // Within the grace all goes on.
          const second = await opens('late');
          assert.deepEqual([await ended(session), await ended(second)], [null, null]);

          clock.advance(2 * hour);
          for (const one of [session, second]) await beat(harness, one.sessionId);
          const lease = await harness.lease(session, 'vault');
          await Promise.all([look(), look()]);
          assert.deepEqual([await ended(session), await ended(second)], ['owner_gone', 'owner_gone']);
          await harness.tick();
          assert.equal((await harness.row(lease)).status, 'revoked');
          await assert.rejects(opens('late'), { code: 'owner_gone' });

          // Taken over late: nothing comes back, and from the publication on sessions are opened.
          await own(harness, 'late', 'team:sre');
          const third = await opens('late');
          await look();
          await look();
          assert.equal(await ended(third), null);
          assert.deepEqual(await events('late'), ['agent.owner_gone', 'agent.owner_taken_over']);
          assert.equal(gauge.value, 0);
          assert.equal((await told('late')).length, 1);
          // Who names the one who is gone again is where it was.
          await own(harness, 'late', 'user:a@example.com');
          await look();
          assert.equal(await ended(third), 'owner_gone');
        });

        await t.test('taken over in time: nothing ends', async () => {
          await own(harness, 'timely', 'user:b@example.com');
          await signal('account-purged', 'b@example.com');
          const session = await opens('timely');
          await look();
          await own(harness, 'timely', 'user:c@example.com');
          clock.advance(3 * hour);
          await beat(harness, session.sessionId);
          await look();
          assert.equal(await ended(session), null);
          await opens('timely');
          assert.deepEqual(await events('timely'), ['agent.owner_gone', 'agent.owner_taken_over']);
        });

        await t.test('enabled again: it opens sessions, and what came before that is not brought back', async () => {
          await own(harness, 'back', 'user:d@example.com');
          await signal('account-disabled', 'd@example.com');
          await look({ graceSeconds: 0 });
          await assert.rejects(opens('back'), { code: 'owner_gone' });
          clock.advance(1000);
          await signal('account-enabled', 'd@example.com');
          await look();
          await opens('back');
          assert.deepEqual(await events('back'), ['agent.owner_gone', 'agent.owner_back']);
          // And gone once more: told once more.
          clock.advance(1000);
          await signal('account-disabled', 'd@example.com');
          await look();
          assert.equal((await told('back')).length, 2);
        });

        await t.test('what begins once the owner is back lives on, however late a process ends the rest', async () => {
          await own(harness, 'again', 'user:i@example.com');
          await signal('account-disabled', 'i@example.com');
          const before = await opens('again');
          clock.advance(1000);
          let after: { sessionId: string } | undefined;
          const slow: Store = {
            ...store,
            run: (async (what, values) => {
              if (what.name === 'owner_gone_roots' && values[0] === 'again' && after === undefined) {
                await signal('account-enabled', 'i@example.com');
                await look();
                after = await opens('again');
              }
              return store.run(what, values);
            }) as Store['run'],
          };
          await look({ graceSeconds: 0, store: slow });
          assert.deepEqual([await ended(before), await ended(after!)], [null, null]);
        });

        await t.test('a team, somebody else, and a name that cannot be compared stay untouched', async () => {
          await own(harness, 'of-team', 'team:e@example.com');
          await own(harness, 'of-other', 'user:other@example.com');
          await own(harness, 'of-login', 'user:login:e@example.com');
          const before = await goneOwners(store);
          await signal('account-disabled', 'e@example.com');
          await signal('account-enabled', 'other@example.com');
          await receiveRows(harness, `${risc}account-disabled`, [{ kind: 'phone', value: '1' }]);
          await harness.tick();
          await look({ graceSeconds: 0 });
          assert.deepEqual(await goneOwners(store), before);
          for (const agent of ['of-team', 'of-other', 'of-login']) {
            await opens(agent);
            assert.deepEqual(await events(agent), []);
          }
        });

        await t.test('an account is compared by the names it proved', async () => {
          await own(harness, 'proven', 'user:f@example.com');
          await own(harness, 'unproven', 'user:g@example.com');
          const account = { issuer: 'https://idp.example', subject: 'f' };
          const name = { ...account, kind: 'email', firstSeen: clock.now() };
          await store.prisma.accountName.createMany({
            data: [
              { ...name, value: 'f@example.com', provenAt: clock.now() },
              { ...name, value: 'g@example.com', provenAt: null },
            ],
          });
          await receiveRows(harness, `${risc}account-disabled`, [
            { kind: 'subject', value: 'f', issuer: account.issuer },
          ]);
          await harness.tick();
          const gone = await goneOwners(store);
          assert.deepEqual([gone.has('user:f@example.com'), gone.has('user:g@example.com')], [true, false]);
        });

        await t.test('whoever writes the database hides nobody and wins no time', async () => {
          await own(harness, 'forged', 'user:h@example.com');
          const row = { owner: 'user:h@example.com', signal: 's', event: 'e', proof: 'x' };
          const ages = new Date('2999-01-01T00:00:00Z');
          // Before the signal: a number that leaves none above it.
          await store.prisma.ownerPresence.create({ data: { ...row, number: 2_147_483_647, gone: false, at: ages } });
          await signal('account-disabled', 'h@example.com');
          const session = await opens('forged');
          // After it: back, gone later, marks that say all was said and done, or nothing.
          await store.prisma.ownerPresence.create({ data: { ...row, number: 2, gone: false, at: ages } });
          await store.prisma.ownerPresence.create({ data: { ...row, number: 3, gone: true, at: ages } });
          const since = (await goneOwners(store)).get(row.owner)!.since;
          assert.deepEqual(since, clock.now());
          await look({ graceSeconds: 0 });
          assert.equal(await ended(session), 'owner_gone');
          await store.prisma.agent.update({ where: { name: 'forged' }, data: { ownerGone: null, stoppedOwner: null } });
          const slipped = await opens('forged');
          await look({ graceSeconds: 0 });
          assert.equal(await ended(slipped), 'owner_gone');
          await assert.rejects(opens('forged'), { code: 'owner_gone' });
          await assert.rejects(store.prisma.ownerPresence.deleteMany({}));
          // A signal that nobody received, and the proof of another one.
          clock.advance(1000);
          const says = { event_type: `${risc}account-enabled`, effect: 'owner_back' };
          const names = [{ kind: 'email', value: 'h@example.com' }];
          const other = await receiveRow(store, clock.now(), {
            ...says,
            names: [{ kind: 'email', value: 'x@example.com' }],
          });
          for (const proof of ['', 'x', other.proof]) await receiveRow(store, clock.now(), { ...says, names }, proof);
          await harness.tick();
          assert.equal(await store.prisma.signal.count({ where: { NOT: { dueAt: null } } }), 0);
          assert.deepEqual((await goneOwners(store)).get(row.owner)?.since, since);
          await look({ graceSeconds: 0 });
          await assert.rejects(opens('forged'), { code: 'owner_gone' });
          // A true one about somebody else, whose account is given the owner's name.
          const account = {
            issuer: 'https://idp.example',
            subject: 'theirs',
            firstSeen: clock.now(),
            provenAt: clock.now(),
          };
          await store.prisma.accountName.create({ data: { ...account, kind: 'email', value: 'h@example.com' } });
          const theirs = [{ kind: 'subject', value: 'theirs', issuer: account.issuer }];
          await receiveRow(store, clock.now(), { ...says, names: theirs });
          await harness.tick();
          assert.ok((await goneOwners(store)).has(row.owner));
          // A true one brings them back.
          await receiveRow(store, clock.now(), { ...says, names });
          await harness.tick();
          assert.equal((await goneOwners(store)).has(row.owner), false);
        });

        await t.test('killed before any statement, the next pass goes on; nothing is told twice', async () => {
          let steps = 0;
          for (let dieAt = 1; steps >= dieAt - 1 && dieAt < 60; dieAt += 1) {
            const agent = `killed-${dieAt}`;
            await own(harness, agent, `user:killed-${dieAt}@example.com`);
            await signal('account-disabled', `killed-${dieAt}@example.com`);
            const session = await opens(agent);
            steps = 0;
            const dying: Store = {
              ...store,
              run: (...statement) => {
                steps += 1;
                return steps >= dieAt ? Promise.reject(new Error('killed')) : store.run(...statement);
              },
            };
            await look({ store: dying, graceSeconds: 0 }).catch(() => {});
            await look({ graceSeconds: 0 });
            assert.equal(await ended(session), 'owner_gone', `killed at ${dieAt}`);
            assert.deepEqual([(await events(agent)).length, (await told(agent)).length], [1, 1], `killed at ${dieAt}`);
            // So that the passes of the next rounds have only theirs to do.
            await own(harness, agent, 'team:sre');
            await look({ graceSeconds: 0 });
          }
          assert.ok(steps > 6 && steps < 58, `${steps} steps`);
        });
      } finally {
        await harness.close();
      }
    });
  });

/** Publishes the agent's next version, with this owner. */
const own = ({ store, clock, shapes }: Harness, agent: string, owner: string) =>
  publishManifest(store, clock, shapes, {
    author: 'tester',
    reason: 'test',
    agent,
    expectedVersion: null,
    requestId: null,
    source: `apiVersion: writ/v1
agent: ${agent}
owner: ${owner}
description: Tries things.
envelope: { wall_time: 24h, max_grants: 50 }
task_types:
  work: { description: Work., inputs: {} }
capabilities:
  use-vault: { description: Use it., provider: vault, tasks: [work], tier: 1, max_ttl: 3h, choose: { scope: { type: string, enum: [all], default: all } } }
`,
  });

/** Its heartbeat came. */
const beat = ({ store, clock }: Harness, id: string) =>
  store.prisma.session.update({ where: { id }, data: { heartbeatDeadline: new Date(clock.now().getTime() + hour) } });

let signals = 0;
/** What `receive.ts` writes of a token that was verified. */
const receiveRows = (
  { store, clock }: Harness,
  eventType: string,
  names: { kind: string; value: string; issuer?: string }[],
) => receiveRow(store, clock.now(), { event_type: eventType, names, effect: effectOf(eventType, {}) });

/** @param proof absent: the one that a broker makes */
const receiveRow = (
  store: Store,
  at: Date,
  says: Pick<ProvenRows['signal'], 'event_type' | 'names' | 'effect'>,
  proof?: string,
) => {
  signals += 1;
  const row = { set_key: `set-${signals}`, jti: `signal-${signals}`, ...says, received_at: at };
  return store.prisma.signal.create({
    data: {
      setKey: row.set_key,
      eventType: row.event_type,
      jti: row.jti,
      names: row.names as object[],
      effect: row.effect,
      receivedAt: at,
      dueAt: at,
      proof: proof ?? store.proofs.make('signal', row),
    },
  });
};
