/** What is approved ahead of time, and every way to get more by it than was given; on both databases. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { grantAbout } from '../broker/compose/grant-about.ts';
import { WritError } from '../broker/core/errors.ts';
import type { VouchedPerson } from '../broker/core/identifier.ts';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { redeemGrant, redemptionReads } from '../broker/grants/redeem-grant.ts';
import { type GrantDeps, grantReads, requestGrant } from '../broker/grants/request-grant.ts';
import { type Harness, openHarness, statement } from '../broker/harness.test-support.ts';
import { publishManifest } from '../broker/manifests/publish.ts';
import type { Identity } from '../broker/people/identity.ts';
import { openLogin } from '../broker/people/login.ts';
import { type Caller, readSession } from '../broker/sessions/authenticate.ts';
import { openSession } from '../broker/sessions/open-session.ts';
import { lapseApprovals } from '../broker/signals/lapse-approvals.ts';
import { testBackends } from '../broker/store/store.test-support.ts';
import { type GivePreApproval, givePreApproval } from './give-pre-approval.ts';
import { readPreApproval } from './read-pre-approvals.ts';
import { review } from './review.ts';
import { eventsOf, person, vouched } from './rows.test-support.ts';
import { usePreApprovals } from './use-pre-approval.ts';
import { withdrawPreApproval } from './withdraw-pre-approval.ts';

const bot = 'night-bot';
const manifest = (more = '', quorum = 1) => `apiVersion: writ/v1
agent: ${bot}
owner: team:billing
description: Runs at night.
envelope: { wall_time: 30m, max_grants: 500 }
approval: { quorum: ${quorum} }
task_types:
  work: { description: Work., inputs: {} }
  other: { description: Other work., inputs: {} }
capabilities:
  read: { description: Read it., provider: plain, tasks: [work, other], tier: 2, max_ttl: 15m, choose: { scope: { type: string, pattern: '.*', default: all } } }
  sign: { description: Sign it., provider: plain, tasks: [work], tier: 3, max_ttl: 15m }
${more}`;
const owner = person('owner@example.com', { groups: ['billing'] });
const second = person('second@example.com', { groups: ['billing'] });
const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;

for (const backend of await testBackends())
  describe(`pre-approvals on ${backend}`, () => {
    let h: Harness;
    const publish = async (source: string) => {
      const publication = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
      await publishManifest(h.store, h.clock, h.shapes, { ...publication, source });
    };
    before(async () => {
      h = await openHarness(backend, { providers: [{ name: 'plain' }], noticeChannels: ['bell'] });
      await publish(manifest());
    });
    after(() => h.close());

    /** As WRIT_APPROVAL_CHALLENGE says. */
    let challengeAll = false;
    const deps = () => ({
      ...grantAbout({ catalog: h.grants.catalog, providers: h.providers }, challengeAll),
      store: h.store,
      clock: h.clock,
      preApprovalSeconds: 30 * 86_400,
      noticeChannels: ['bell'],
    });
    const grants = (): GrantDeps => ({
      ...h.grants,
      preApproved: (id, requestId) => usePreApprovals(deps(), id, requestId),
    });
    /** A session that somebody else started. */
    const open = async (
      people: { startedBy?: VouchedPerson | null; onBehalfOf?: VouchedPerson; task?: string; declared?: string } = {},
    ): Promise<Caller> => {
      const opened = await openSession(h.opening, {
        principal: {
          agent: bot,
          subject: { issuer: 'https://ci.example', subject: 'night' },
          startedBy: people.startedBy === undefined ? vouched('starter@example.com') : people.startedBy,
          onBehalfOf: people.onBehalfOf ?? null,
          responsible: null,
          shown: [],
        },
        declaration: {
          task_type: people.task ?? 'work',
          inputs: {},
          on_behalf_of: people.declared ?? null,
          envelope: { max_grants: undefined, wall_time_seconds: undefined },
        },
        jkt: null,
        shown: [],
        narrowedTo: null,
        child: null,
        requestId: null,
      });
      return { sessionId: opened.id, agent: bot, jkt: null, replay: null };
    };
    const ask = async (caller: Caller, scope?: string, more: { capability?: string; ttl?: number } = {}) => {
      const capability = more.capability ?? 'read';
      const reads = grantReads(h.grants, capability, null);
      const session = await readSession(h.store, caller, h.clock.now(), reads);
      const params = scope === undefined ? undefined : { scope };
      const request = { capability, params, ttlSeconds: more.ttl, justification: null, credentialJwk: null };
      const answer = await requestGrant(grants(), session, request, null, 'req_1');
      const id = answer.outcome === 'repeated' ? answer.grantId : answer.grant.id;
      return h.store.prisma.grant.findUniqueOrThrow({ where: { id }, include: { reviews: true } });
    };
    const redeem = async (caller: Caller, id: string) => {
      const reads = await redemptionReads(h.grants, caller.sessionId, id);
      const session = await readSession(h.store, caller, h.clock.now(), reads);
      return redeemGrant(h.grants, session, id, null, null, null);
    };
    const approve = (grant: { id: string; planDigest: string }, reviewer: Identity = owner) =>
      review(deps(), {
        grantId: grant.id,
        reviewer,
        verdict: 'approve',
        planDigest: grant.planDigest,
        channel: 'web',
        requestId: 'req_1',
      });
    /** A request that a person approved. */
    const example = async (scope?: string) => {
      const grant = await ask(await open(), scope);
      await approve(grant);
      return grant.id;
    };
    const give = async (more: Partial<GivePreApproval> = {}): Promise<string> =>
      givePreApproval(deps(), {
        grantId: more.grantId ?? (await example('one')),
        giver: owner,
        bounds: { scope: { equals: 'one' } },
        maxUses: 1,
        maxTtlSeconds: 900,
        until: new Date(h.clock.now().getTime() + 86_400_000),
        reason: 'The same every night.',
        requestId: 'req_1',
        ...more,
      });
    const withdraw = (id: string, by = owner, isAdmin = false) =>
      withdrawPreApproval(deps(), { id, by: { name: 'user:x', identity: by }, isAdmin, requestId: 'req_1' });
    const state = async (id: string) => (await readPreApproval(h.store, id, h.clock.now())).state;

    test('the next one like it is approved in the name of who gave it, counted, told and minted by a review that holds', async () => {
      const id = await give();
      const caller = await open();
      const grant = await ask(caller, 'one');
      assert.equal(grant.status, 'approved');
      assert.deepEqual((grant.decision as JsonObject).reasons, [{ code: 'pre_approved' }]);
      const [by] = grant.reviews;
      assert.equal(by?.channel, 'pre_approval');
      assert.match(by?.reason ?? '', new RegExp(id));
      assert.equal((await redeem(caller, grant.id)).outcome, 'issued');
      const given = await readPreApproval(h.store, id, h.clock.now());
      assert.deepEqual([given.used, given.state, given.uses.map((use) => use.grant_id)], [1, 'used_up', [grant.id]]);
      assert.deepEqual(
        (await eventsOf(h.store, id)).map(({ type }) => type),
        ['pre_approval.given', 'pre_approval.used'],
      );
      const told = await h.store.prisma.approvalNotice.findMany({ where: { sessionId: caller.sessionId } });
      assert.deepEqual(
        told.map(({ kind, channel, incident }) => [kind, channel, (incident as JsonObject).owner]),
        [['incident', 'bell', 'user:owner@example.com']],
      );
      // Nobody is asked about it.
      const asked = await h.store.prisma.approvalNotice.findMany({ where: { grantId: grant.id, kind: 'pending' } });
      assert.ok(asked.every(({ dueAt }) => dueAt === null));
      assert.equal((await ask(await open(), 'one')).status, 'pending', 'it was good for one');
    });

    test('another agent’s, task’s, capability’s or parameters’ request waits for a person', async () => {
      const id = await give({ maxUses: 100, bounds: { scope: { one_of: ['one', 'two'] } } });
      assert.equal((await ask(await open({ task: 'other' }), 'one')).status, 'pending');
      assert.equal((await ask(await open(), 'three')).status, 'pending');
      assert.equal((await ask(await open(), undefined)).status, 'pending');
      assert.equal((await ask(await open(), 'one', { capability: 'read' })).status, 'approved');
      assert.equal((await ask(await open(), 'two')).status, 'approved');
      assert.equal((await readPreApproval(h.store, id, h.clock.now())).used, 2);
      await withdraw(id);
    });

    test('a longer lifetime is shortened, and a passkey’s tier is not for it', async () => {
      const id = await give({ maxTtlSeconds: 60 });
      const caller = await open();
      const grant = await ask(caller, 'one', { ttl: 600 });
      assert.equal(grant.status, 'approved');
      const issued = await redeem(caller, grant.id);
      assert.equal(issued.grant.ttl_seconds, 60);
      assert.equal(await state(id), 'used_up');
      const strict = await ask(await open(), undefined, { capability: 'sign' });
      await h.store.run(statement(`UPDATE grants SET status = 'approved' WHERE id = $1`), [strict.id]);
      await assert.rejects(give({ grantId: strict.id, bounds: { scope: { equals: 'all' } } }), code('conflict'));
    });

    test('where an approval takes a challenge, nothing is given ahead, and what was given is not used', async () => {
      const unanswered = async (grant: { id: string; sessionId: string; planDigest: string; status: string }) => {
        assert.equal(grant.status, 'pending');
        await assert.rejects(approve(grant), { code: 'forbidden' });
        assert.equal((await eventsOf(h.store, grant.sessionId)).at(-1)?.payload.refused_because, 'no_answer');
      };
      const another = await example('one');
      const id = await give({ maxUses: 100 });
      challengeAll = true;
      try {
        await assert.rejects(give({ grantId: another }), { code: 'forbidden', detail: /must have read it/ });
        await unanswered(await ask(await open(), 'one'));
      } finally {
        challengeAll = false;
      }
      assert.equal((await readPreApproval(h.store, id, h.clock.now())).used, 0);
      await withdraw(id);
      // The same by the manifest; what a capability says goes before what its agent says.
      const challenged = manifest().replace('quorum: 1 }', 'quorum: 1, challenge: true }');
      await publish(challenged);
      await unanswered(await ask(await open(), 'one'));
      await publish(challenged.replace('tier: 2,', 'tier: 2, approval: { challenge: false },'));
      await approve(await ask(await open(), 'one'));
      await publish(manifest());
    });

    test('it never counts for a session that acts for, was started by, or names who gave it', async () => {
      const id = await give({ maxUses: 100 });
      const self = vouched('owner@example.com');
      for (const people of [
        { startedBy: self },
        { onBehalfOf: self },
        { declared: 'user:owner@example.com' },
        // Whom nobody can compare with the giver bars too.
        { startedBy: vouched('somebody', 'chat') },
      ])
        assert.equal((await ask(await open(people), 'one')).status, 'pending', JSON.stringify(people));
      // Nobody says who started it: two must approve, and this is one of them.
      const alone = await ask(await open({ startedBy: null }), 'one');
      assert.deepEqual([alone.status, alone.approvalCount], ['pending', 1]);
      await approve(alone, second);
      assert.equal((await h.store.prisma.grant.findUniqueOrThrow({ where: { id: alone.id } })).status, 'approved');
      await withdraw(id);
    });

    test('who may not approve such a request gives nothing ahead', async () => {
      const grantId = await example('one');
      const stranger = person('stranger@example.com', { groups: ['others'] });
      await assert.rejects(give({ grantId, giver: stranger }), code('not_found'));
      await assert.rejects(
        give({ grantId, giver: person('starter@example.com', { groups: ['billing'] }) }),
        code('forbidden'),
      );
      const waits = await ask(await open(), 'one');
      await assert.rejects(give({ grantId: waits.id }), code('conflict'));
      for (const bad of [
        { maxUses: 0 },
        { maxUses: 1.5 },
        { maxTtlSeconds: 901 },
        { until: h.clock.now() },
        { until: new Date(h.clock.now().getTime() + 31 * 86_400_000) },
        { bounds: { scope: { equals: 'two' } } },
        { bounds: {} },
        { bounds: { scope: { any: true } } as never },
        { reason: ' ' },
      ])
        await assert.rejects(give({ grantId, ...bad }), code('bad_request'), JSON.stringify(bad));
    });

    test('of many at once no more are approved than was given, and each use has its own number', async () => {
      const id = await give({ maxUses: 3 });
      const asked = await Promise.all(Array.from({ length: 12 }, async () => ask(await open(), 'one')));
      assert.equal(asked.filter(({ status }) => status === 'approved').length, 3);
      const given = await readPreApproval(h.store, id, h.clock.now());
      assert.deepEqual(
        given.uses.map(({ number }) => number),
        [3, 2, 1],
      );
    });

    test('whoever writes to the database gets nothing by it', async () => {
      const rich = await give({ maxUses: 2 });
      const { id: used } = await ask(await open(), 'one');
      const run = (sql: string, values: string[]) => h.store.run(statement(sql), values);
      // Its count set back: the number is taken.
      await ask(await open(), 'one');
      await run('UPDATE pre_approval SET used_count = 0 WHERE id = $1', [rich]);
      assert.equal((await ask(await open(), 'one')).status, 'pending');
      // Its bounds, count and giver changed; a copy of it under another name.
      const one = await give();
      for (const [set, back] of [
        [`bounds = '{"scope":{"equals":"two"}}'`, `bounds = '{"scope":{"equals":"one"}}'`],
        ['max_uses = 100', 'max_uses = 1'],
        ['max_ttl_seconds = 901', 'max_ttl_seconds = 900'],
        [`until = until + interval '1 year'`, `until = until - interval '1 year'`],
        [
          `giver = jsonb_set(giver, '{groups}', '["billing","x"]')`,
          `giver = jsonb_set(giver, '{groups}', '["billing"]')`,
        ],
      ]) {
        await run(`UPDATE pre_approval SET ${set} WHERE id = $1`, [one]);
        assert.equal((await ask(await open(), set!.includes('two') ? 'two' : 'one')).status, 'pending', set);
        assert.equal(await state(one), 'not_proven');
        await run(`UPDATE pre_approval SET ${back} WHERE id = $1`, [one]);
      }
      await run(
        `INSERT INTO pre_approval SELECT (jsonb_populate_record(p, '{"id":"pap_00000000000000000000"}')).* FROM pre_approval p WHERE id = $1`,
        [one],
      );
      assert.equal(await state('pap_00000000000000000000'), 'not_proven');
      assert.equal((await ask(await open(), 'one')).status, 'approved', 'the true one');
      assert.equal((await ask(await open(), 'one')).status, 'pending', 'and no other');
      // Withdrawn, and put back.
      const gone = await give({ maxUses: 5 });
      await withdraw(gone);
      await run('UPDATE pre_approval SET ended_at = NULL, end_reason = NULL WHERE id = $1', [gone]);
      assert.equal((await ask(await open(), 'one')).status, 'pending');
      assert.equal(await state(gone), 'withdrawn');
      // A review that no key proved.
      const waits = await ask(await open(), 'one');
      await run(
        `INSERT INTO review SELECT (jsonb_populate_record(r, jsonb_build_object('id', 'rev_00000000000000000000', 'grant_id', $2::text))).* FROM review r WHERE grant_id = $1`,
        [used, waits.id],
      );
      await run(`UPDATE grants SET status = 'approved' WHERE id = $1`, [waits.id]);
      const caller = { sessionId: waits.sessionId, agent: bot, jkt: null, replay: null };
      await assert.rejects(redeem(caller, waits.id), code('not_approved'));
    });

    test('withdrawn by who gave it or an admin, it takes what nobody collected with it', async () => {
      const id = await give({ maxUses: 5 });
      const caller = await open();
      const grant = await ask(caller, 'one');
      await assert.rejects(withdraw(id, second), code('forbidden'));
      // An address that nobody verified is whatever its holder wrote.
      const posing = { ...second, email: 'owner@example.com', emailVerified: false };
      await assert.rejects(withdraw(id, posing), code('forbidden'));
      await withdraw(id, second, true);
      await assert.rejects(withdraw(id), code('conflict'));
      const row = await h.store.prisma.grant.findUniqueOrThrow({ where: { id: grant.id } });
      assert.deepEqual([row.status, (row.decision as JsonObject).reasons], ['denied', [{ code: 'withdrawn' }]]);
      await assert.rejects(redeem(caller, grant.id), code('denied'));
      // A process that died before it denied them: nobody collects all the same.
      const other = await give({ maxUses: 5 });
      const late = await open();
      const left = await ask(late, 'one');
      const dying = {
        ...h.store,
        run: ((what: { name: string }, values: never) =>
          what.name === 'pre_approval_lapse_grants'
            ? Promise.reject(new Error('killed'))
            : h.store.run(what as never, values)) as typeof h.store.run,
      };
      await assert.rejects(
        withdrawPreApproval(
          { ...deps(), store: dying },
          { id: other, by: { name: 'user:x', identity: owner }, isAdmin: false, requestId: 'r' },
        ),
        /killed/,
      );
      await assert.rejects(redeem(late, left.id), code('conflict'));
      assert.deepEqual(h.provider('plain').alive().length > 0, true);
    });

    test('it is over when its time is, and when who gave it is signed off or leaves the group', async () => {
      const short = await give({ until: new Date(h.clock.now().getTime() + 60_000) });
      h.clock.advance(61_000);
      assert.equal((await ask(await open(), 'one')).status, 'pending');
      assert.equal(await state(short), 'expired');

      const off = await give();
      const account = { issuer: owner.issuer, subject: owner.subject, names: [] };
      await lapseApprovals(h.store, [account], h.clock.now());
      assert.equal(await state(off), 'giver_signed_off');
      assert.equal((await ask(await open(), 'one')).status, 'pending');

      const grantId = await example('one');
      const left = await give({ grantId });
      const kept = await give({ grantId, giver: second });
      const login = { store: h.store, clock: h.clock, publicUrl: 'https://writ.example' };
      const res = { cookie: () => {} } as never;
      await openLogin(login, res, { identity: owner, renewal: null }, 'req_1');
      assert.equal(await state(left), 'stands');
      await openLogin(login, res, { identity: { ...owner, groups: ['sales'] }, renewal: null }, 'req_1');
      assert.equal(await state(left), 'group_lost');
      assert.equal(await state(kept), 'stands');
      await withdraw(kept, second);
    });

    test('a manifest that says something else of it ends it; one that does not, leaves it', async () => {
      const id = await give({ maxUses: 5 });
      await publish(manifest('  more: { description: More., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }'));
      assert.equal((await ask(await open(), 'one')).status, 'approved');
      await publish(manifest('', 2));
      assert.equal((await ask(await open(), 'one')).status, 'pending');
      assert.equal(await state(id), 'terms_changed');
      // Put back as it was: over is over.
      await publish(manifest());
      assert.equal((await ask(await open(), 'one')).status, 'pending');
      // The review that was forged above, and nothing else of what was done here.
      assert.equal((await h.verify()).broken?.what, 'review has no record');
    });
  });
