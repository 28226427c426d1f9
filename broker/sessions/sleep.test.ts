/** Sessions that sleep while people decide, and who wakes them; on both databases. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { review } from '../../approvals/review.ts';
import { person, vouched } from '../../approvals/rows.test-support.ts';
import { WritError } from '../core/errors.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { claimRequestKey, forgetRequestKeys } from '../grants/access-request-keys.ts';
import { redeemGrant, redemptionReads } from '../grants/redeem-grant.ts';
import { grantReads, requestGrant } from '../grants/request-grant.ts';
import { agent, type Harness, openHarness, shownOnce, statement } from '../harness.test-support.ts';
import { liftLock } from '../locks/lift-lock.ts';
import { setLock } from '../locks/set-lock.ts';
import { publishManifest } from '../manifests/publish.ts';
import type { Admin } from '../people/identity.ts';
import type { Store } from '../store/open.ts';
import { testBackends } from '../store/store.test-support.ts';
import { type Caller, readSession } from './authenticate.ts';
import { endSession } from './end-session.ts';
import { heartbeat } from './heartbeat.ts';
import type { Principal } from './open-session.ts';
import { sleepSession } from './sleep.ts';
import { wakeSession } from './wake.ts';

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;
const owner = person('owner@example.com', { groups: ['billing'] });
const hour = 3_600_000;
const [jkt, other] = ['A'.repeat(43), 'B'.repeat(43)];
const workload: Principal = {
  agent,
  subject: { issuer: 'https://ci.example', subject: 'run' },
  startedBy: null,
  onBehalfOf: null,
  responsible: 'team:operators',
  shown: [],
};

for (const backend of await testBackends())
  describe(`sleeping sessions on ${backend}`, () => {
    let h: Harness;
    let shown = 0;
    before(async () => {
      h = await openHarness(backend, { providers: [{ name: 'plain' }], noticeChannels: ['bell'] });
    });
    after(() => h.close());

    const deps = (store: Store = h.store) => ({
      ...h.ending,
      store,
      clock: h.clock,
      catalog: h.grants.catalog,
      maxSleepSeconds: 604_800,
    });
    const open = () => h.open({ responsible: 'team:operators', jkt });
    const facts = (caller: Caller) => readSession(h.store, caller, h.clock.now(), { allowEnded: true });
    const sleep = async (caller: Caller, seconds: number | null = null, store?: Store) =>
      sleepSession(deps(store), await facts(caller), seconds, null);
    const wake = (handle: string, more: { principal?: Partial<Principal>; jkt?: string | null; key?: string } = {}) => {
      shown += 1;
      const once = [
        shownOnce({ key: more.key ?? `once-${shown}`, expiresAt: new Date(h.clock.now().getTime() + 60_000) }),
      ];
      const principal = { ...workload, ...more.principal };
      return wakeSession(
        { ...h.opening, redemptionSeconds: 300 },
        { principal, handle, jkt: more.jkt === undefined ? jkt : more.jkt, once, requestId: null },
      );
    };
    const ask = async (caller: Caller) => {
      const session = await readSession(h.store, caller, h.clock.now(), grantReads(h.grants, 'ask-plain', null));
      const request = {
        capability: 'ask-plain',
        params: undefined,
        ttlSeconds: undefined,
        justification: null,
        credentialJwk: null,
      };
      const answer = await requestGrant(h.grants, session, request, null, null);
      if (answer.outcome !== 'pending') return assert.fail(answer.outcome);
      return answer.grant;
    };
    const approve = (grant: { id: string; plan: { digest: string } }) =>
      review(
        { store: h.store, clock: h.clock, approversOf: async () => ['team:billing'] },
        {
          grantId: grant.id,
          reviewer: owner,
          verdict: 'approve',
          planDigest: grant.plan.digest,
          channel: 'web',
          requestId: 'r',
        },
      );
    const redeem = async (caller: Caller, id: string) => {
      const reads = await redemptionReads(h.grants, caller.sessionId, id);
      return redeemGrant(h.grants, await readSession(h.store, caller, h.clock.now(), reads), id, null, null, null);
    };
    const grantRow = (id: string) => h.store.prisma.grant.findUniqueOrThrow({ where: { id } });
    const dyingAt = (name: string): Store => ({
      ...h.store,
      run: ((what: { name: string }, values: never) => {
        if (what.name === name) throw new Error('killed');
        return h.store.run(what as never, values);
      }) as Store['run'],
    });

    test('what it holds ends with proof, what waits waits on, and after a day it is approved, woken and collected', async () => {
      const caller = await open();
      const lease = await h.lease(caller, 'plain');
      const grant = await ask(caller);
      h.clock.advance(10 * 60_000 - 1_000);
      await heartbeat({ ...h.opening, tokens: h.tokens }, await facts(caller)).catch(() => {});
      // A key that was used for a request stands for it as long as the session may ask.
      const claimed = await facts(await reopened(caller));
      await claimRequestKey(h.store, claimed, 'sha256:key', { one: 1 });
      const { until, resume } = await sleep(await reopened(caller), 48 * 3600);
      assert.equal((await grantRow(grant.id)).decideBy?.getTime(), until.getTime());
      await h.tick();
      assert.equal((await h.row(lease)).status, 'revoked');
      assert.equal((await h.row(lease)).revokeReason, 'session_asleep');
      assert.deepEqual(h.provider('plain').alive(), []);
      await assert.rejects(h.ask(caller, 'plain'), code('session_asleep'));
      await assert.rejects(
        facts(caller).then((session) => heartbeat({ ...h.opening, tokens: h.tokens }, session)),
        code('session_asleep'),
      );

      for (let hours = 0; hours < 24; hours += 6) {
        h.clock.advance(6 * hour);
        await h.tick();
      }
      assert.equal((await h.session(caller.sessionId)).status, 'asleep');
      assert.equal((await approve(grant)).status, 'approved');
      h.clock.advance(6 * hour);
      await h.tick();
      assert.equal((await grantRow(grant.id)).status, 'approved');
      await forgetRequestKeys(h.store, h.clock.now());
      const another = claimRequestKey(h.store, claimed, 'sha256:key', { one: 2 });
      await assert.rejects(another, code('idempotency_mismatch'));

      const woken = await wake(resume, { jkt: other });
      assert.equal(woken.id, caller.sessionId);
      // Its wall time stood still.
      assert.equal(woken.expiresAt.getTime() - h.clock.now().getTime(), 20 * 60_000 + 1_000);
      assert.equal((await h.session(caller.sessionId)).dpopJkt, other);
      assert.equal((await grantRow(grant.id)).decideBy?.getTime(), h.clock.now().getTime() + 300_000);
      assert.equal((await redeem({ ...caller, jkt: other }, grant.id)).outcome, 'issued');
      await h.lease({ ...caller, jkt: other }, 'plain');
      await endSession(h.ending, h.end(caller.sessionId));
      const types = (
        await h.store.prisma.auditEvent.findMany({ where: { chain: caller.sessionId }, orderBy: { seq: 'asc' } })
      ).map(({ type }) => type);
      assert.ok(types.includes('session.slept') && types.includes('session.woken'));
    });

    /** Its heartbeats came. */
    async function reopened(caller: Caller): Promise<Caller> {
      const deadline = new Date(h.clock.now().getTime() + 180_000);
      await h.store.run(statement('UPDATE session SET heartbeat_deadline = $2::timestamptz WHERE id = $1'), [
        caller.sessionId,
        deadline,
      ]);
      return caller;
    }

    test('nobody but the same workload, for the same people, wakes it, and a bound one only with a key', async () => {
      const caller = await open();
      const { resume } = await sleep(caller);
      const strangers: Partial<Principal>[] = [
        { agent: 'another' },
        { subject: { issuer: 'https://ci.example', subject: 'other-run' } },
        { subject: { issuer: 'https://evil.example', subject: 'run' } },
        { startedBy: vouched('somebody@example.com') },
        { onBehalfOf: vouched('somebody@example.com') },
        { responsible: null },
      ];
      for (const principal of strangers)
        await assert.rejects(wake(resume, { principal }), code('invalid_grant'), JSON.stringify(principal));
      await assert.rejects(wake(resume, { jkt: null }), code('invalid_dpop_proof'));
      const [id, secret] = resume.split('.') as [string, string];
      for (const handle of [
        `${id}.`,
        `${id}.${secret.slice(1)}A`,
        `.${secret}`,
        secret,
        `ses_00000000000000000000.${secret}`,
        '',
      ])
        await assert.rejects(wake(handle), code('invalid_grant'), handle);
      // A later handle is the only one.
      const later = await sleep(caller);
      await assert.rejects(wake(resume), code('invalid_grant'));
      await wake(later.resume, { key: 'shown' });
      // Its answer was lost: the same key is answered again, another is not, nor what was shown before.
      assert.equal((await wake(later.resume)).id, caller.sessionId);
      await assert.rejects(wake(later.resume, { key: 'shown' }), code('invalid_grant'));
      await assert.rejects(wake(later.resume, { jkt: other }), code('invalid_grant'));
    });

    test('of many who wake it at once one does, and what was shown is used up', async () => {
      const caller = await open();
      const { resume } = await sleep(caller);
      const keys = Array.from({ length: 6 }, (_, n) => String.fromCharCode(67 + n).repeat(43));
      const woken = await Promise.allSettled(keys.map((key) => wake(resume, { jkt: key })));
      assert.equal(woken.filter(({ status }) => status === 'fulfilled').length, 1);
      const again = await sleep({ ...caller, jkt: (await h.session(caller.sessionId)).dpopJkt });
      await h.store.prisma.replay.create({
        data: { key: 'used', expiresAt: new Date(h.clock.now().getTime() + hour) },
      });
      await assert.rejects(wake(again.resume, { key: 'used' }), code('invalid_grant'));
      await wake(again.resume, { key: 'unused' });
    });

    test('it sleeps where its manifest and this broker let it, alone, and no longer', async () => {
      const caller = await open();
      const session = await facts(caller);
      await assert.rejects(sleepSession({ ...deps(), maxSleepSeconds: 0 }, session, null, null), code('forbidden'));
      const child = await h.open({
        child: {
          parent: {
            id: caller.sessionId,
            rootId: caller.sessionId,
            expiresAt: session.expiresAt,
            act: null,
            capabilities: [],
            narrowed: false,
            grantsLeft: null,
          },
          capabilities: ['use-plain'],
        },
      });
      await assert.rejects(sleep(child), code('forbidden'));
      await assert.rejects(sleep(caller), code('conflict'));
      await endSession(h.ending, h.end(child.sessionId));
      const { until } = await sleep(caller);
      assert.equal(until.getTime(), session.openedAt.getTime() + 72 * hour);
      // Nobody wakes it: it ends, and what waits with it.
      h.clock.set(until);
      await h.tick();
      const ended = await h.session(caller.sessionId);
      assert.deepEqual([ended.status, ended.endReason], ['ended', 'slept_too_long']);
    });

    test('a lock, an end and a sleep that is over win, and a manifest that lost the task wakes nothing', async () => {
      const admin = (subject: string): Admin => ({
        name: `user:${subject}`,
        identity: { issuer: 'https://id.example', subject, groups: ['admins'], aliases: [] },
      });
      const locked = await open();
      const grant = await ask(locked);
      const { resume } = await sleep(locked);
      // As far as the lock's row, and no further.
      const set = setLock(
        { ...deps(dyingAt('lock_live_roots')), providers: h.providers },
        { level: 'agent', subject: agent },
        { reason: 'stop', admin: admin('one'), requestId: null },
      );
      await assert.rejects(set, /killed/);
      await assert.rejects(wake(resume), code('locked'));
      await h.tick();
      assert.equal((await h.session(locked.sessionId)).endReason, 'locked');
      assert.equal((await grantRow(grant.id)).status, 'denied');
      await assert.rejects(wake(resume), code('invalid_grant'));
      const [lock] = await h.store.prisma.accessLock.findMany({ orderBy: { setAt: 'desc' }, take: 1 });
      await liftLock(h, { id: lock!.id, reason: 'well', admin: admin('two'), requestId: null });

      const ending = await open();
      const asleep = await sleep(ending);
      await endSession(h.ending, h.end(ending.sessionId));
      await assert.rejects(wake(asleep.resume), code('invalid_grant'));

      const changed = await open();
      const kept = await sleep(changed);
      const source = (task: string) => `apiVersion: writ/v1
agent: ${agent}
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m, max_grants: 5000, sleep: 72h }
task_types:
  ${task}: { description: Work., inputs: {} }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [${task}], tier: 1, max_ttl: 15m }
`;
      const publication = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
      await publishManifest(h.store, h.clock, h.shapes, { ...publication, source: source('play') });
      await assert.rejects(wake(kept.resume), code('invalid_grant'));
      await h.register(agent);
      await wake(kept.resume);
    });

    test('a process that dies after the first statement leaves the rest to the worker', async () => {
      const caller = await open();
      const lease = await h.lease(caller, 'plain');
      await assert.rejects(sleep(caller, null, dyingAt('session_hold_back_leases')), /killed/);
      assert.equal((await h.session(caller.sessionId)).status, 'asleep');
      await h.tick();
      await h.tick();
      assert.deepEqual([(await h.row(lease)).status, (await h.row(lease)).revokeReason], ['revoked', 'session_asleep']);
      // The agent that never had the handle asks for another.
      await wake((await sleep(caller)).resume);
      await h.lease(caller, 'plain');
      await endSession(h.ending, h.end(caller.sessionId));
      await h.tick();
    });

    test('a mint that is under way when it falls asleep is not delivered', async () => {
      const caller = await open();
      let answer = () => {};
      const asked = new Promise<void>((begun) => {
        h.provider('plain').script.issue = async (_context, mint) => {
          begun();
          await new Promise<void>((go) => {
            answer = go;
          });
          return mint();
        };
      });
      const outcome = assert.rejects(
        h.ask(caller, 'plain'),
        (error) => code('session_ended')(error) || code('session_asleep')(error),
      );
      await asked;
      await sleep(caller);
      answer();
      await outcome;
      h.provider('plain').reset();
      await h.tick();
      assert.deepEqual(h.provider('plain').alive(), []);
    });

    test('whoever writes to the database wakes nothing by it', async () => {
      const caller = await open();
      const before = await h.session(caller.sessionId);
      const { resume } = await sleep(caller);
      const run = (set: string) =>
        h.store.run(statement(`UPDATE session SET ${set} WHERE id = $1`), [caller.sessionId]);
      const asleep = (await h.session(caller.sessionId)).slept as JsonObject;
      await h.store.run(statement('ALTER TABLE session DROP CONSTRAINT session_status_check'), []);
      for (const set of [`status = 'active'`, `status = 'active', slept = NULL`]) {
        await run(set);
        await assert.rejects(readSession(h.store, caller, h.clock.now()), code('unauthenticated'), set);
      }
      await h.store.prisma.session.update({
        where: { id: caller.sessionId },
        data: { slept: asleep as never, status: 'asleep' },
      });
      // More of its wall time, and a longer sleep.
      await run(`slept = slept || '{"left_seconds": 999999}'`);
      await assert.rejects(wake(resume), code('invalid_grant'));
      await h.store.prisma.session.update({ where: { id: caller.sessionId }, data: { slept: asleep as never } });
      await run(`expires_at = expires_at + interval '300 days'`);
      await assert.rejects(wake(resume), code('invalid_grant'));
      await run(`expires_at = expires_at - interval '300 days'`);
      assert.equal((await wake(resume)).expiresAt.getTime(), before.expiresAt.getTime());
    });
  });
